"""The sandbox's statistics over time: windows, periods, places and the institution's own scope."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harvester.sandbox import Settings, World
from harvester.sandbox.request import Request
from harvester.sandbox.services import Services
from tests.support.browsing import ask, browsing

pytestmark = pytest.mark.anyio

COUNTERS = ("views", "downloads", "shares")
GRANULARITIES = ("day", "month", "year", "total")


async def answer_of(session: aiohttp.ClientSession, url: str, start: str = "", end: str = "") -> Any:
    params = {name: day for name, day in (("start_date", start), ("end_date", end)) if day}
    status, answer, _ = await ask(session, url, params=params)
    assert status == 200
    return answer


def days(first: str, last: str) -> list[str]:
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    return [(begin + timedelta(days=step)).isoformat() for step in range((end - begin).days + 1)]


# -- what is counted ------------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", COUNTERS)
def test_longer_periods_are_the_sums_of_their_days(counter: str) -> None:
    world = World(Settings(items=1000))
    item_id = world.public_ids[900]  # published on 4 January 2015
    start, end = date(2014, 12, 20), date(2016, 3, 5)
    daily = world.timeline(item_id, counter, "day", start, end)
    assert list(daily) == days("2014-12-20", "2016-03-05")
    assert {day for day, number in daily.items() if not number} == set(days("2014-12-20", "2015-01-03"))
    for granularity, length in (("month", 7), ("year", 4)):
        sums: dict[str, int] = {}
        for day, number in daily.items():
            key = (day[:length] + "-01-01")[:10]
            sums[key] = sums.get(key, 0) + number
        assert world.timeline(item_id, counter, granularity, start, end) == sums
    assert world.timeline(item_id, counter, "total", start, end) == {"2014-12-20": sum(daily.values())}


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_countries_of_a_period_add_up_to_its_timeline(granularity: str) -> None:
    world = World(Settings(items=40))
    start, end = date(2014, 12, 30), date(2015, 2, 3)
    for item_id, counter in zip(world.public_ids[:9], COUNTERS * 3, strict=True):
        timeline = world.timeline(item_id, counter, granularity, start, end)
        breakdown = world.breakdown(item_id, counter, granularity, start, end)
        assert breakdown.keys() == {key for key, number in timeline.items() if number}
        for key, countries in breakdown.items():
            assert len(countries) >= 3
            assert sum(country["total"] for country in countries.values()) == timeline[key]
            for country in countries.values():
                cities = [number for city, number in country.items() if city != "total"]
                assert sum(cities) == country["total"]
                assert min(cities) > 0
    assert {"Germany", "Korea, Republic of"} <= {name for each in breakdown.values() for name in each}
    assert {"Berlin", "Leipzig"} <= {name for each in breakdown.values() for name in each["Germany"]} or (
        granularity == "day"
    )


def test_some_counts_are_as_expected() -> None:
    world = World(Settings(items=2))
    first, second = world.public_ids
    window = date(2015, 7, 1), date(2015, 7, 4)
    assert world.timeline(first, "views", "day", *window) == {
        "2015-07-01": 18,
        "2015-07-02": 27,
        "2015-07-03": 24,
        "2015-07-04": 21,
    }
    assert world.timeline(second, "views", "total", *window) == {"2015-07-01": 99}
    assert world.breakdown(first, "shares", "total", *window) == {
        "2015-07-01": {
            "Germany": {"Berlin": 3, "Leipzig": 6, "total": 9},
            "Kenya": {"Nairobi": 6, "total": 6},
            "Korea, Republic of": {"Seoul": 5, "total": 5},
            "Côte d'Ivoire": {"Abidjan": 6, "total": 6},
            "United Kingdom": {"London": 4, "total": 4},
        }
    }


def test_items_and_counters_differ() -> None:
    world = World(Settings(items=7))
    window = date(2016, 1, 1), date(2016, 1, 20)
    found = [
        tuple(world.timeline(item_id, counter, "day", *window).values())
        for item_id in world.public_ids
        for counter in COUNTERS
    ]
    assert len(set(found)) == 21


# -- what is answered -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["timeline", "breakdown"])
@pytest.mark.parametrize(
    ("granularity", "start", "last"),
    [
        ("day", "2015-03-01", "2016-02-29"),
        pytest.param("day", "2016-02-29", "2017-02-28", marks=pytest.mark.nightly),
        ("total", "2016-02-29", "2017-02-28"),
        ("month", "2015-07-15", "2017-07-14"),
        ("year", "2015-07-15", "2020-07-14"),
        ("total", "2015-01-01", "2015-12-31"),
    ],
)
async def test_a_window_that_is_too_long_is_cut_at_its_end(
    kind: str, granularity: str, start: str, last: str
) -> None:
    async with browsing(items=20) as (sandbox, session):
        item_id = sandbox.world.public_ids[3]
        truth = {"timeline": sandbox.world.timeline, "breakdown": sandbox.world.breakdown}[kind]
        for counter in COUNTERS:
            url = f"{sandbox.stats}/{kind}/{granularity}/{counter}/article/{item_id}"
            expected = truth(
                item_id, counter, granularity, date.fromisoformat(start), date.fromisoformat(last)
            )
            assert await answer_of(session, url, start, last) == {kind: expected}
            assert await answer_of(session, url, start, "2024-12-31") == {kind: expected}
            behind = (date.fromisoformat(last) + timedelta(days=1)).isoformat()
            assert await answer_of(session, url, start, behind) == {kind: expected}
            before = date.fromisoformat(last) - timedelta(days=1)
            assert await answer_of(session, url, start, before.isoformat()) == {
                kind: truth(item_id, counter, granularity, date.fromisoformat(start), before)
            }


async def test_periods_are_named_by_their_first_day_and_a_total_by_that_of_the_window() -> None:
    async with browsing(items=20) as (sandbox, session):
        url = f"{sandbox.stats}/timeline/%s/views/article/{sandbox.world.public_ids[0]}"
        window = ("2015-06-20", "2016-02-10")
        for granularity, expected in (
            ("day", days(*window)),
            ("month", [f"2015-{month:02}-01" for month in range(6, 13)] + ["2016-01-01", "2016-02-01"]),
            ("year", ["2015-01-01", "2016-01-01"]),
            ("total", ["2015-06-20"]),
        ):
            assert list((await answer_of(session, url % granularity, *window))["timeline"]) == expected
        assert await answer_of(session, url % "day", "2015-06-20", "2015-06-19") == {"timeline": {}}


def test_without_dates_it_is_the_current_month() -> None:
    world = World(Settings(items=20))
    now = datetime(2016, 2, 9, 12, tzinfo=UTC).timestamp()
    item_id, services = world.public_ids[0], Services(world, clock=lambda: now)

    def periods(**window: str) -> list[str]:
        answer = services.answer("stats", Request("GET", f"/timeline/day/views/article/{item_id}", window))
        (body,) = answer.chunks
        return sorted(key for key in body.decode().split('"') if key.startswith("20"))

    assert periods() == days("2016-02-01", "2016-02-09")
    assert periods(end_date="2015-12-03") == days("2015-12-01", "2015-12-03")
    assert periods(start_date="2016-01-30") == days("2016-01-30", "2016-02-09")


async def test_unknown_items_have_no_statistics() -> None:
    async with browsing(items=60) as (sandbox, session):
        world = sandbox.world
        (unknown,) = world.with_trait("unknown to stats")
        world.withdraw(world.public_ids[2])
        for item_id in (unknown, 123, world.private_ids[0], world.colleague_ids[0], 5_000_007):
            for path in ("timeline/day/views", "breakdown/month/downloads", "total/shares"):
                assert (
                    await answer_of(session, f"{sandbox.stats}/{path}/article/{item_id}", "2016-01-01") == {}
                )
            assert world.timeline(item_id, "views", "day", date(2016, 1, 1), date(2016, 1, 2)) == {}
            assert world.breakdown(item_id, "views", "day", date(2016, 1, 1), date(2016, 1, 2)) == {}


async def test_unreadable_requests_are_rejected() -> None:
    async with browsing(items=5) as (sandbox, session):
        item_id = sandbox.world.public_ids[0]
        for path, expected in (
            (f"timeline/week/views/article/{item_id}", 404),
            (f"timeline/day/cites/article/{item_id}", 404),
            ("timeline/day/views/article/x", 404),
            (f"timeline/day/views/article/{item_id}?start_date=soon", 422),
            (f"timeline/day/views/article/{item_id}?start_date=9999-01-01", 422),
        ):
            assert (await ask(session, f"{sandbox.stats}/{path}"))[0] == expected


async def test_a_permanent_fault_affects_a_timeline_in_any_window() -> None:
    async with browsing(items=40, faults={"always-500": 0.3}) as (sandbox, session):
        statuses: list[int] = []
        for item_id in sandbox.world.public_ids:
            url = f"{sandbox.stats}/timeline/month/views/article/{item_id}"
            found = {
                (await ask(session, url, params={"start_date": start}))[0]
                for start in ("2015-01-01", "2016-01-01", "2017-01-01")
            }
            assert len(found) == 1
            statuses += found
        assert 3 < statuses.count(500) < 25


# -- the institution's scope ----------------------------------------------------------------------------


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


@pytest.mark.parametrize(
    "path", ["total/views", "timeline/month/downloads", "breakdown/total/shares", "timeline/day/views"]
)
async def test_the_institution_s_scope_needs_its_credentials(path: str) -> None:
    async with browsing(items=30) as (sandbox, session):
        address = f"{path}/article/{sandbox.world.public_ids[1]}?start_date=2015-05-05&end_date=2015-06-06"
        right = basic("sandbox:sandbox-password")
        status, answer, _ = await ask(session, f"{sandbox.stats}/iastate/{address}", headers=right)
        assert status == 200
        assert answer == (await ask(session, f"{sandbox.stats}/{address}"))[1] != {}
        for institution, headers in (
            ("iastate", {}),
            ("iastate", basic("sandbox:wrong")),
            ("iastate", {"Authorization": "token sandbox-token"}),
            ("elsewhere", right),
        ):
            status, answer, _ = await ask(
                session, f"{sandbox.stats}/{institution}/{address}", headers=headers
            )
            assert (status, answer["code"]) == (403, 40300)
            assert answer["message"]


async def test_the_credentials_can_be_set() -> None:
    async with browsing(items=5, stats_credentials="ann:b:c") as (sandbox, session):
        url = f"{sandbox.stats}/iastate/total/views/article/{sandbox.world.public_ids[1]}"
        assert (await ask(session, url, headers=basic("ann:b:c")))[:2] == (200, {"totals": 7})
