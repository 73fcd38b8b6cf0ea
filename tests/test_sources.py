"""What can be harvested: each source with each of its filters gives what the sandbox knows to be there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from harvester.engine.listing import unknown_values
from harvester.errors import InvalidResponse, NotFound, NotModified, Rejected, Unreachable
from harvester.figshare.api import FigshareApi
from harvester.figshare.downloads import DownloadRoutes
from harvester.figshare.filters import ORDERS
from harvester.figshare.identifier_listing import IdentifierListing
from harvester.figshare.listing_names import listing_name
from harvester.figshare.v2 import V2
from harvester.models import ItemId, ItemKey, ItemRef, ListingEntry, PendingFile, RemoteFile
from harvester.plugins import SOURCES
from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.item import Item
from harvester.sources import Source
from harvester.sources.account import Account
from harvester.sources.collection import Collection
from harvester.sources.group import Group
from harvester.sources.institution import Institution
from harvester.sources.project import Project
from harvester.sources.search import Search
from harvester.storage.local.store import Store
from tests.support.calls import calls, only, read
from tests.support.http import client, served
from tests.support.program import at, harvester
from tests.support.stores import download

pytestmark = pytest.mark.anyio

WORLD = Settings(items=1250, private_items=40)
PLAIN = WORLD.plain_token
QUERY = ":category: oceanography OR :category: humanities"
COLLEAGUE = 1_000_002

SOURCES_HERE: dict[str, tuple[Callable[..., Source], Callable[[Sandbox], set[int]]]] = {
    "search": (
        lambda **more: Search(query=QUERY, **more),
        lambda sandbox: set(sandbox.world.search(QUERY)),
    ),
    "group": (lambda **more: Group(id=11962, **more), lambda sandbox: set(sandbox.world.group_items(11962))),
    "tree": (
        lambda **more: Group(id=11962, subgroups=True, **more),
        lambda sandbox: {
            item_id for group in (11962, 11963, 11964) for item_id in sandbox.world.group_items(group)
        },
    ),
    "institution": (
        lambda **more: Institution(id=319, **more),
        lambda sandbox: set(sandbox.world.public_ids),
    ),
    "own institution": (
        lambda **more: Institution(private=True, **more),
        lambda sandbox: set(sandbox.world.institution_items()),
    ),
    "collection": (
        lambda **more: Collection(id=4000001, **more),
        lambda sandbox: set(sandbox.world.collection_items(4000001)),
    ),
    "project": (
        lambda **more: Project(id=113001, **more),
        lambda sandbox: set(sandbox.world.project_items(113001)),
    ),
    "account": (Account, lambda sandbox: set(sandbox.world.account_ids)),
    "account query": (
        lambda **more: Account(query="survey", **more),
        lambda sandbox: set(sandbox.world.account_items({"search_for": "survey"})),
    ),
}
TAKES_NO_FILTER = {"collection", "project", "account"}
TAKES_NO_LICENCE = {"collection", "own institution"}

FILTERS: dict[str, tuple[dict[str, Any], Callable[[Item], bool]]] = {
    "all": ({}, lambda _: True),
    "type": ({"item_type": "Figure"}, lambda item: item.type[0] == 1),
    "published since": (
        {"published_since": date(2015, 1, 3)},
        lambda item: not item.is_private and item.published >= "2015-01-03",
    ),
    "published before": (
        {"published_before": date(2015, 1, 3)},
        lambda item: not item.is_private and item.published < "2015-01-03",
    ),
    "modified since": (
        {"modified_since": date(2015, 1, 4)},
        lambda item: item.modified >= "2015-01-04",
    ),
    "licence": ({"licence": "cc0"}, lambda item: item.number % 3 == 1 and item.trait != "nulls"),
    "all of them": (
        {
            "item_type": 3,
            "published_since": date(2015, 1, 2),
            "published_before": date(2015, 1, 8),
            "modified_since": date(2015, 1, 4),
        },
        lambda item: (
            item.type[0] == 3
            and not item.is_private
            and "2015-01-02" <= item.published < "2015-01-08"
            and item.modified >= "2015-01-04"
        ),
    ),
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", name="sandbox")
async def _sandbox() -> Any:
    async with Sandbox(WORLD) as running:
        yield running


def licensed(sandbox: Sandbox, item_id: int) -> str:
    return str(sandbox.world.record(item_id)["license"]["name"])


@pytest.mark.parametrize("source", SOURCES_HERE)
async def test_a_source_lists_all_matching_items(source: str, sandbox: Sandbox) -> None:
    for filters in FILTERS:
        try:
            await assert_lists_all_matching_items(source, filters, sandbox)
        except BaseException as error:
            error.add_note(f"filters: {filters}")
            raise


async def assert_lists_all_matching_items(source: str, filters: str, sandbox: Sandbox) -> None:
    make, truth = SOURCES_HERE[source]
    fields, matches = FILTERS[filters]
    is_left_to_records = filters == "licence" and source in TAKES_NO_LICENCE
    if is_left_to_records:  # unknown before the records are here
        matches = FILTERS["all"][1]
    listing = await only(make(**fields))
    found = await read(sandbox, listing)
    world = sandbox.world
    expected = {item_id for item_id in truth(sandbox) if matches(world.item(item_id))}
    undated = {ref.id for ref in found.refs if "published" in ref.condition}
    assert set(found.ids) - undated == expected
    assert all(world.item(item_id).is_private for item_id in undated), "their records decide"
    slices = 1 + (len(found.positions) if source == "own institution" else 0)
    assert found.again < slices, "only what lies at the edge of two slices comes twice"
    assert found.warnings == []
    assert {ref.private for ref in found.refs} <= {source in {"account", "account query", "own institution"}}
    unasked = {"published_before"} | (
        {"item_type", "published_since", "modified_since"} if source in TAKES_NO_FILTER else set()
    )
    unasked |= {"licence"} if is_left_to_records else set()
    assert set(listing.client_side_filters) == unasked & fields.keys()
    assert {ref.condition for ref in found.refs if "licence" in ref.condition} == (
        {ref.condition for ref in found.refs} if "licence" in fields else set()
    )


async def test_licences_are_recognised_in_any_case_and_sent_in_figshares_spelling(sandbox: Sandbox) -> None:
    sandbox.requests.clear()
    found = await read(sandbox, await only(Search(query="survey OR seas", licence="cc by 4.0")))
    assert {licensed(sandbox, item_id) for item_id in found.ids} == {"CC BY 4.0"}
    asked, *pages = sandbox.requests_to("api")
    assert asked.path == "/v2/licenses"
    assert {page.path for page in pages} == {"/v2/articles/search"}, "requested once"
    assert {page.fields["search_for"] for page in pages} == {'(survey OR seas) AND :licence: "CC BY 4.0"'}


async def test_all_unknown_names_are_reported_before_the_first_page(sandbox: Sandbox) -> None:
    sources = (
        Search(query="survey"),
        Group(id=11962, subgroups=True, licence="CC BY"),
        Institution(id=319, licence="GPL"),
        Account(licence="CC BY"),
        Search(query="x", licence="mit"),
    )
    listings = [await only(source) for source in sources]
    sandbox.requests.clear()
    unknown = [
        f"--licence: unknown {name}: taken as it is, and compared with the records"
        for name in ('"CC BY" (did you mean "CC BY 4.0"?)', '"GPL"')
    ]
    async with calls(sandbox) as figshare:
        assert await unknown_values(listings, figshare) == unknown
        assert await unknown_values((listings[0], IdentifierListing(("1",))), figshare) == []
    assert [seen.path for seen in sandbox.requests_to("api")] == ["/v2/licenses", "/v2/account/licenses"]


async def test_without_a_list_of_licences_the_name_is_used_as_given() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("licenses"):
            return web.json_response({"message": "none", "code": "x"}, status=404)
        return web.json_response([])

    async with served(answer) as api, client(api) as polite:
        figshare = FigshareApi(polite, api=api, stats=api)
        listing = await only(Search(query="x", licence="CC0"))
        assert len(await unknown_values([listing], figshare)) == 1
        cursor = (await listing.page(figshare, None)).cursor
        assert (await listing.page(figshare, cursor)).cursor is None


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Collection(id=1, order="views"), "lists a collection in an order of its own"),
        (lambda: Project(id=1, order="views"), "lists a project in an order of its own"),
        (lambda: Account(order="published_date"), "lists an account in an order of its own"),
        (lambda: Institution(private=True, order="views"), "by published_date, modified_date only"),
        (Institution, "id: missing; without it only the token's own institution"),
        (lambda: Institution(private=True, id=319), "id: not taken with private = true"),
        (lambda: Account(query=""), "query: empty"),
        (lambda: Account(query=()), "query: empty"),
        (lambda: Search(query="x", order="title"), 'order: unknown "title"'),
    ],
)
def test_unsupported_orders_are_reported_before_a_run(make: Callable[[], Source], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make()


@pytest.mark.parametrize("order", [*ORDERS, *(f"{order} desc" for order in ORDERS)])
async def test_a_listing_has_the_wanted_order(order: str, sandbox: Sandbox) -> None:
    name, _, direction = order.partition(" ")
    expected = list(sandbox.world.select({"group": 11962, "order": name}))
    found = await read(sandbox, await only(Group(id=11962, order=order)))
    assert found.ids == (expected[::-1] if direction else expected)


@pytest.mark.parametrize(
    ("source", "key", "name"),
    [
        (Search(query="x"), "search x {}", "search x"),
        (Search(query="x", item_type="dataset"), "search x {'item_type': 3}", "search x (type dataset)"),
        (
            Search(query="x", published_since=date(2020, 1, 2), modified_since=date(2021, 1, 2)),
            "search x {'published_since': '2020-01-02', 'modified_since': '2021-01-02'}",
            "search x (published since 2020-01-02, modified since 2021-01-02)",
        ),
        (Search(query="{a} {b}"), "search {a} {b} {}", "search {a} {b}"),
        (Group(id=5), "group 5 {}", "group 5"),
        (
            Group(id=5, subgroups=True, item_type=9),
            "group 5 and below {'item_type': 9}",
            "group 5 and below (type software)",
        ),
        (Account(), "account {}", "account"),
        (Account(query="x"), "account search x {}", "account search x"),
        (Account(item_type="data paper"), "account {'item_type': 'data paper'}", "account (type data paper)"),
        (Collection(id=5), "collection 5 {}", "collection 5"),
        (
            Project(id=5, published_before=date(2020, 1, 2)),
            "project 5 {'published_before': '2020-01-02'}",
            "project 5 (published before 2020-01-02)",
        ),
        (
            Institution(id=5, licence="a {b}"),
            "institution 5 {'licence': 'a {b}'}",
            "institution 5 (licence a {b})",
        ),
        (
            Institution(private=True, order="modified_date"),
            "institution private {'order': 'modified_date'}",
            "institution private (by modified_date)",
        ),
        (
            Institution(id=5, order="views desc"),
            "institution 5 {'order': 'views desc'}",
            "institution 5 (by views, highest first)",
        ),
    ],
)
async def test_listing_keys_stay_as_in_existing_ledgers_and_are_shown_as_words(
    source: Any, key: str, name: str
) -> None:
    listing = await only(source)
    assert (listing.key, listing.display_name) == (key, name)
    if changed := listing.since("2024-01-31T00:00:00Z"):
        assert changed.key == f"{key} since 2024-01-31T00:00:00Z"
        assert "changed since 2024-01-31T00:00:00Z)" in changed.display_name


def test_a_list_of_names_is_shown_by_its_length() -> None:
    for number, shown in ((1, "the list of 1 name"), (12, "the list of 12 names")):
        names = tuple(map(str, range(number)))
        for once_more in (False, True):
            assert IdentifierListing(names, once_more).display_name == shown
    assert listing_name("10.1/x {y}") == "10.1/x {y}"


def test_every_kind_of_source_is_known_by_its_name() -> None:
    assert set(SOURCES) == {"account", "search", "group", "institution", "collection", "project", "items"}


# -- quick ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES_HERE)
async def test_a_quick_listing_has_only_modified_items(source: str) -> None:
    async with Sandbox(WORLD) as sandbox:
        make, truth = SOURCES_HERE[source]
        whole = await only(make())
        expected = sorted(truth(sandbox))[3:5]
        for item_id in expected:
            sandbox.world.correct(item_id)
        moment = min(map(sandbox.world.modified, expected))
        quick = whole.since(moment)
        if source in {"collection", "account"}:
            assert quick is None
            return
        assert quick is not None
        assert quick.key == f"{whole.key} since {moment}"
        found = await read(sandbox, quick)
        assert sorted(found.ids) == expected
        assert len(sandbox.requests_to("api")) <= 10, "one page a group, two that are empty, and the tree"


async def test_a_quick_listing_keeps_to_the_users_own_date(sandbox: Sandbox) -> None:
    late = await only(Group(id=11962, modified_since=date(2015, 1, 7)))
    assert (quick := late.since("2015-01-02T00:00:00Z")) is not None
    assert set((await read(sandbox, quick)).ids) == set((await read(sandbox, late)).ids)
    later = late.since("2015-01-08T06:00:00Z")
    assert later is not None
    assert set((await read(sandbox, later)).ids) == {
        item_id
        for item_id in sandbox.world.group_items(11962)
        if sandbox.world.modified(item_id) >= "2015-01-08T06:00:00Z"
    }


async def test_a_quick_listing_of_a_group_is_not_counted() -> None:
    async with Sandbox(Settings(items=50)) as sandbox, calls(sandbox) as figshare:
        (listing,) = await Group(id=11962).listings(V2.endpoints)
        assert await listing.count(figshare) == 10
        changes = listing.since("2015-01-01T00:00:00Z")
        assert changes is not None
        assert await changes.count(figshare) is None
        (early,) = await Group(id=11962, published_before=date(2030, 1, 1)).listings(V2.endpoints)
        assert await early.count(figshare) is None
        (ordered,) = await Group(id=11962, order="views").listings(V2.endpoints)
        assert await ordered.count(figshare) == 10


def test_names_have_no_quick_listing() -> None:
    assert IdentifierListing(("1",)).since("2020-01-01T00:00:00Z") is None


# -- entries --------------------------------------------------------------------------------------


async def test_a_listing_has_the_displayed_fields(sandbox: Sandbox) -> None:
    async with calls(sandbox) as figshare:
        page = await (await only(Group(id=11962))).page(figshare, None)
    ref, entry = page.refs[0], sandbox.world.entry(page.refs[0].id)
    brief = ListingEntry(
        entry["title"],
        entry["doi"],
        entry["defined_type_name"],
        entry["created_date"],
        entry["published_date"],
    )
    assert ref == ItemRef(entry["id"], modified_date=entry["modified_date"], brief=brief)
    async with calls(sandbox) as figshare:
        page = await (await only(Account())).page(figshare, None)
    (draft,) = [ref for ref in page.refs if ref.id == min(sandbox.world.private_ids)]
    assert draft.private
    assert draft.brief is not None
    assert (draft.brief.doi, draft.brief.published_date) == ("", "")


# -- rights ---------------------------------------------------------------------------------------


async def test_a_missing_right_is_reported_clearly(sandbox: Sandbox) -> None:
    for source, may_not in (
        (Group(id=11962, subgroups=True), "see the institution's groups"),
        (Institution(private=True), "list the items of the token's institution"),
    ):
        message = rf"\(403\): .*: the token may not {may_not}: an administrator's token is needed"
        with pytest.raises(Rejected, match=message):
            await read(sandbox, await only(source), token=PLAIN)
    with pytest.raises(Rejected, match=f"the token may not act for account {COLLEAGUE}: an administrator's"):
        await read(sandbox, await only(Account()), token=PLAIN, impersonate=COLLEAGUE)


async def test_a_plain_token_lists_its_own_account(sandbox: Sandbox) -> None:
    found = await read(sandbox, await only(Account()), token=PLAIN)
    assert set(found.ids) == set(sandbox.world.account_ids)


@pytest.mark.parametrize(
    ("source", "path"),
    [(Collection(id=5), "collections/5"), (Project(id=5), "projects/5")],
)
async def test_an_unknown_collection_or_project_is_not_found(
    source: Any, path: str, sandbox: Sandbox
) -> None:
    with pytest.raises(NotFound, match=rf"{path}/articles: not found \(404\)"):
        await read(sandbox, await only(source))


# -- for another account --------------------------------------------------------------------------


async def test_an_administrator_harvests_for_another_account(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        world = sandbox.world
        for source in (Account(), Account(query="survey")):
            found = await read(sandbox, await only(source), impersonate=COLLEAGUE)
            assert sorted(found.ids) == list(world.colleague_ids)
        async with calls(sandbox, impersonate=COLLEAGUE) as figshare:
            record = await figshare.record(ItemId(found.ids[0]), private=True)
            assert record.article.id == found.ids[0]
            with pytest.raises(NotModified):
                await figshare.record(ItemId(found.ids[0]), private=True, if_none_match=record.etag)
            await figshare.record(ItemId(world.public_ids[3]), private=False)
        result = next(file for file in record.article.files if file.size)
        await _download(sandbox, tmp_path, result, found.ids[0], private=True)
        public = world.files(world.public_ids[3])[0]
        file = RemoteFile(public["id"], "x", "", public["size"], None, public["download_url"], is_link=False)
        await _download(sandbox, tmp_path, file, world.public_ids[3], private=False)
        for seen in sandbox.requests:
            is_authorised = "Authorization" in seen.headers
            assert (seen.fields.get("impersonate") in {COLLEAGUE, str(COLLEAGUE)}) is is_authorised
            assert is_authorised <= (seen.service == "api")
        assert {seen.service for seen in sandbox.requests} == {"api", "files", "storage"}


async def _download(sandbox: Sandbox, folder: Path, file: RemoteFile, item_id: int, *, private: bool) -> None:
    api, files = URL(sandbox.api), URL(sandbox.files)
    async with client(api, files=files, token=WORLD.token) as polite:
        store = Store(folder)
        routes = DownloadRoutes(polite, api=api, impersonate=COLLEAGUE)
        pending = PendingFile(1, ItemId(item_id), file, f"files/{file.id}", private, ItemKey(item_id))
        await download(routes, store, pending)
    assert (folder / "files" / str(file.id)).read_bytes() == sandbox.world.content(file.id)


# -- names ----------------------------------------------------------------------------------------


async def test_names_are_resolved_to_items_and_their_versions(sandbox: Sandbox) -> None:
    world = sandbox.world
    thrice = world.with_trait("three versions")[0]
    institutional = next(i for i in world.public_ids if world.doi(i).startswith("10.25380"))
    handled = next(i for i in world.public_ids if world.handle(i))
    handle = world.handle(handled)
    names = {
        f"{thrice}.v2": (thrice, 2),
        str(thrice): (thrice, 0),
        f"10.6084/m9.figshare.{thrice}.v1": (thrice, 1),
        world.doi(institutional): (institutional, 1),
        world.doi(institutional).rpartition(".v")[0]: (institutional, 0),
        f"https://doi.org/{world.doi(institutional)}": (institutional, 1),
        f"https://iastate.figshare.com/articles/dataset/Title/{thrice}/2": (thrice, 2),
        handle: (handled, 0),
        f"hdl:{handle}": (handled, 0),
        f"https://hdl.handle.net/{handle}": (handled, 0),
    }
    async with calls(sandbox) as figshare:
        page = await IdentifierListing(tuple(names)).page(figshare, None)
    assert page.unresolved == ()
    assert [(ref.id, ref.version) for ref in page.refs] == list(names.values())


async def test_unresolved_names_have_a_reason(sandbox: Sandbox) -> None:
    names = {
        "2134/1": "no public item has this handle",
        "10.25380/iastate.1": "no public item has this DOI",
        "https://figshare.com/s/0a1b2c": "a private link",
        "https://figshare.com/collections/x/4000001": "a collection: use --collection 4000001",
        "nonsense": "neither an item's id, nor a DOI or handle, nor the address of an item",
    }
    async with calls(sandbox) as figshare:
        page = await IdentifierListing(tuple(names)).page(figshare, None)
    assert page.refs == ()
    for unresolved, (name, reason) in zip(page.unresolved, names.items(), strict=True):
        assert unresolved.name == name
        assert reason in unresolved.reason


async def test_an_ignored_handle_filter_gives_no_other_item() -> None:
    async with Sandbox(Settings(items=30, ignores=("handle",))) as sandbox, calls(sandbox) as figshare:
        assert await figshare.finder.by_handle("2134/1") == ()


# -- records --------------------------------------------------------------------------------------


async def test_each_version_has_its_own_record_and_files() -> None:
    async with Sandbox(WORLD) as sandbox, calls(sandbox) as figshare:
        world = sandbox.world
        item_id = world.with_trait("three versions")[0]
        assert await figshare.versions(ItemId(item_id)) == (1, 2, 3)
        for version in (0, 1, 2, 3):
            record = await figshare.record(ItemId(item_id), private=False, version=version)
            assert record.article.version == (version or 3)
            found = [file["id"] for file in world.files(item_id, version)]
            assert [file.id for file in record.article.files] == found
        with pytest.raises(NotFound):
            await figshare.record(ItemId(item_id), private=False, version=4)
        assert await figshare.versions(ItemId(7)) is None
        long = world.with_trait("many files")[0]
        world.edit(long)
        older = await figshare.record(ItemId(long), private=False, version=1)
        assert [file.id for file in older.article.files] == [file["id"] for file in world.files(long, 1)]
        paths = {seen.path for seen in sandbox.requests_to("api")}
        assert f"/v2/articles/{long}/versions/1/files" in paths


async def test_a_record_is_requested_with_its_etag() -> None:
    async with Sandbox(WORLD) as sandbox, calls(sandbox) as figshare:
        public, own = sandbox.world.public_ids[4], sandbox.world.account_ids[0]
        for item_id, private in ((public, False), (own, True)):
            record = await figshare.record(ItemId(item_id), private=private)
            assert record.etag
            with pytest.raises(NotModified):
                await figshare.record(ItemId(item_id), private=private, if_none_match=record.etag)
            sandbox.world.correct(item_id)
            changed = await figshare.record(ItemId(item_id), private=private, if_none_match=record.etag)
            assert changed.etag not in {"", record.etag}
            assert await figshare.record(ItemId(item_id), private=private) == changed
        assert [seen.status for seen in sandbox.requests_to("api")] == [200, 304, 200, 200] * 2
        sandbox.world.withdraw(public)
        with pytest.raises(NotFound):
            await figshare.record(ItemId(public), private=False, if_none_match=record.etag)


@pytest.mark.parametrize(
    ("etag", "kept"),
    [('"a-1"', '"a-1"'), ('W/"a-1"', 'W/"a-1"'), ("", ""), ("x" * 201, ""), ('"\xe9"', ""), ('"a\tb"', "")],
)
async def test_an_etag_is_kept_where_it_can_be_sent_back(etag: str, kept: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match"):
            return web.Response(status=304)
        return web.json_response({"id": 5, "files": []}, headers={"ETag": etag} if etag else {})

    async with served(answer) as api, client(api) as polite:
        figshare = FigshareApi(polite, api=api, stats=api)
        record = await figshare.record(ItemId(5), private=False)
        assert record.etag == kept
        if not kept:
            assert await figshare.record(ItemId(5), private=False, if_none_match=kept) == record
            return
        with pytest.raises(NotModified):
            await figshare.record(ItemId(5), private=False, if_none_match=kept)


@pytest.mark.parametrize("status", [304, 200])
@pytest.mark.parametrize("etag", ["", '"a-1"'])
async def test_a_304_is_accepted_only_for_a_conditional_request(status: int, etag: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with served(answer) as api, client(api) as polite:
        figshare = FigshareApi(polite, api=api, stats=api)
        if etag and status == 304:
            with pytest.raises(NotModified):
                await figshare.record(ItemId(5), private=False, if_none_match=etag)
        else:
            with pytest.raises(Unreachable, match="empty response instead of JSON|answered 304"):
                await figshare.record(ItemId(5), private=False, if_none_match=etag)


async def test_the_record_of_another_version_is_refused() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"id": 5, "version": 3, "files": []})

    async with served(answer) as api, client(api) as polite:
        figshare = FigshareApi(polite, api=api, stats=api)
        assert (await figshare.record(ItemId(5), private=False, version=3)).article.version == 3
        with pytest.raises(InvalidResponse, match="item 5, version 2: answered with version 3"):
            await figshare.record(ItemId(5), private=False, version=2)


async def test_the_record_of_another_item_is_refused() -> None:
    async with Sandbox(Settings(items=60, hostile=("wrong-id",))) as sandbox, calls(sandbox) as figshare:
        with pytest.raises(InvalidResponse, match="answered with item"):
            await figshare.record(ItemId(sandbox.world.hostile_items["wrong-id"]), private=False)


async def test_an_account_that_the_token_may_not_act_for_is_one_permanent_failure(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        words = ("run", "--account", "--impersonate", "5", "-o", tmp_path, *at(sandbox))
        ended = await harvester(*words)
    assert ended.status == 1
    assert "--impersonate 5: the token may not act for this account, or there is none" in ended.err
    assert "failed permanently:" in ended.out
    assert "retrying" not in ended.err
