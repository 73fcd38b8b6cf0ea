"""Past every cap: all that can be listed is found, or it is said that some is missing."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web

from harvester.errors import Rejected
from harvester.figshare.api import FigshareApi
from harvester.figshare.cursor import PAGE_SIZE
from harvester.sandbox import Sandbox, Settings
from harvester.sources.account import Account
from harvester.sources.collection import Collection
from harvester.sources.group import Group
from harvester.sources.institution import Institution
from harvester.sources.project import Project
from harvester.sources.search import Search
from tests.support.calls import calls, only, read
from tests.support.http import client, served

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[10, pytest.param(PAGE_SIZE, marks=pytest.mark.nightly)], ids=str)
def size(request: pytest.FixtureRequest) -> int:
    """How many entries a page has."""
    return int(request.param)


of_days = pytest.mark.parametrize("size", [PAGE_SIZE], ids=str)
"""Pages of several days: a filter by date is known to be ignored by entries that are much older."""


def pages(size: int, *, items: float = 0, private: float = 0, cap: int = 9, **more: Any) -> Settings:
    """A world of this number of pages, with a cap after some of them."""
    return Settings(
        items=int(items * size) or 3,
        private_items=int(private * size) or 2,
        colleague_items=1,
        own_public=2,
        page_cap=size,
        cap=cap * size,
        **more,
    )


def asked_pages(sandbox: Sandbox) -> list[dict[str, Any]]:
    """The parameters of each request for a page."""
    return [dict(seen.fields) for seen in sandbox.requests_to("api")]


async def test_a_cursor_reads_past_the_cap_and_lists_every_item_once(size: int) -> None:
    async with Sandbox(pages(size, items=6, cap=1)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)
        assert found.again == 0
        statuses = [seen.status for seen in sandbox.requests_to("api")]
        assert statuses == [*[200] * 6, 422], "one page by number, behind the cap, as the last is full"


@pytest.mark.parametrize(
    ("items", "cap", "strict"),
    [(3, 1, False), (3, 1, True), (6, 5, True), (25, 1, False), (25, 9, False), (25, 5, True)],
)
async def test_without_cursors_slices_by_date_read_past_any_cap(
    items: int, cap: int, strict: bool, size: int
) -> None:
    settings = pages(size, items=items, cap=cap, cursors=False, strict_since=strict)
    async with Sandbox(settings) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)
        at_most = cap * size
        slices = 1 + math.ceil(
            (items * size - at_most) / (at_most - 1)
        )  # each begins with the last item of the one before
        assert len({asked.get("published_since") for asked in asked_pages(sandbox)}) == slices
        assert found.again == slices - 1
        statuses = [seen.status for seen in sandbox.requests_to("api")]
        assert statuses.count(422) == 1, "the cap is found once, and then known"


async def test_a_slice_never_begins_before_what_the_user_wants() -> None:
    async with Sandbox(Settings(items=1400, page_cap=50, cap=100, cursors=False)) as sandbox:
        wanted = Institution(id=319, published_since=date(2015, 1, 5))
        found = await read(sandbox, await only(wanted))
        assert found.ids == [
            item_id
            for item_id in sandbox.world.public_ids
            if sandbox.world.published(item_id) >= "2015-01-05"
        ]
        assert min(asked["published_since"] for asked in asked_pages(sandbox)) == "2015-01-04T23:59:59Z"


@pytest.mark.parametrize("strict", [False, True], ids=["at or after", "after"])
@pytest.mark.parametrize(
    "source",
    [
        Institution(id=319, published_since=date(2015, 1, 5)),
        Institution(id=319, modified_since=date(2015, 1, 5)),
        Institution(private=True, published_since=date(2015, 1, 5), modified_since=date(2015, 1, 6)),
        Account(query="survey", modified_since=date(2015, 1, 5)),
    ],
    ids=["published", "modified", "both", "account"],
)
async def test_items_of_the_exact_moment_are_listed_for_both_meanings_of_since(
    source: Any, strict: bool
) -> None:
    async with Sandbox(Settings(items=1500, private_items=1500, strict_since=strict)) as sandbox:
        found = await read(sandbox, await only(source))
        world = sandbox.world
        wanted = {
            f"{name}_date": f"{day}T00:00:00Z"
            for name in ("published", "modified")
            if (day := getattr(source, f"{name}_since"))
        }
        everything = {
            "account": world.account_items({"search_for": "survey"}),
            "institution": world.institution_items() if source.private else world.public_ids,
        }
        entries = map(world.entry, everything[source.kind])
        expected = [
            entry for entry in entries if all((entry[name] or "") >= day for name, day in wanted.items())
        ]
        assert sorted(found.ids) == sorted(entry["id"] for entry in expected)
        assert any(entry[name] == day for entry in expected for name, day in wanted.items())
        assert found.warnings == []


@pytest.mark.parametrize(("ignored", "warns"), [((), False), (("published_since",), True)])
async def test_items_of_the_second_before_do_not_count_as_an_ignored_filter(
    ignored: tuple[str, ...], warns: bool
) -> None:
    items = [
        {"id": 1, "published_date": "2015-01-01T00:00:00Z"},
        {"id": 2, "published_date": "2015-01-04T23:59:59Z"},
        {"id": 3, "published_date": "2015-01-05T00:00:00Z"},
    ]

    async def answer(request: web.Request) -> web.Response:
        since = "" if ignored else (await request.json())["published_since"]
        return web.json_response([item for item in items if str(item["published_date"]) >= since])

    async with served(answer) as api, client(api) as polite:
        figshare = FigshareApi(polite, api=api, stats=api)
        listing = await only(Institution(id=319, published_since=date(2015, 1, 5)))
        page = await listing.page(figshare, None)
    assert [ref.id for ref in page.refs] == [3]
    message = "institution 319, page 1: figshare ignored published_since: 1 of 3 entries are excluded"
    assert (page.excluded, page.warning) == ((2, message) if warns else (1, ""))


async def test_slices_keep_filters_and_groups(size: int) -> None:
    async with Sandbox(pages(size, items=6, cap=1, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Group(id=11960, subgroups=True, item_type="figure")))
        world = sandbox.world
        assert sorted(found.ids) == [
            item_id for item_id in world.public_ids if world.item(item_id).type[1] == "figure"
        ]
        assert found.warnings == []


async def test_a_search_is_sliced_too(size: int) -> None:
    async with Sandbox(pages(size, items=9, cap=1, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Search(query=":category: oceanography")))
        assert found.ids == list(sandbox.world.search(":category: oceanography"))
        assert {asked["search_for"] for asked in asked_pages(sandbox)} == {":category: oceanography"}


@pytest.mark.parametrize("strict", [False, True], ids=["at or after", "after"])
async def test_items_of_one_moment_are_all_found_below_the_cap(strict: bool, size: int) -> None:
    together = int(0.6 * size)
    settings = pages(size, items=2.5, cap=1, cursors=False, together=together, strict_since=strict)
    async with Sandbox(settings) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)


async def test_more_items_of_one_moment_than_the_cap_are_reported_as_incomplete(size: int) -> None:
    settings = pages(size, items=5, cap=1, cursors=False, together=int(1.5 * size))
    async with Sandbox(settings) as sandbox:
        message = (
            f"a search can be listed only up to {size} items:"
            " more of them share one moment, 2015-01-01T00:00:00"
        )
        with pytest.raises(Rejected, match=message):
            await read(sandbox, await only(Institution(id=319)))


@of_days
async def test_a_filter_by_date_that_is_ignored_is_noticed_at_the_cap(size: int) -> None:
    settings = pages(size, items=3, cap=2, cursors=False, ignores=("published_since",))
    async with Sandbox(settings) as sandbox:
        message = f"{2 * size} items: it ignores published_since, which would lead to the rest; incomplete"
        with pytest.raises(Rejected, match=message):
            await read(sandbox, await only(Institution(id=319)))
        assert len(sandbox.requests_to("api")) == 4, (
            "two pages, one that is refused, and the slice that is none"
        )


@of_days
@pytest.mark.parametrize(
    "source", [Account(query="survey"), Institution(private=True)], ids=["account", "institution"]
)
async def test_if_modified_since_is_ignored_pages_are_read_up_to_the_cap(source: Any, size: int) -> None:
    settings = pages(size, private=2.5, cap=3, ignores=("modified_since",))
    async with Sandbox(settings) as sandbox:
        found = await read(sandbox, await only(source))
        world = sandbox.world
        everything = {
            "account": world.account_items({"search_for": "survey"}),
            "institution": world.institution_items(),
        }
        assert sorted(found.ids) == sorted(everything[source.kind])
        asked = sandbox.requests_to("api")
        assert {seen.status for seen in asked} == {200}
        assert len(asked) <= math.ceil(len(found.ids) / size) + 2


async def test_a_single_odd_date_does_not_prove_that_since_is_ignored() -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    items = [{"id": n, "published_date": str(begin + timedelta(hours=n))} for n in range(1, 5001)]
    odd = {"id": 9999, "published_date": str(begin)}

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["page"] > 2:
            return web.json_response({"message": "too far", "code": "x"}, status=422)
        since = asked.get("published_since", "").replace("T", " ")
        chosen = [odd, *(item for item in items if str(item["published_date"]) >= since)]
        return web.json_response(chosen[(asked["page"] - 1) * PAGE_SIZE : asked["page"] * PAGE_SIZE])

    async with served(answer) as api, client(api) as polite:
        figshare, listing = FigshareApi(polite, api=api, stats=api), await only(Institution(id=319))
        found, cursor = set[int](), None
        while True:
            page = await listing.page(figshare, cursor)
            found |= {ref.id for ref in page.refs}
            if (cursor := page.cursor) is None:
                break
    assert found == {*range(1, 5001), 9999}


@of_days
async def test_if_modified_since_is_ignored_items_past_the_cap_are_reported_as_missing(size: int) -> None:
    settings = pages(size, private=2.5, cap=2, ignores=("modified_since",))
    message = (
        f"the token's institution can be listed only up to {2 * size} items: "
        "it ignores modified_since, which would lead to the rest; incomplete"
    )
    async with Sandbox(settings) as sandbox:
        listing, found, cursor = await only(Institution(private=True)), set[int](), None
        async with calls(sandbox) as figshare:
            with pytest.raises(Rejected, match=f"^{re.escape(message)}$"):
                while True:
                    page = await listing.page(figshare, cursor)
                    found |= {ref.id for ref in page.refs}
                    cursor = page.cursor
        first = sandbox.world.institution_items({"order": "modified_date"})[: 2 * size]
        assert found == set(first)


@of_days
async def test_no_item_is_lost_if_modified_since_is_ignored_from_some_page_on(size: int) -> None:
    async with Sandbox(pages(size, private=3.5, cap=5)) as heeding:
        listing = await only(Institution(private=True))
        async with calls(heeding) as figshare:
            first = await listing.page(figshare, None)
            second = await listing.page(figshare, first.cursor)
    settings = pages(size, private=3.5, cap=5, ignores=("modified_since",))
    async with Sandbox(settings) as ignoring:
        found, cursor = {ref.id for ref in (*first.refs, *second.refs)}, second.cursor
        async with calls(ignoring) as figshare:
            while cursor is not None:
                page = await listing.page(figshare, cursor)
                found |= {ref.id for ref in page.refs}
                cursor = page.cursor
        assert found == set(ignoring.world.institution_items())


async def test_a_service_that_knows_only_days_needs_few_pages_for_days_with_many_changes() -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    moments = [begin + timedelta(seconds=n) for n in range(7000)]
    moments += [begin + timedelta(hours=30 + n) for n in range(1500)]
    items = [
        {"id": n, "modified_date": f"{moment:%Y-%m-%dT%H:%M:%SZ}"} for n, moment in enumerate(moments, 1)
    ]
    pages = list[tuple[str, int]]()

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        day = asked.get("modified_since", "")[:10]
        pages.append((day, asked["page"]))
        since = [item for item in items if str(item["modified_date"])[:10] >= day]
        return web.json_response(since[(asked["page"] - 1) * PAGE_SIZE : asked["page"] * PAGE_SIZE])

    async with served(answer) as api, client(api) as polite:
        figshare, listing = FigshareApi(polite, api=api, stats=api), await only(Account(query="x y z"))
        found, cursor = set[int](), None
        while True:
            page = await listing.page(figshare, cursor)
            found |= {ref.id for ref in page.refs}
            if (cursor := page.cursor) is None:
                break
    assert found == set(range(1, 8501))
    assert pages == [
        ("", 1),
        *(("2020-01-01", number) for number in range(1, 9)),
        ("2020-02-12", 1),
        ("", 1),
    ], "the last one in descending order, for what tells no date"


async def test_a_service_that_knows_only_days_is_listed_completely() -> None:
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    items = [{"id": n, "published_date": str(begin + timedelta(minutes=n))} for n in range(1, 5001)]

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["page"] > 2:
            return web.json_response({"message": "too far", "code": "x"}, status=422)
        day = asked.get("published_since", "")[:10]
        since = [item for item in items if str(item["published_date"])[:10] >= day]
        return web.json_response(since[(asked["page"] - 1) * PAGE_SIZE : asked["page"] * PAGE_SIZE])

    async with served(answer) as api, client(api) as polite:
        figshare, listing = FigshareApi(polite, api=api, stats=api), await only(Institution(id=319))
        found, cursor = set[int](), None
        while True:
            page = await listing.page(figshare, cursor)
            found |= {ref.id for ref in page.refs}
            if (cursor := page.cursor) is None:
                break
    assert found == set(range(1, 5001))


@pytest.mark.parametrize("order", ["published_date desc", "views"])
async def test_the_users_order_has_no_slices_and_is_abandoned_at_the_cap(order: str, size: int) -> None:
    async with Sandbox(pages(size, items=4.5, cap=2, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319, order=order)))
        assert sorted(found.ids) == list(sandbox.world.public_ids)
        name, _, direction = order.partition(" ")
        ordered = list(sandbox.world.select({"order": name}))
        at_most = 2 * size
        assert found.ids[:at_most] == (ordered[::-1] if direction else ordered)[:at_most]
        assert found.warnings == [f"institution 319: past {at_most} items the order is figshare's by date"]
        orders = [asked["order"] for asked in asked_pages(sandbox)]
        assert orders[:3] == [name] * 3
        assert set(orders[3:]) == {"published_date"}


async def test_a_listing_whose_order_was_abandoned_keeps_its_licence(size: int) -> None:
    async with Sandbox(pages(size, items=4.5, cap=1, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319, licence="cc0", order="views")))
        plain = await read(sandbox, await only(Institution(id=319, licence="cc0")))
        assert sorted(found.ids) == plain.ids
        assert len(plain.ids) > size


async def test_the_own_institution_continues_by_modification_date_past_the_cap(size: int) -> None:
    async with Sandbox(pages(size, items=3.5, cap=2)) as sandbox:
        found = await read(sandbox, await only(Institution(private=True, order="published_date")))
        assert sorted(found.ids) == sorted(sandbox.world.institution_items())
        message = f"the token's institution: past {2 * size} items the order is figshare's by date"
        assert found.warnings == [message]


async def test_the_users_order_continues_by_cursor(size: int) -> None:
    listing = await only(Institution(id=319, order="published_date desc"))
    async with Sandbox(pages(size, items=2.5, cap=2)) as sandbox:
        found = await read(sandbox, listing)
        assert found.ids == list(sandbox.world.public_ids)[::-1]


async def test_a_service_that_ignores_the_order_is_noticed_at_the_cap_and_not_before(size: int) -> None:
    settings = pages(size, items=2.5, cap=2, cursors=False, ignores=("order_direction",))
    async with Sandbox(settings) as sandbox:
        listing = await only(Institution(id=319))
        async with calls(sandbox) as figshare:
            page = await listing.page(figshare, '{"unordered": true}')
            second = await listing.page(figshare, page.cursor)
            assert second.cursor is not None
            with pytest.raises(Rejected, match="they do not come ordered by published_date; incomplete"):
                await listing.page(figshare, second.cursor)


@pytest.mark.parametrize(("cap", "strict"), [(1, False), (2, True)])
async def test_an_account_continues_with_its_search_past_the_cap(cap: int, strict: bool, size: int) -> None:
    settings = pages(size, private=4.5, cap=cap, strict_since=strict)
    async with Sandbox(settings) as sandbox:
        found = await read(sandbox, await only(Account()))
        assert sorted(found.ids) == sorted(sandbox.world.account_ids)
        assert {ref.private for ref in found.refs} == {True}
        paths = [seen.path for seen in sandbox.requests_to("api")]
        assert paths[: cap + 1] == ["/v2/account/articles"] * (cap + 1)
        assert set(paths[cap + 1 :]) == {"/v2/account/articles/search"}


async def test_an_account_below_the_cap_is_never_searched() -> None:
    async with Sandbox(Settings(items=30, private_items=1500)) as sandbox:
        found = await read(sandbox, await only(Account()))
        assert found.ids == sandbox.world.account_ids
        assert {seen.path for seen in sandbox.requests_to("api")} == {"/v2/account/articles"}


async def test_changes_while_the_own_institution_is_listed_lose_no_item(size: int) -> None:
    async with Sandbox(pages(size, items=3.5)) as sandbox:
        listing, found, cursor = await only(Institution(private=True)), set[int](), None
        async with calls(sandbox) as figshare:
            while True:
                page = await listing.page(figshare, cursor)
                found |= {ref.id for ref in page.refs}
                for ref in page.refs[: size // 5]:
                    sandbox.world.correct(ref.id)  # they go to the end, and all behind them move up
                if (cursor := page.cursor) is None:
                    break
        assert found == set(sandbox.world.institution_items())


async def test_the_own_institution_is_sliced_by_modification_date(size: int) -> None:
    async with Sandbox(pages(size, items=6, cap=1)) as sandbox:
        found = await read(sandbox, await only(Institution(private=True)))
        assert sorted(found.ids) == sorted(sandbox.world.institution_items())


@pytest.mark.parametrize("cursors", [True, False])
async def test_a_project_continues_with_a_search_for_its_items_past_the_cap(cursors: bool, size: int) -> None:
    async with Sandbox(pages(size, items=4.5, cap=1, cursors=cursors)) as sandbox:
        found = await read(sandbox, await only(Project(id=113002)))
        assert sorted(found.ids) == list(sandbox.world.project_items(113002))
        searches = [seen for seen in sandbox.requests_to("api") if seen.path == "/v2/articles/search"]
        assert {seen.fields["project_id"] for seen in searches} == {113002}


async def test_a_project_search_that_ignores_the_project_is_rejected(size: int) -> None:
    async with Sandbox(pages(size, items=4.5, cap=1, ignores=("project_id",))) as sandbox:
        with pytest.raises(Rejected, match="figshare ignores the project and would list everything"):
            await read(sandbox, await only(Project(id=113001)))


async def test_a_collection_past_the_cap_is_reported_as_incomplete(size: int) -> None:
    async with Sandbox(pages(size, items=2.5, cap=1)) as sandbox:
        message = f"a collection can be listed only up to {size} items; incomplete"
        with pytest.raises(Rejected, match=message):
            await read(sandbox, await only(Collection(id=4000002)))
        found = await read(sandbox, await only(Collection(id=4000001)))
        assert sorted(found.ids) == list(sandbox.world.collection_items(4000001))


async def test_a_cursor_of_an_earlier_release_is_read() -> None:
    async with Sandbox(Settings(items=2500, cap=9000, cursors=False)) as sandbox:
        async with calls(sandbox) as figshare:
            old = '{"page":2,"cursor":"","first_id":5000001,"again":false}'
            listing = await only(Institution(id=319))
            page = await listing.page(figshare, old)
            assert [ref.id for ref in page.refs] == list(sandbox.world.public_ids)[1000:2000]
            grouped = await only(Group(id=11960))
            page = await grouped.page(figshare, '11960|{"page":1,"cursor":"","first_id":0,"again":false}')
            assert [ref.id for ref in page.refs] == list(sandbox.world.group_items(11960))


async def test_entries_without_a_date_do_not_break_slices(size: int) -> None:
    async with Sandbox(pages(size, items=3, cap=1, cursors=False, odd_entries=True)) as sandbox:
        async with calls(sandbox) as figshare:
            listing, found, cursor = await only(Institution(id=319)), set[int](), None
            while True:
                page = await listing.page(figshare, cursor)
                found |= {ref.id for ref in page.refs}
                if (cursor := page.cursor) is None:
                    break
        assert found == set(sandbox.world.public_ids)


async def test_published_before_ends_a_listing_that_is_ordered_by_it() -> None:
    async with Sandbox(Settings(items=400, page_cap=50)) as sandbox:
        wanted = Institution(id=319, published_before=date(2015, 1, 2))
        found = await read(sandbox, await only(wanted))
        world = sandbox.world
        early = [item_id for item_id in world.public_ids if world.published(item_id) < "2015-01-02"]
        assert found.ids == early
        assert len(sandbox.requests_to("api")) == len(early) // 50 + 3, (
            "one page more, to see that it is over, and one for what tells no date"
        )


async def test_a_cursor_stays_small(size: int) -> None:
    async with Sandbox(pages(size, items=5, cap=1, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert max(map(len, found.positions)) < 200
        assert all(msgspec.json.decode(cursor) for cursor in found.positions)
        assert not re.search("false|null", "".join(found.positions))
