"""
Statistics in full: every counter, period and country, for any span of days.

And the other tables: of what has changed, and of versions.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import anyio
import orjson
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from harvester import harvest, load_config
from harvester.config import Config, Statistics
from harvester.errors import ConnectionFailed, InvalidResponse, TokenRejected, UsageError
from harvester.figshare.statistics import StatsService, requests_per_item, windows
from harvester.figshare.usage import decode_breakdown, decode_timeline, decode_total
from harvester.jobs.services import RunHooks
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import ItemResult, RunSpec
from harvester.ledger.reader import Reader
from harvester.models import ItemId, ItemKey, ItemRef, Page, TaskResult, Totals, Usage, UsageCount
from harvester.sandbox import Sandbox, Settings
from harvester.states import WorkState
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

HEADERS = {
    "stats.csv": "item_id,total_views,total_downloads",
    "stats_shares.csv": "item_id,total_shares",
    "stats_history.csv": "item_id,asked_at,total_views,total_downloads,total_shares",
    "stats_timeline.csv": "item_id,counter,granularity,date,number",
    "stats_breakdown.csv": "item_id,counter,granularity,date,country,number",
    "changes.csv": "item_id,version,change,fields,files",
    "versions.csv": "item_id,version,doi,files,bytes,folder",
}
SPANS = {
    "day": (date(2015, 12, 20), date(2017, 1, 10)),
    "month": (date(2015, 1, 15), date(2019, 3, 10)),
    "year": (date(2014, 5, 1), date(2026, 8, 2)),
    "total": (date(2015, 1, 1), date(2017, 12, 31)),
}


def rows(folder: Path, name: str) -> list[tuple[str, ...]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        header, *found = csv.reader(handle)
    assert ",".join(header) == HEADERS[name]
    return [tuple(row) for row in found]


def config(
    sandbox: Sandbox,
    folder: Path,
    ids: Sequence[int],
    more: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
) -> Config:
    options: dict[str, object] = {
        "sources": [{"kind": "items", "ids": list(ids)}],
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        **{f"rate.{name}": float("inf") for name in ("api", "stats", "files")},
        "retry.max_wait": 0.02,
        "export.formats": ["csv"],
        **more,
    }
    return load_config(options=options, environ=environ or {})


def of_span(granularity: str) -> dict[str, object]:
    since, until = SPANS[granularity]
    return {"stats.granularity": granularity, "stats.since": since, "stats.until": until}


# -- windows --------------------------------------------------------------------------------------


def spans(granularity: str, since: str, until: str) -> list[str]:
    days = (date.fromisoformat(since), date.fromisoformat(until))
    return [f"{first} {last}" for first, last in windows(granularity, *days)]


@for_each(
    ("granularity", "since", "until", "expected"),
    [
        ("day", "2015-01-01", "2015-01-01", ["2015-01-01 2015-01-01"]),
        ("day", "2015-01-01", "2015-12-31", ["2015-01-01 2015-12-31"]),
        ("day", "2015-01-01", "2016-01-01", ["2015-01-01 2015-12-31", "2016-01-01 2016-01-01"]),
        ("day", "2016-01-01", "2016-12-31", ["2016-01-01 2016-12-30", "2016-12-31 2016-12-31"]),
        ("day", "2016-02-29", "2017-02-28", ["2016-02-29 2017-02-27", "2017-02-28 2017-02-28"]),
        ("total", "2016-01-01", "2016-12-31", ["2016-01-01 2016-12-30", "2016-12-31 2016-12-31"]),
        ("total", "2015-03-01", "2015-03-31", ["2015-03-01 2015-03-31"]),
        ("month", "2015-01-01", "2016-12-31", ["2015-01-01 2016-12-31"]),
        ("month", "2015-01-01", "2017-01-01", ["2015-01-01 2016-12-31", "2017-01-01 2017-01-01"]),
        ("month", "2015-01-15", "2017-01-20", ["2015-01-15 2016-12-31", "2017-01-01 2017-01-20"]),
        ("month", "2016-02-29", "2018-03-01", ["2016-02-29 2018-01-31", "2018-02-01 2018-03-01"]),
        ("month", "2016-03-31", "2016-03-31", ["2016-03-31 2016-03-31"]),
        ("month", "2017-01-31", "2019-01-31", ["2017-01-31 2018-12-31", "2019-01-01 2019-01-31"]),
        ("year", "2013-01-01", "2017-12-31", ["2013-01-01 2017-12-31"]),
        # Two leap days are in five years here, and 365 days are a year to be on the safe side.
        ("year", "2016-01-01", "2020-12-31", ["2016-01-01 2019-12-31", "2020-01-01 2020-12-31"]),
        ("year", "2016-07-01", "2021-02-01", ["2016-07-01 2020-12-31", "2021-01-01 2021-02-01"]),
        ("month", "2015-01-02", "2015-01-01", []),
        ("day", "9999-06-01", "9999-12-31", ["9999-06-01 9999-12-31"]),
        ("year", "9990-01-01", "9999-12-31", ["9990-01-01 9994-12-31", "9995-01-01 9999-12-31"]),
    ],
)
def test_a_span_is_split_where_figshare_would_cut_it(
    granularity: str, since: str, until: str, expected: list[str]
) -> None:
    assert spans(granularity, since, until) == expected


LONGEST = {"day": 365, "month": 731, "year": 1826, "total": 365}


@given(
    st.sampled_from(sorted(LONGEST)),
    st.dates(date(1999, 1, 1), date(2105, 1, 1)),
    st.integers(0, 12_000),
)
def test_each_day_is_requested_exactly_once(granularity: str, since: date, days: int) -> None:
    until = since + timedelta(days=days)
    found = windows(granularity, since, until)
    assert (found[0].first, found[-1].last) == (since, until)
    for one, other in pairwise(found):
        assert other.first - one.last == timedelta(days=1)
        begins = {"month": (other.first.day,), "year": (other.first.month, other.first.day)}
        assert set(begins.get(granularity, ())) <= {1}, "a period is given whole"
    for first, last in found:
        assert 1 <= (last - first).days + 1 <= LONGEST[granularity]
        years = {"day": 1, "month": 2, "year": 5, "total": 1}[granularity]
        leap_day = (first.month, first.day) == (2, 29)
        assert last < first.replace(year=first.year + years, day=28 if leap_day else first.day)


def test_a_plan_knows_how_many_requests_an_item_takes() -> None:
    today = date(2018, 6, 1)
    asked = Statistics(counters=("shares", "views"), granularity="day", since=date(2016, 1, 1))
    assert requests_per_item("stats", asked, today) == 2
    assert requests_per_item("timeline", asked, today) == 2 * 3
    assert requests_per_item("breakdown", asked, date(2016, 3, 1)) == 2
    until = Statistics(granularity="day", since=date(2016, 1, 1), until=date(2016, 1, 5))
    assert requests_per_item("timeline", until, today) == 2
    assert requests_per_item("metadata", asked, today) == requests_per_item("files", asked, today) == 0
    twice = Statistics(counters=("views", "views"))
    assert requests_per_item("stats", twice, today) == 1


# -- what the service says ------------------------------------------------------------------------


def test_a_timeline_is_read_in_any_shape_that_was_seen() -> None:
    assert decode_timeline(b'{"timeline": {"2015-07-01": 7, "2015-07-02": null}}') == {"2015-07-01": {"": 7}}
    for nothing in (b"{}", b"null", b" [] ", b'{"timeline": null}', b'{"timeline": []}', b'{"timeline": {}}'):
        assert decode_timeline(nothing) == {}


def test_a_breakdown_is_read_by_country() -> None:
    record = {
        "2015-07": {
            "Germany": {"Berlin": 3, "total": 5},  # not all cities are known
            "Kenya": {"Nairobi": 2, "Mombasa": 1, "Lamu": None},
            "Peru": 4,
            "": {"": 1},
            "Unknown": 2,
            "Chad": [],
            "Mali": None,
        },
        "2015-08": [],
    }
    assert decode_breakdown(orjson.dumps({"breakdown": record})) == {
        "2015-07": {"Germany": 5, "Kenya": 3, "Peru": 4, "Unknown": 3}
    }
    for nothing in (b"{}", b"null", b"[]", b'{"breakdown": null}', b'{"breakdown": []}'):
        assert decode_breakdown(nothing) == {}


def test_unknown_is_not_zero() -> None:
    assert [decode_total(raw) for raw in (b'{"totals": 0}', b'{"totals": null}', b"{}", b"null", b"[]")] == [
        0, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("decode", [decode_timeline, decode_breakdown, decode_total])
def test_invalid_statistics_are_invalid_responses(decode: Callable[[bytes], object]) -> None:
    for raw in (
        b'{"timeline": 5, "breakdown": 5, "totals": "five"}',
        b'{"timeline": {"2015": -1}, "breakdown": {"2015": {"Chad": -1}}, "totals": -1}',
        b'{"timeline": {"2015": {}}, "breakdown": {"2015": 7}, "totals": {}}',
        b'"text"',
        b'{"message": "Internal error", "code": "InternalError"}',
        b'{"message": "Internal error", "timeline": null, "breakdown": null, "totals": null}',
        b'{"error": "no route"}',
        b'{"data": null}',
        b'{"timeline": {"2015": 1e19}, "breakdown": {"2015": {"Chad": 1e19}}, "totals": 1e19}',
        b'{"timeline": {"2015": NaN}, "breakdown": {"2015": {"Chad": NaN}}, "totals": NaN}',
        b"0",
        b"[1]",
        b"true",
    ):
        with pytest.raises(InvalidResponse):
            decode(raw)
    with pytest.raises(ConnectionFailed):
        decode(b'{"timeline": {"2015')


async def read_by(answers: Callable[[URL], object], granularity: str, kind: str) -> tuple[UsageCount, ...]:
    """Ask a service that answers a window with what a function of its address says."""

    async def stats(request: web.Request) -> web.StreamResponse:
        return web.json_response(answers(URL(str(request.url))))

    settings = Statistics(
        counters=("views",), granularity=granularity, since=date(2015, 1, 15), until=date(2017, 3, 4)
    )
    async with served(stats) as address, client(address, stats=address) as asked:
        service = StatsService(asked, stats=address, settings=settings, today=date(2020, 1, 1))
        return await (service.timeline(ItemId(1)) if kind == "timeline" else service.breakdown(ItemId(1)))


async def test_periods_are_named_as_the_documents_name_them() -> None:
    """2015, 2015-07 and "total" in figshare's own examples; the tables have when they begin."""
    months = await read_by(
        lambda url: {"timeline": {f"{url.query['start_date'][:7]}": 2}}, "month", "timeline"
    )
    assert months == (
        UsageCount("views", "month", "2015-01-01", 2),
        UsageCount("views", "month", "2017-01-01", 2),
    )
    years = await read_by(
        lambda _: {"breakdown": {"2015": {"Peru": {"total": 1}}, "2016": {"Chad": 3}}}, "year", "breakdown"
    )
    assert years == (
        UsageCount("views", "year", "2015-01-01", 1, "Peru"),
        UsageCount("views", "year", "2016-01-01", 3, "Chad"),
    )
    total = await read_by(lambda _: {"timeline": {"total": 4}}, "total", "timeline")
    assert total == tuple(
        UsageCount("views", "total", day, 4) for day in ("2015-01-15", "2016-01-15", "2017-01-14")
    )


async def test_counts_of_other_days_are_ignored() -> None:
    everything = {"timeline": {"2014-12-31": 9, "2015-03-01": 1, "2016-03-01": 2, "2017-03-01T00:00:00": 3}}
    found = await read_by(lambda _: everything, "day", "timeline")
    assert [(uses.date, uses.number) for uses in found] == [
        ("2015-03-01", 1),
        ("2016-03-01", 2),
        ("2017-03-01", 3),
    ]


async def test_an_answer_for_other_days_is_invalid() -> None:
    with pytest.raises(InvalidResponse, match="requested 2015-01-15 to 2016-12-31, got 2026-07"):
        await read_by(lambda _: {"timeline": {"2026-07": 5}}, "month", "timeline")
    with pytest.raises(InvalidResponse, match='"2015" is not a month'):
        await read_by(lambda _: {"timeline": {"2015": 5}}, "month", "timeline")
    with pytest.raises(InvalidResponse, match='"2015-02-30" is not a day'):
        await read_by(lambda _: {"timeline": {"2015-02-30": 5}}, "day", "timeline")
    with pytest.raises(InvalidResponse, match="an impossible number of uses"):
        await read_by(lambda _: {"breakdown": {"2015": {"": 2**62, "Unknown": 2**62}}}, "year", "breakdown")


# -- a harvest of them ----------------------------------------------------------------------------


def truth(sandbox: Sandbox, ids: Iterable[int], settings: Statistics) -> list[tuple[str, ...]]:
    """The rows of stats_timeline.csv, from the world's answer to the whole span at once."""
    assert settings.since is not None
    assert settings.until is not None
    spans = [(settings.since, settings.until)]
    if settings.granularity == "total":  # a total of each window
        spans = [(first, last) for first, last in windows("total", settings.since, settings.until)]
    return [
        (str(item_id), counter, settings.granularity, day, str(number))
        for item_id in sorted(ids)
        for counter in sorted(settings.counters)
        for span in spans
        for day, number in sandbox.world.timeline(item_id, counter, settings.granularity, *span).items()
    ]


def truth_by_country(sandbox: Sandbox, ids: Iterable[int], settings: Statistics) -> list[tuple[str, ...]]:
    """The rows of stats_breakdown.csv."""
    assert settings.since is not None
    assert settings.until is not None
    spans = [(settings.since, settings.until)]
    if settings.granularity == "total":
        spans = [(first, last) for first, last in windows("total", settings.since, settings.until)]
    found = [
        (item_id, counter, country, day, cities["total"])
        for item_id in ids
        for counter in settings.counters
        for span in spans
        for day, countries in sandbox.world.breakdown(item_id, counter, settings.granularity, *span).items()
        for country, cities in countries.items()
    ]
    return [
        (str(item_id), counter, settings.granularity, day, country, str(number))
        for item_id, counter, country, day, number in sorted(found)
    ]


def a_few(sandbox: Sandbox) -> list[int]:
    """Some items, and one that the statistics have never seen."""
    unknown = next(each for each in sandbox.world.public_ids if not sandbox.world.is_counted(each))
    return [*sandbox.world.public_ids[:3], unknown]


@pytest.mark.parametrize("granularity", SPANS)
async def test_timeline_and_breakdown_are_the_world_s_for_any_span(granularity: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        ids = a_few(sandbox)
        more = {"tasks": ["timeline", "breakdown"], "stats.counters": ["shares", "views"]}
        job = config(sandbox, tmp_path, ids, {**more, **of_span(granularity)})
        summary = await harvest(job)
        assert summary.exit_status == 0
        expected = truth(sandbox, ids, job.stats)
        assert expected
        assert rows(tmp_path, "stats_timeline.csv") == expected
        by_country = truth_by_country(sandbox, ids, job.stats)
        assert len({country for *_, country, _ in by_country}) > 3
        assert rows(tmp_path, "stats_breakdown.csv") == by_country
        each = requests_per_item("timeline", job.stats, date.max)
        assert each > 2, "several windows"
        assert each == requests_per_item("breakdown", job.stats, date.max)
        assert summary.run.requests["stats"] == len(sandbox.requests_to("stats")) == 2 * len(ids) * each
        assert rows(tmp_path, "stats.csv") == rows(tmp_path, "stats_history.csv") == []
        whole: dict[tuple[str, ...], int] = {}
        for item_id, counter, _, day, _, number in by_country:
            whole[item_id, counter, day] = whole.get((item_id, counter, day), 0) + int(number)
        in_time = {(i, c, day): int(number) for i, c, _, day, number in expected if number != "0"}
        assert whole == in_time, "countries add up to the period"


async def test_only_requested_counters_are_saved_and_unknown_is_not_zero(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        ids = a_few(sandbox)
        job = config(sandbox, tmp_path, ids, {"tasks": ["stats"], "stats.counters": ["shares", "downloads"]})
        assert (await harvest(job)).exit_status == 0
        totals = {item_id: sandbox.world.totals(item_id) for item_id in sorted(ids)}
        assert {} in totals.values()
        assert rows(tmp_path, "stats.csv") == [
            (str(item_id), "", str(known.get("downloads", ""))) for item_id, known in totals.items()
        ]
        assert rows(tmp_path, "stats_shares.csv") == [
            (str(item_id), str(known["shares"])) for item_id, known in totals.items() if known
        ]
        assert [seen.path.split("/")[2] for seen in sandbox.requests_to("stats")].count("views") == 0
        assert len(sandbox.requests_to("stats")) == 2 * len(ids)


async def test_every_table_has_its_header_also_without_rows(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5)) as sandbox:
        no_items = [{"kind": "search", "query": ":title: no such words"}]
        assert (await harvest(config(sandbox, tmp_path, [], {"sources": no_items}))).exit_status == 0
        for name in HEADERS:
            assert rows(tmp_path, name) == []


async def test_an_unpublished_item_has_no_statistics(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, private_items=2, colleague_items=0)) as sandbox:
        job = config(
            sandbox,
            tmp_path,
            [],
            {"sources": [{"kind": "account"}], "tasks": ["stats", "timeline"], **of_span("year")},
            {"FIGSHARE_TOKEN": "sandbox-token"},
        )
        assert (await harvest(job)).exit_status == 0
        private = {str(item_id) for item_id in sandbox.world.private_ids}
        assert private <= {item_id for item_id, *_ in rows(tmp_path, "stats.csv")}
        assert not private & {item_id for item_id, *_ in rows(tmp_path, "stats_timeline.csv")}


async def test_a_partial_timeline_is_not_saved_and_the_next_run_retries_it(tmp_path: Path) -> None:
    """Some counters fail for ever, in one sandbox; another has the same items and no faults."""
    more = {"tasks": ["stats", "timeline"], "retry.attempts": 2, **of_span("month")}
    async with Sandbox(Settings(items=20, heavy=0, faults={"always-500": 0.1})) as failing:
        ids = failing.world.public_ids
        first = await harvest(config(failing, tmp_path, ids, more))
        assert first.exit_status == 1
    failed = first.folder.work["timeline"]["failed"]
    assert 0 < failed < len(ids)
    totals_failed = first.folder.work["stats"]["failed"]
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        job = config(sandbox, tmp_path, ids, more)
        here = {item_id for item_id, *_ in rows(tmp_path, "stats_timeline.csv")}
        counted = {str(item_id) for item_id in ids if sandbox.world.is_counted(item_id)}
        assert 0 < len(counted - here) <= failed
        assert (await harvest(job)).exit_status == 0
        assert rows(tmp_path, "stats_timeline.csv") == truth(sandbox, ids, job.stats)
        each = requests_per_item("timeline", job.stats, date.max)
        assert len(sandbox.requests_to("stats")) == failed * each + totals_failed * 2


async def test_another_span_is_requested_once_and_keeps_other_days(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        ids = a_few(sandbox)[1:]
        tasks = {"tasks": ["timeline", "breakdown"]}
        wide = config(sandbox, tmp_path, ids, {**tasks, **of_span("month")})
        assert (await harvest(wide)).exit_status == 0
        days = config(
            sandbox,
            tmp_path,
            ids,
            {
                **tasks,
                "stats.granularity": "day",
                "stats.since": date(2016, 1, 20),
                "stats.until": date(2016, 3, 10),
            },
        )
        assert (await harvest(days)).exit_status == 0
        assert truth(sandbox, ids, days.stats)
        asked = len(sandbox.requests)
        assert (await harvest(days)).exit_status == 0
        assert len(sandbox.requests) == asked, "it is done: only a refresh asks again"
        both = sorted([*truth(sandbox, ids, days.stats), *truth(sandbox, ids, wide.stats)])
        assert rows(tmp_path, "stats_timeline.csv") == both
        span = {"stats.since": date(2016, 1, 1), "stats.until": date(2016, 5, 31)}
        narrow = config(sandbox, tmp_path, ids, {**tasks, **span, "stats.counters": ["views"]})
        assert (await harvest(narrow)).exit_status == 0
        kept = [row for row in both if row[1:3] != ("views", "month")]
        assert rows(tmp_path, "stats_timeline.csv") == sorted([*kept, *truth(sandbox, ids, narrow.stats)])
        assert len(sandbox.requests) > asked
        asked = len(sandbox.requests)
        assert (await harvest(narrow, refresh=frozenset({"timeline"}))).exit_status == 0
        assert all("timeline" in seen.path for seen in sandbox.requests[asked:])
        assert len(sandbox.requests) > asked


async def test_refresh_keeps_each_snapshot_with_its_date(tmp_path: Path) -> None:
    moments = [datetime(2026, month, 1, 12, tzinfo=UTC).timestamp() for month in (1, 2, 3)]
    async with Sandbox(Settings(items=10, heavy=0)) as sandbox:
        ids = sandbox.world.public_ids[:2]
        job = config(
            sandbox,
            tmp_path,
            ids,
            {"tasks": ["stats"], "stats.counters": ["views", "downloads", "shares"]},
        )
        for moment in moments:
            hooks = RunHooks(wall_clock=lambda moment=moment: moment)  # type: ignore[misc]  # its default
            summary = await harvest(job, refresh=frozenset({"stats"}), hooks=hooks)
            assert summary.exit_status == 0
        known = {item_id: sandbox.world.totals(item_id) for item_id in ids}
        expected = [
            (str(item_id), f"2026-0{month}-01T12:00:00Z", *map(str, known[item_id].values()))
            for item_id in ids
            for month in (1, 2, 3)
        ]
        assert rows(tmp_path, "stats_history.csv") == expected
        assert rows(tmp_path, "stats.csv") == [(row[0], *row[2:4]) for row in expected[2::3]]


STATS_DOUBTS = ("stats-200", "stats-206", "stats-416", "stats-empty", "stats-zero")


@pytest.mark.parametrize("doubt", STATS_DOUBTS)
async def test_counters_that_are_here_are_not_replaced_by_none(doubt: str, tmp_path: Path) -> None:
    """Once in a run, it is asked again in this run; for ever, it is a failure of each run for now."""
    tasks = ("stats", "timeline", "breakdown")
    refresh = frozenset(tasks)
    async with Sandbox(Settings(items=10, heavy=0)) as sandbox:
        ids = [key for key in sandbox.world.public_ids if (sandbox.world.totals(key) or {}).get("views")][:2]
        span = {"stats.granularity": "year", "stats.since": date(2014, 5, 1), "stats.until": date(2018, 8, 2)}
        job = config(sandbox, tmp_path, ids, {"tasks": list(tasks), "retry.attempts": 2, **span})
        sandbox.doubts.begin(doubt, 1 if doubt not in {"stats-empty", "stats-zero"} else 0)
        assert (await harvest(job)).exit_status == 0, "on a first run too"
        tables = ("stats.csv", "stats_timeline.csv", "stats_breakdown.csv")
        right = [rows(tmp_path, name) for name in tables]
        assert all(len(table) >= 2 for table in right)
        sandbox.doubts.begin(doubt, 1)
        assert (await harvest(job, refresh=refresh)).exit_status == 0
        assert [rows(tmp_path, name) for name in tables] == right
        sandbox.doubts.begin(doubt)
        for _ in range(2):
            summary = await harvest(job, refresh=refresh)
            assert summary.exit_status == 1
            failures = (tmp_path / "failures.csv").read_text().splitlines()[1:]
            assert len(failures) == len(ids) * len(tasks)
            assert [rows(tmp_path, name) for name in tables] == right
        sandbox.doubts.end()
        assert (await harvest(job)).exit_status == 0
        assert [rows(tmp_path, name) for name in tables] == right


async def test_the_ledger_keeps_what_newer_counters_replace(tmp_path: Path) -> None:
    moments = iter(datetime(2026, 1, 1, 0, minute, tzinfo=UTC).timestamp() for minute in range(60))
    now = [next(moments)]
    ledger = Ledger(tmp_path, clock=lambda: now[0])
    ledger.open()
    try:
        tasks = frozenset({"stats", "timeline", "breakdown"})
        await ledger.begin(RunSpec(tasks, with_files=False))
        await ledger.change(
            ledger.listings.add_page, "a", Page((ItemRef(ItemId(1)), ItemRef(ItemId(2))), None), tasks
        )
        for totals in (Totals(1, None, 0), Totals(3, 2, 1), Totals(None, None, None)):
            now[0] = next(moments)
            done = {"stats": WorkState.DONE}
            await ledger.save(ItemResult(ItemKey(1), done, (), (TaskResult(totals=totals),)))
            await ledger.save(ItemResult(ItemKey(2), done, (), (TaskResult(totals=Totals(9)),)))
            await ledger.flush()
        found = [
            TaskResult(usage=Usage(uses, ("views", "shares"), "month", by_country=bool(uses[0].country)))
            for uses in (
                (
                    UsageCount("views", "month", "2015-01-01", 1),
                    UsageCount("shares", "month", "2015-01-01", 2),
                ),
                (UsageCount("views", "month", "2015-01-01", 1, "Peru"),),
                (
                    UsageCount("views", "month", "2015-02-01", 3, "Chad"),
                    UsageCount("views", "month", "2015-01-01", 0, "Chad"),
                ),
                (UsageCount("views", "month", "2015-03-01", 4),),
            )
        ]  # fmt: skip
        for each in found:
            await ledger.save(ItemResult(ItemKey(1), {"timeline": WorkState.DONE}, (), (each,)))
        await ledger.save(ItemResult(ItemKey(2), {"timeline": WorkState.DONE}, (), (found[0], found[1])))
        nothing = TaskResult(usage=Usage((), ("views",), "month"))
        await ledger.save(ItemResult(ItemKey(2), {"timeline": WorkState.DONE}, (), (nothing,)))
        await ledger.flush()
    finally:
        await ledger.close("finished")
    at = [f"2026-01-01T00:0{minute}:00Z" for minute in range(1, 4)]
    with Reader(tmp_path) as reader:
        assert list(reader.totals()) == [(1, None, None), (2, 9, None)]
        assert list(reader.shares()) == []
        assert list(reader.history()) == [
            (1, at[0], 1, None, 0),
            (1, at[1], 3, 2, 1),
            (1, at[2], None, None, None),
            *((2, moment, 9, None, None) for moment in at),
        ]
        assert list(reader.usage_counts(by_country=False)) == [
            (1, "views", "month", "", "2015-03-01", 4),
            (2, "shares", "month", "", "2015-01-01", 2),
        ]
        assert list(reader.usage_counts(by_country=True)) == [
            (1, "views", "month", "Chad", "2015-01-01", 0),
            (1, "views", "month", "Chad", "2015-02-01", 3),
            (2, "views", "month", "Peru", "2015-01-01", 1),
        ]


# -- what a config may say ------------------------------------------------------------------------


def load(options: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Config:
    record = {"sources": [{"kind": "items", "ids": [1]}], **options}
    return load_config(options=record, environ=environ or {})


@pytest.mark.parametrize("task", ["timeline", "breakdown"])
def test_a_task_over_time_needs_to_know_since_when(task: str) -> None:
    with pytest.raises(UsageError, match=rf"^stats.since: missing; the task {task} needs it$"):
        load({"tasks": [task], "stats.granularity": "day"})
    assert load({"tasks": [task], "stats.since": "2015-01-01"}).stats.since == date(2015, 1, 1)


def test_a_faulty_statistics_table_is_reported_once() -> None:
    with pytest.raises(UsageError) as caught:
        load({"tasks": ["timeline"], "stats.since": "yesterday"})
    assert len(str(caught.value).splitlines()) == 1


async def test_a_first_day_that_is_still_to_come_is_wrong_usage(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5)) as sandbox:
        job = config(sandbox, tmp_path, [1], {"tasks": ["timeline"], "stats.since": "9000-01-01"})
        with pytest.raises(UsageError, match="stats.since: 9000-01-01 is after 20"):
            await harvest(job)
        assert sandbox.requests == []


async def test_without_a_last_day_it_is_today(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5)) as sandbox:
        ids = [sandbox.world.public_ids[0]]
        more = {"tasks": ["timeline"], "stats.since": "2015-06-01", "stats.counters": ["views"]}
        noon = datetime(2015, 7, 2, 23, 59, tzinfo=UTC).timestamp()
        await harvest(config(sandbox, tmp_path, ids, more), hooks=RunHooks(lambda: noon))
        assert [seen.query for seen in sandbox.requests_to("stats")] == [
            "start_date=2015-06-01&end_date=2015-07-02"
        ]


# -- the scope of an institution ------------------------------------------------------------------

INSTITUTION = {"stats.institution": "iastate"}


async def test_an_institutions_statistics_are_requested_with_its_credentials(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        ids = sandbox.world.public_ids[:3]
        job = config(
            sandbox,
            tmp_path,
            ids,
            {
                "tasks": ["metadata", "stats", "timeline", "breakdown"],
                **INSTITUTION,
                **of_span("year"),
            },
            {"FIGSHARE_STATS": "sandbox:sandbox-password"},
        )
        assert (await harvest(job)).exit_status == 0
        assert rows(tmp_path, "stats_timeline.csv") == truth(sandbox, ids, job.stats)
        assert rows(tmp_path, "stats_breakdown.csv") == truth_by_country(sandbox, ids, job.stats)
        assert rows(tmp_path, "stats.csv") == [
            (str(each), *(str(sandbox.world.totals(each)[name]) for name in ("views", "downloads")))
            for each in ids
        ]
        assert {seen.path.split("/")[1] for seen in sandbox.requests_to("stats")} == {"iastate"}


@pytest.mark.parametrize("value", [{"FIGSHARE_STATS": "sandbox:wrong"}, {"FIGSHARE_STATS": "x:y"}])
async def test_wrong_credentials_end_the_run_and_the_next_one_with_good_ones_does_all(
    value: dict[str, str], tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        ids = sandbox.world.public_ids[:2]
        options = {"tasks": ["metadata", "stats"], **INSTITUTION}
        with pytest.raises(TokenRejected, match=r"variable FIGSHARE_STATS\): .*: refused \(403\)"):
            await harvest(config(sandbox, tmp_path, ids, options, value))
        good = {"FIGSHARE_STATS": sandbox.settings.stats_credentials}
        summary = await harvest(config(sandbox, tmp_path, ids, options, good))
        assert summary.exit_status == 0
        assert summary.folder.work == {"metadata": {"done": 2}, "stats": {"done": 2}}


def test_an_institution_without_credentials_is_wrong_usage_that_names_the_variable() -> None:
    with pytest.raises(UsageError, match="stats.institution: needs credentials: .* variable FIGSHARE_STATS"):
        load(INSTITUTION).check_for("harvest")
    with pytest.raises(UsageError, match="variable MINE to name:password"):
        load({**INSTITUTION, "stats.credentials_env": "MINE"}, {"FIGSHARE_STATS": "a:b"}).check_for("harvest")
    assert load({"tasks": ["metadata"], **INSTITUTION}).stats.institution == "iastate"
    assert load(INSTITUTION, {"FIGSHARE_STATS": "a:b c:ü"}).stats_credentials is not None


@pytest.mark.parametrize("text", ["secretly", ":secretly", "secretly:", "a:secretly\x00"])
def test_malformed_credentials_are_reported_without_showing_them(text: str) -> None:
    with pytest.raises(UsageError, match="environment: FIGSHARE_STATS: expected name:password") as caught:
        load(INSTITUTION, {"FIGSHARE_STATS": text}).check_for("harvest")
    assert "secretly" not in str(caught.value)
    load({}, {"FIGSHARE_STATS": text})  # no task needs them


def test_credentials_in_the_place_of_their_variable_s_name_are_not_shown() -> None:
    with pytest.raises(UsageError, match="stats.credentials_env: expected the name of an env") as caught:
        load({**INSTITUTION, "stats.credentials_env": "me:secretly"})
    assert "secretly" not in str(caught.value)


@pytest.mark.parametrize("name", ["a/b", "../total", "x y", "?"])
def test_an_institution_is_one_word_of_an_address(name: str) -> None:
    with pytest.raises(
        UsageError, match='stats.institution: expected its name in addresses, such as "monash"'
    ):
        load({"stats.institution": name}, {"FIGSHARE_STATS": "a:b"})


async def test_a_run_that_is_stopped_leaves_no_half_timeline(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0, latency=0.02)) as sandbox:
        ids = sandbox.world.public_ids[:8]
        more = {"tasks": ["timeline"], "concurrency.workers": 2, **of_span("month")}
        job = config(sandbox, tmp_path, ids, more)
        each = requests_per_item("timeline", job.stats, date.max)
        assert each > 2
        async with anyio.create_task_group() as group:
            group.start_soon(harvest, job)
            await until(lambda: len(sandbox.requests_to("stats")) > 2 * each)
            group.cancel_scope.cancel()
        with Reader(tmp_path) as reader:
            done = reader.counts().work["timeline"].get("done", 0)
            here = {item_id for item_id, *_ in reader.usage_counts(by_country=False)}
        assert len(here) == done < len(ids)
        assert (await harvest(job)).exit_status == 0
        assert rows(tmp_path, "stats_timeline.csv") == truth(sandbox, ids, job.stats)


# -- what has changed, and versions ---------------------------------------------------------------


async def test_changes_and_versions_have_tables_of_their_own(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        world = sandbox.world
        (of_three, *_), (plain, gone, edited, *_) = world.with_trait("three versions"), world.with_trait("")
        ids = sorted([of_three, plain, gone, edited])
        job = config(sandbox, tmp_path, ids, {"tasks": ["metadata", "files"], "versions": "all"})
        assert (await harvest(job)).exit_status == 0
        expected = [(str(item_id), "", "new", "", "") for item_id in ids]
        early = [(str(of_three), str(number), "new", "", "") for number in (1, 2)]
        assert rows(tmp_path, "changes.csv") == sorted([*expected, *early])
        assert rows(tmp_path, "versions.csv") == [
            (
                str(of_three),
                str(number),
                world.record(of_three, number)["doi"],
                str(len(world.files(of_three, number))),
                str(sum(file["size"] for file in world.files(of_three, number))),
                f"files/{of_three}.v{number}",
            )
            for number in (1, 2)
        ]
        with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as handle:
            assert [int(row["id"]) for row in csv.DictReader(handle)] == ids, "one row an item"
        world.withdraw(gone)
        world.correct(edited)
        assert (await harvest(job, refresh=frozenset({"metadata"}))).exit_status == 0
        changes = {row[0]: row[2:] for row in rows(tmp_path, "changes.csv")}
        assert changes.keys() == {str(gone), str(edited)}
        assert changes[str(gone)] == ("withdrawn", "", "")
        assert changes[str(edited)][0] == "changed"
        assert "description" in changes[str(edited)][1].split("; ")


async def test_other_counters_are_requested_and_no_number_is_lost(tmp_path: Path) -> None:
    """A task's counters are part of what is pending; one that is not requested keeps its number."""
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        ids = a_few(sandbox)
        job = config(sandbox, tmp_path, ids, {"tasks": ["stats"]})
        assert (await harvest(job)).exit_status == 0
        before = rows(tmp_path, "stats.csv")
        assert any(views for _, views, _ in before)
        sandbox.requests.clear()
        job = config(sandbox, tmp_path, ids, {"tasks": ["stats"], "stats.counters": ["shares"]})
        assert (await harvest(job)).exit_status == 0
        assert {seen.path.split("/")[2] for seen in sandbox.requests_to("stats")} == {"shares"}
        assert len(sandbox.requests_to("stats")) == len(ids)
        assert rows(tmp_path, "stats.csv") == before
        known = {item_id: sandbox.world.totals(item_id) for item_id in ids}
        shares = [(str(item_id), str(job["shares"])) for item_id, job in sorted(known.items()) if job]
        assert rows(tmp_path, "stats_shares.csv") == shares


async def test_history_has_only_requested_counters(tmp_path: Path) -> None:
    moments = [datetime(2026, month, 1, 12, tzinfo=UTC).timestamp() for month in (1, 2)]
    async with Sandbox(Settings(items=10, heavy=0)) as sandbox:
        (item_id,) = sandbox.world.public_ids[5:6]
        totals = sandbox.world.totals(item_id)
        for moment, counters in zip(moments, (["views", "downloads"], ["views"]), strict=True):
            job = config(sandbox, tmp_path, [item_id], {"tasks": ["stats"], "stats.counters": counters})
            hooks = RunHooks(wall_clock=lambda moment=moment: moment)  # type: ignore[misc]  # its default
            summary = await harvest(job, refresh=frozenset({"stats"}), hooks=hooks)
            assert summary.exit_status == 0
        views, downloads = str(totals["views"]), str(totals["downloads"])
        assert rows(tmp_path, "stats_history.csv") == [
            (str(item_id), "2026-01-01T12:00:00Z", views, downloads, ""),
            (str(item_id), "2026-02-01T12:00:00Z", views, "", ""),
        ]
        assert rows(tmp_path, "stats.csv") == [(str(item_id), views, downloads)]
