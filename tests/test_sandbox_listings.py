"""What the sandbox lists: collections, projects, an institution, accounts; in which order and since when."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from harvester.sandbox import Sandbox, Settings, World
from harvester.sandbox.catalogue import COLLECTIONS, PROJECTS
from tests.support.browsing import AUTHORISED, ask, browsing

pytestmark = pytest.mark.anyio

PLAIN = {"Authorization": "token sandbox-plain-token"}
COLLEAGUE = {"impersonate": 1000002}


async def listed(session: aiohttp.ClientSession, url: str, **params: Any) -> list[int]:
    """Return the ids of one page of a public listing, or of one for an administrator."""
    headers = AUTHORISED if "/account" in url else {}
    async with session.get(url, params={"page_size": 1000, **params}, headers=headers) as response:
        assert response.status == 200, await response.text()
        return [entry["id"] for entry in await response.json()]


async def searched(session: aiohttp.ClientSession, url: str, **body: Any) -> list[int]:
    headers = AUTHORISED if "/account" in url else {}
    asked = {"page_size": 1000, **body}
    async with session.post(f"{url}/articles/search", json=asked, headers=headers) as response:
        assert response.status == 200, await response.text()
        return [entry["id"] for entry in await response.json()]


# -- collections and projects ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("collections/4000001", range(0, 100, 5)),
        ("collections/4000002", range(0, 100, 2)),
        ("projects/113001", range(1, 100, 4)),
        ("projects/113002", range(0, 100, 2)),
    ],
)
async def test_a_collection_or_project_is_listed_newest_first_and_without_filters(
    path: str, numbers: range
) -> None:
    async with browsing(items=100, cap=12) as (sandbox, session):
        world, url = sandbox.world, f"{sandbox.api}/{path}/articles"
        kind, _, name = path.partition("/")
        expected = [world.public_ids[number] for number in numbers]
        truth = world.collection_items if kind == "collections" else world.project_items
        assert list(truth(int(name))) == expected
        assert await listed(session, url, page_size=10) == expected[::-1][:10]
        ignored = {
            "item_type": 3,
            "order": "views",
            "order_direction": "asc",
            "published_since": "2030-01-01",
        }
        assert await listed(session, url, page_size=10, **ignored) == expected[::-1][:10]
        assert await listed(session, url, page_size=4, page=3) == expected[::-1][8:12]
        status, answer, headers = await ask(session, f"{url}?page_size=4&page=4")
        assert (status, answer["code"], "X-Cursor" in headers) == (422, 42200, False)
        assert (await ask(session, f"{sandbox.api}/{kind}/1/articles"))[0] == 404
        world.withdraw(expected[-1])
        assert await listed(session, url, page_size=3) == expected[::-1][1:4]


async def test_a_search_tells_the_project_of_each_item_and_takes_one() -> None:
    async with browsing(items=60) as (sandbox, session):
        world, url = sandbox.world, f"{sandbox.api}/articles/search"
        async with session.post(url, json={"page_size": 100}) as response:
            found = {entry["id"]: entry["project_id"] for entry in await response.json()}
        numbers = {0: 113002, 1: 113001, 2: 113002, 3: 113166}
        assert found == {item_id: numbers[world.number(item_id) % 4] for item_id in world.public_ids}
        for project in PROJECTS:
            assert (
                await searched(session, sandbox.api, project_id=project)
                == (list(world.project_items(project))[::-1])
            )
        both = {"project_id": 113001, "group": 11962, "order_direction": "asc"}
        assert await searched(session, sandbox.api, **both) == [
            item_id for item_id in world.group_items(11962) if item_id in world.project_items(113001)
        ]
        assert await searched(session, sandbox.api, project_id=5) == []
        plain = await listed(session, f"{sandbox.api}/articles", project_id=113001)
        assert plain == list(world.public_ids)[::-1]
        in_projects = [item_id for project in PROJECTS for item_id in world.project_items(project)]
        assert sorted(in_projects) == list(world.public_ids)
        assert list(COLLECTIONS) == [4000001, 4000002, 5234234]


# -- the institution ------------------------------------------------------------------------------------


async def test_an_administrator_lists_all_that_the_institution_has() -> None:
    async with browsing(items=50, private_items=4, colleague_items=3) as (sandbox, session):
        world, url = sandbox.world, f"{sandbox.api}/account/institution/articles"
        drafts = [*world.private_ids, *world.colleague_ids]
        assert len(drafts) == 7
        assert await listed(session, url, order_direction="asc") == [*drafts, *world.public_ids]
        assert await listed(session, url) == [*drafts, *world.public_ids][::-1]
        assert list(world.institution_items()) == [*drafts, *world.public_ids]
        everything = [*drafts, *world.public_ids]
        by_modified = sorted(everything, key=lambda item_id: (world.modified(item_id), item_id))
        ascending = {"order": "modified_date", "order_direction": "asc"}
        assert await listed(session, url, **ascending) == by_modified
        assert await listed(session, url, **ascending, page_size=10, page=2) == by_modified[10:20]
        since = {"modified_since": "2015-01-02"}
        assert await listed(session, url, **ascending, **since) == [
            item_id for item_id in by_modified if world.modified(item_id) >= "2015-01-02"
        ]
        since = {"published_since": "2015-01-01T02:00:00Z"}
        assert await listed(session, url, **since) == list(world.public_ids[24:])[::-1]
        assert await listed(session, url, item_type=3, group=11960, status="draft", search_for="x") == [
            item_id for item_id in everything[::-1] if world.number(item_id) % 5 == 0
        ]
        status, _, headers = await ask(session, f"{url}?page_size=10", headers=AUTHORISED)
        assert (status, "X-Cursor" in headers) == (200, False)
        assert (await ask(session, f"{url}?order=views", headers=AUTHORISED))[0] == 422


async def test_the_cap_applies_to_account_listings() -> None:
    async with browsing(items=50, cap=10) as (sandbox, session):
        for path in ("account/institution/articles", "account/articles"):
            for page, expected in ((2, 200), (3, 422)):
                url = f"{sandbox.api}/{path}?page_size=5&page={page}"
                assert (await ask(session, url, headers=AUTHORISED))[0] == expected
        asked = {"page_size": 5, "page": 3}
        search = f"{sandbox.api}/account/articles/search"
        async with session.post(search, json=asked, headers=AUTHORISED) as response:
            assert response.status == 422


async def test_the_public_can_list_an_institution() -> None:
    async with browsing(items=20) as (sandbox, session):
        url = f"{sandbox.api}/articles"
        assert await listed(session, url, institution=319) == list(sandbox.world.public_ids)[::-1]
        assert await listed(session, url, institution=320) == []


# -- accounts -------------------------------------------------------------------------------------------


async def test_a_token_without_rights_sees_its_own_items_and_no_more() -> None:
    async with browsing(items=50) as (sandbox, session):
        world, api = sandbox.world, sandbox.api
        status, answer, _ = await ask(session, f"{api}/account/articles?page_size=100", headers=PLAIN)
        assert (status, [entry["id"] for entry in answer]) == (200, world.account_ids)
        own, colleague = world.private_ids[0], world.colleague_ids[0]
        outside = world.public_ids[30]
        for item_id, expected in ((own, 200), (world.public_ids[0], 200), (colleague, 404), (outside, 404)):
            for path in ("", "/files"):
                url = f"{api}/account/articles/{item_id}{path}"
                assert (await ask(session, url, headers=PLAIN))[0] == expected
                assert (await ask(session, url, headers=AUTHORISED))[0] == 200
        for path in ("institution/articles", "institution/groups", "articles?impersonate=1000001"):
            status, answer, _ = await ask(session, f"{api}/account/{path}", headers=PLAIN)
            assert (status, answer["code"], bool(answer["message"])) == (403, 40300, True)
        for item_id, plain in ((own, 302), (colleague, 404), (outside, 302)):
            url = f"{api}/file/download/{world.files(item_id)[0]['id']}"
            for headers, expected in ((PLAIN, plain), (AUTHORISED, 302)):
                answer = await ask(session, url, headers=headers, allow_redirects=False)
                assert answer[0] == expected


async def test_the_colleagues_items_follow_the_own_private_ones() -> None:
    world = World(Settings(items=10, private_items=12))
    assert list(world.colleague_ids) == [9_000_000_037, 9_000_000_040, 9_000_000_043]
    assert not set(world.colleague_ids) & set(world.account_ids)
    assert [world.exists(item_id) for item_id in (9_000_000_034, *world.colleague_ids, 9_000_000_046)] == [
        *[True] * 4,
        False,
    ]
    accounts = {world.record(item_id, private=True)["account_id"] for item_id in world.colleague_ids}
    assert accounts == {1000002}
    assert world.record(world.account_ids[0], private=True)["account_id"] == 1000001


async def test_an_administrator_acts_for_another_account() -> None:
    async with browsing(items=50) as (sandbox, session):
        world, account = sandbox.world, f"{sandbox.api}/account"
        colleagues = list(world.colleague_ids)
        assert await listed(session, f"{account}/articles", **COLLEAGUE) == colleagues
        assert await listed(session, f"{account}/articles", impersonate=1000001) == world.account_ids
        assert await searched(session, account, **COLLEAGUE) == colleagues[::-1]
        for item_id, expected in ((colleagues[0], 200), (world.private_ids[0], 404)):
            for path in ("", "/files"):
                url = f"{account}/articles/{item_id}{path}"
                assert (await ask(session, url, params=COLLEAGUE, headers=AUTHORISED))[0] == expected
            url = f"{sandbox.api}/file/download/{world.files(item_id)[0]['id']}"
            answer = await ask(session, url, params=COLLEAGUE, headers=AUTHORISED, allow_redirects=False)
            assert answer[0] == (302 if expected == 200 else 404)
        for path in ("account/articles", f"account/articles/{colleagues[0]}", "file/download/1"):
            url = f"{sandbox.api}/{path}?impersonate=5"
            assert (await ask(session, url, headers=AUTHORISED))[0] == 404
        (seen, *_) = [seen for seen in sandbox.requests if seen.method == "POST"]
        assert seen.fields["impersonate"] == 1000002


async def test_an_accounts_record_is_that_of_the_world() -> None:
    async with browsing(items=50) as (sandbox, session):
        world = sandbox.world
        for item_id in (world.private_ids[1], world.colleague_ids[1], world.public_ids[40]):
            url = f"{sandbox.api}/account/articles/{item_id}"
            assert (await ask(session, url, headers=AUTHORISED))[1] == world.record(item_id, private=True)


async def test_an_account_s_items_can_be_searched() -> None:
    async with browsing(items=50) as (sandbox, session):
        world, url = sandbox.world, f"{sandbox.api}/account"
        own = world.account_ids
        assert await searched(session, url, order_direction="asc") == own
        assert await searched(session, url) == own[::-1]
        tagged = await searched(session, url, search_for=":tag: tag3", order_direction="asc")
        assert tagged == [item_id for item_id in own if world.attributes(item_id)["tag"] == "tag3"]
        assert await searched(
            session, url, published_since="2015-01-01T01:00:00Z", order_direction="asc"
        ) == [item_id for item_id in own if item_id in world.public_ids[12:20]]
        modified = sorted(own, key=lambda item_id: (world.modified(item_id), item_id))
        slices = {"order": "modified_date", "order_direction": "asc", "modified_since": "2015-01-02"}
        assert await searched(session, url, **slices) == [
            item_id for item_id in modified if world.modified(item_id) >= "2015-01-02"
        ]
        assert await searched(session, url, item_type=1, group=11962) == [
            item_id for item_id in own[::-1] if world.number(item_id) % 5 == 1
        ]
        async with session.post(f"{url}/articles/search", json={}, headers=AUTHORISED) as response:
            assert {"project_id"} <= (await response.json())[0].keys()
            assert "X-Cursor" not in response.headers


# -- order ----------------------------------------------------------------------------------------------


def counted(world: World, counter: str) -> list[int]:
    return sorted(world.public_ids, key=lambda item_id: (world.totals(item_id).get(counter, 0), item_id))


async def test_listings_have_the_requested_order() -> None:
    async with browsing(items=90) as (sandbox, session):
        world = sandbox.world
        world.edit(world.public_ids[3])
        ids = list(world.public_ids)
        by_modified = sorted(ids, key=lambda item_id: (world.modified(item_id), item_id))
        assert by_modified[-1] == ids[3]
        orders = {
            "": ids,
            "published_date": ids,
            "created_date": ids,
            "modified_date": by_modified,
            **{counter: counted(world, counter) for counter in ("views", "shares", "downloads")},
            "cites": sorted(ids, key=lambda item_id: (world.number(item_id) % 11, item_id)),
        }
        for order, ascending in orders.items():
            asked = {"order": order} if order else {}
            url = f"{sandbox.api}/articles"
            assert await listed(session, url, **asked) == ascending[::-1]
            assert await listed(session, url, **asked, order_direction="desc") == ascending[::-1]
            assert await searched(session, sandbox.api, **asked, order_direction="asc") == ascending
        few = {"search_for": ":tag: tag3", "order": "modified_date", "order_direction": "asc"}
        assert await searched(session, sandbox.api, **few) == [
            item_id for item_id in by_modified if item_id in world.search(":tag: tag3")
        ]
        for query in ("order=title", "order_direction=up"):
            assert (await ask(session, f"{sandbox.api}/articles?{query}"))[0] == 422


async def test_an_order_can_be_ignored() -> None:
    async with browsing(items=30, ignores=("order",)) as (sandbox, session):
        found = await listed(session, f"{sandbox.api}/articles", order="modified_date")
        assert found == list(sandbox.world.public_ids)[::-1]


# -- since ----------------------------------------------------------------------------------------------

MOMENTS = [
    "2015-01-01",
    "2015-01-02",
    "2015-01-01T10:00:00Z",
    "2015-01-01T10:00:01Z",
    "2015-01-01T12:00:00+02:00",
    "2015-01-03T01:05:00",
    "2014-12-31",
    "2035-01-02",
    "2035-01-03",
    "2036-01-01T00:00:00Z",
]


def moment(text: str) -> str:
    """Return a moment as records tell it: the time zone of the one that has any is two hours ahead."""
    found = datetime.fromisoformat(text)
    if "+02:00" in text:
        found -= timedelta(hours=2)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("since", MOMENTS)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("together", [1, 7])
def test_since_includes_the_moment_unless_it_is_strict(since: str, strict: bool, together: int) -> None:
    world = World(Settings(items=900, strict_since=strict, together=together))
    world.edit(world.public_ids[5])
    world.correct(world.public_ids[800])
    world.withdraw(world.public_ids[130])
    bound = moment(since)
    every: Iterable[int] = world.public_ids
    for name, dated in (("published_since", world.published), ("modified_since", world.modified)):
        for more, among in (({}, every), ({"group": 11962}, world.group_items(11962))):
            assert list(world.select({name: since, **more})) == [
                item_id
                for item_id in among
                if (dated(item_id) > bound if strict else dated(item_id) >= bound)
            ]


async def test_an_invalid_date_is_rejected() -> None:
    async with browsing(items=10) as (sandbox, session):
        for name in ("published_since", "modified_since"):
            assert (await ask(session, f"{sandbox.api}/articles?{name}=yesterday"))[0] == 422
            assert len(await listed(session, f"{sandbox.api}/articles", **{name: "0001-01-01"})) == 10


def test_items_can_be_published_at_one_moment() -> None:
    world = World(Settings(items=10, together=4))
    dates = [(world.published(item_id), world.modified(item_id)) for item_id in world.public_ids]
    assert [dates.count(date) for date in dates] == [4] * 8 + [2] * 2
    assert [date for date, _ in dates] == sorted(date for date, _ in dates)
    assert dates[4] == ("2015-01-01T00:20:00Z", "2015-01-02T00:20:00Z")


async def test_a_listing_of_a_million_is_answered_at_once() -> None:
    async with browsing(items=1_000_000, cursors=False) as (sandbox, session):
        sandbox.world.public_ids  # noqa: B018 - as any listing does
        for query in (
            "published_since=2020-06-01",
            "page=9&page_size=1000",
            "published_since=2020-06-01&order_direction=asc&page=500",
            "group=11962&published_since=2021-01-01",
        ):
            began = time.perf_counter()
            status, answer, _ = await ask(session, f"{sandbox.api}/articles?{query}")
            assert time.perf_counter() - began < 0.5  # on a busy machine; else a few milliseconds
            assert (status, len(answer)) == (200, 1000 if "1000" in query else 10)


async def test_slices_by_date_continue_past_the_cap() -> None:
    async with (
        Sandbox(Settings(items=230, cap=50, cursors=False)) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        found: list[int] = []
        since = "2015-01-01"
        while True:
            order = {"order": "published_date", "order_direction": "asc"}
            page = await searched(session, sandbox.api, published_since=since, page_size=50, **order)
            fresh = [item_id for item_id in page if item_id not in found]
            if not fresh:
                break
            found += fresh
            since = sandbox.world.published(found[-1])
        assert found == list(sandbox.world.public_ids)
