"""What a listing entry does not say is no reason to leave it out: its record decides."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from harvester.errors import Rejected
from harvester.figshare.api import FigshareApi
from harvester.figshare.client_side_filters import Condition, is_wanted_by
from harvester.ledger.database.connection import migrate
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.sandbox import Sandbox, Settings
from harvester.sources import Source
from harvester.sources.account import Account
from harvester.sources.group import Group
from harvester.sources.institution import Institution
from harvester.sources.search import Search
from tests.support.calls import only, read
from tests.support.each import for_each
from tests.support.http import client, served
from tests.support.program import at, environment, harvested, harvester

pytestmark = pytest.mark.anyio

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
UNSAID = {
    "group_id": 0.9,
    "defined_type": 0.5,
    "published_date": 0.5,
    "modified_date": 0.5,
}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def ids(folder: Path) -> set[int]:
    return {int(row["id"]) for row in rows(folder, "items.csv")}


async def test_a_group_tree_whose_entries_mostly_lack_the_group_is_harvested_completely() -> None:
    async with Sandbox(Settings(items=300, unsaid={"group_id": 0.95})) as sandbox:
        found = await read(sandbox, await only(Group(id=11962, subgroups=True)))
        expected = {i for group in (11962, 11963, 11964) for i in sandbox.world.group_items(group)}
        assert set(found.ids) == expected
        assert found.excluded == 0
        assert any(Condition.read(ref.condition).group for ref in found.refs if ref.condition)


@pytest.mark.parametrize(
    ("options", "matches"),
    [
        (("--published-since", "DAY"), lambda item, day: item.published >= day),
        (("--published-before", "DAY"), lambda item, day: item.published < day),
        (("--modified-since", "DAY"), lambda item, day: item.modified >= day),
        (("--type", "thesis"), lambda item, _: item.type[1] == "thesis"),
        (
            ("--type", "dataset", "--published-since", "DAY", "--licence", "CC0"),
            lambda item, day: (
                item.type[1] == "dataset" and item.published >= day and item.licence in {"CC0", ""}
            ),
        ),
    ],
    ids=["since", "before", "modified", "type", "several"],
)
async def test_records_decide_filters_that_entries_lack(
    options: tuple[str, ...], matches: Any, tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=600, heavy=0, unsaid=UNSAID)) as sandbox:
        world = sandbox.world
        listed = list(world.project_items(113_001))
        every = listed[::4]  # over several days
        for item_id in set(listed).difference(every):
            world.withdraw(item_id)
        day = world.published(every[len(every) // 2])[:10]
        filters = [day if word == "DAY" else word for word in options]
        words = ("run", "--project", "113001", *filters, "--tasks", "metadata", "-o", tmp_path)
        ended = await harvested(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        wanted = {i for i in every if matches(world.item(i), day)}
        assert ids(tmp_path) == wanted
        assert 0 < len(wanted) < len(every)
        is_all_unsaid = "--licence" not in options  # else a search, which filters itself
        assert ("excluded by your filters after reading their records" in ended.out) == is_all_unsaid
        again = await harvested(*words, *at(sandbox))
        assert again.status == 0, again.err
        assert ids(tmp_path) == wanted


async def test_excluded_items_without_a_listed_date_are_checked_again(tmp_path: Path) -> None:
    unsaid = {"defined_type": 1, "defined_type_name": 1, "modified_date": 1}
    async with Sandbox(Settings(items=60, heavy=0, unsaid=unsaid)) as sandbox:
        world = sandbox.world
        every = list(world.collection_items(4_000_001))
        words = ("run", "--collection", "4000001", "--type", "thesis", "--tasks", "metadata", "-o", tmp_path)
        for _ in range(2):
            begin = len(sandbox.requests)
            assert (await harvested(*words, *at(sandbox))).status == 0
            asked = [int(seen.path[13:]) for seen in sandbox.requests[begin:] if "/articles/" in seen.path]
            assert sorted(asked) == sorted(every), "each once a run"
            assert ids(tmp_path) == {i for i in every if world.item(i).type[1] == "thesis"}


async def test_a_draft_is_not_published_since(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        words = ("run", "--account", "--published-since", "2015-01-01", "--tasks", "metadata", "-o", tmp_path)
        ended = await harvested(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert ids(tmp_path) == {
            i for i in sandbox.world.account_items() if not sandbox.world.item(i).is_private
        }


async def test_an_item_listed_without_a_condition_is_always_wanted(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, unsaid={"published_date": 1})) as sandbox:
        collected = set(sandbox.world.collection_items(4_000_001))
        words = ("run", "--collection", "4000001", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words, "--published-since", "2030-01-01")).status == 0
        assert ids(tmp_path) == set()
        assert (await harvested(*words)).status == 0
        assert ids(tmp_path) == collected


# -- what only institutions know ------------------------------------------------------------------


@pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])
async def test_a_licence_that_only_an_institution_has_is_harvested(token: bool, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0, own_terms=True)) as sandbox:
        words = ("run", "--search", ":title: data", "--licence", "in copyright", "--tasks", "metadata")
        env = environment() if token else environment(FIGSHARE_TOKEN="")
        ended = await harvester(*words, "-o", tmp_path, *at(sandbox), env=env)
        assert ended.status == 0, ended.err
        world = sandbox.world
        found = world.search(":title: data")
        assert ids(tmp_path) == {i for i in found if world.item(i).licence == "In Copyright"} != set()
        assert ('--licence: unknown "in copyright"' in ended.err) == (not token)
        asked = [seen.path for seen in sandbox.requests_to("api")]
        assert ("/v2/account/licenses" in asked) == token


@pytest.mark.parametrize("wanted", ["41", "Data Paper", "data papr"])
async def test_a_type_that_only_institutions_have_is_passed_on(wanted: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0, own_terms=True)) as sandbox:
        words = ("run", "--search", ":title: data", "--type", wanted, "--tasks", "metadata")
        ended = await harvester(*words, "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        world = sandbox.world
        found = {i for i in world.search(":title: data") if world.item(i).type[0] == 41}
        pages = [seen.fields.get("item_type") for seen in sandbox.requests_to("api") if "search" in seen.path]
        if wanted == "data papr":
            assert ids(tmp_path) == set()
            assert (
                '--type (in a config: item_type): unknown "data papr" (did you mean "data paper"?)'
                in ended.err
            )
            assert set(pages) == {None}
        else:
            assert ids(tmp_path) == found != set()
            assert set(pages) == {41}
            assert ("--type (in a config: item_type): unknown number 41" in ended.err) == (wanted == "41")
        types = sum(seen.path == "/v2/item_types" for seen in sandbox.requests_to("api"))
        assert types == (0 if wanted == "41" else 1)


async def test_a_type_without_a_number_is_compared_by_its_name(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0, ignores=("item_type",))) as sandbox:
        world = sandbox.world
        words = ("run", "--collection", "4000001", "--type", "survey data", "--tasks", "metadata")
        ended = await harvested(*words, "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        assert ids(tmp_path) == set()
        assert world.collection_items(4_000_001)


async def test_records_correct_a_search_that_ignores_a_known_licence(
    tmp_path: Path,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        path = request.path
        if path == "/licenses":
            return web.json_response([{"value": 1, "name": "CC BY 4.0"}, {"value": 2, "name": "CC0"}])
        if path == "/articles/search":
            is_first = (await request.json())["page"] == 1
            return web.json_response([{"id": n, "title": "t"} for n in range(1, 7)] if is_first else [])
        number = int(path.rsplit("/", 1)[1])
        licence = {"value": 2, "name": "CC0"} if number % 2 else {"value": 1, "name": "CC BY 4.0"}
        return web.json_response({"id": number, "title": "t", "files": [], "license": licence})

    async with served(answer) as address:
        words = ("run", "--search", "x", "--licence", "cc0", "--tasks", "metadata", "-o", tmp_path)
        ended = await harvested(*words, "--api", address, "--stats", address / "stats", "--rate", "inf")
    assert ended.status == 0, ended.err
    assert ids(tmp_path) == {1, 3, 5}


async def test_a_type_without_a_number_is_sent_in_a_search_only() -> None:
    async with Sandbox(Settings(items=120, heavy=0)) as sandbox:
        found = await read(sandbox, await only(Search(query=":title: data", item_type="survey data")))
        asked = [seen.fields for seen in sandbox.requests_to("api") if seen.path.endswith("/search")]
        assert {fields["search_for"] for fields in asked} == {'(:title: data) AND :item_type: "survey data"'}
        assert found.ids == []
        plain = await read(sandbox, await only(Institution(private=True, item_type="survey data")))
        assert plain.excluded > 0
        assert plain.warnings == []


# -- entries without a date, where a listing is cut by it --------------------------------------------


def nulls_last(dated: int, undated: int, field: str) -> Answer:
    """Listings whose undated entries come last, first in descending order, and never behind a date."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = {**request.query, **(await request.json() if request.can_read_body else {})}
        days = [f"{2000 + n // 28}-01-{n % 28 + 1:02d}T00:00:00Z" for n in range(dated)]
        entries = [{"id": n, "title": "t", field: day} for n, day in enumerate(days, 1)]
        entries += [{"id": dated + n, "title": "t", field: None} for n in range(1, undated + 1)]
        if since := asked.get(field.replace("_date", "_since")):
            entries = [each for each in entries if each[field] and str(each[field]) >= since]
        if asked.get("order_direction") == "desc":
            entries.reverse()
        begin, size = (int(asked["page"]) - 1) * 50, min(int(asked["page_size"]), 50)
        return web.json_response(entries[begin : begin + size])

    return answer


async def listed(answer: Answer, source: Source) -> tuple[set[int], int]:
    """The items of a listing read to its end, and how many pages it took."""
    listing, cursor, found, pages = await only(source), None, set[int](), 0
    async with served(answer) as api, client(api, token="t") as polite:
        while True:
            page = await listing.page(FigshareApi(polite, api=api, stats=api), cursor)
            found |= {ref.id for ref in page.refs}
            pages += 1
            if (cursor := page.cursor) is None:
                return found, pages


@pytest.mark.parametrize("source", [Institution(private=True), Account(query="x")])
async def test_undated_entries_are_listed_after_slices(source: Source) -> None:
    found, _ = await listed(nulls_last(180, 20, "modified_date"), source)
    assert found == set(range(1, 201))


async def test_undated_entries_are_listed_after_the_last_wanted_day() -> None:
    source = Search(query="x", published_before=date(2001, 1, 1))
    found, pages = await listed(nulls_last(180, 20, "published_date"), source)
    assert found == {*range(1, 29), *range(181, 201)}
    assert pages == 3, "two by date, to see that it is over, and the last of all"


@pytest.mark.parametrize("source", [Institution(private=True), Account(query="x")])
async def test_more_undated_entries_than_a_page_are_reported_as_incomplete(source: Source) -> None:
    with pytest.raises(
        Rejected, match="50 items or more have no modified_date, by which it is cut; incomplete"
    ):
        await listed(nulls_last(180, 60, "modified_date"), source)


# -- a record against a condition -----------------------------------------------------------------


@for_each(
    ("wanted", "record", "private", "is_wanted"),
    [
        ({"group": 7}, {"group_id": 7}, False, True),
        ({"group": 7}, {"group_id": "7"}, False, True),
        ({"group": 7}, {"group_id": 8}, False, False),
        ({"group": 7}, {"group_id": 0}, False, True),
        ({"group": 7}, {"group_id": None}, False, True),
        ({"group": 7}, {}, False, True),
        ({"item_type": 3}, {"defined_type": 9}, False, False),
        ({"type_name": "Data Paper"}, {"defined_type_name": "data paper"}, False, True),
        ({"type_name": "data paper"}, {"defined_type_name": "figure"}, False, False),
        ({"licence": "cc0"}, {"license": {"name": "CC0"}}, False, True),
        ({"licence": "cc0"}, {"license": {"name": "MIT"}}, False, False),
        ({"licence": "cc0"}, {"license": None}, False, True),
        ({"published_since": "2020-01-01"}, {"published_date": "2019-12-31T23:59:59Z"}, False, False),
        ({"published_since": "2020-01-01"}, {"published_date": None}, False, True),
        ({"published_since": "2020-01-01"}, {"published_date": None}, True, False),
        ({"published_since": "2020-01-01"}, {"status": "draft"}, False, False),
        ({"published_before": "2020-01-01"}, {"published_date": "2020-01-01T00:00:00Z"}, False, False),
        ({"modified_since": "2020-01-01"}, {"modified_date": "2019-01-01T00:00:00Z"}, False, False),
        ({"modified_since": "2020-01-01"}, {}, True, True),
    ],
)
def test_only_a_present_and_different_value_excludes(
    wanted: dict[str, Any], record: dict[str, Any], private: bool, is_wanted: bool
) -> None:
    raw, condition = msgspec.json.encode({"id": 1, **record}), Condition(**wanted).write()
    assert is_wanted_by(raw, (condition,), private=private) is is_wanted
    assert is_wanted_by(raw, (), private=private)


def test_licences_of_an_older_ledger_become_conditions(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "harvest.db", isolation_level=None)) as db:
        for script in MIGRATIONS[: [("CREATE TABLE conditions" in each) for each in MIGRATIONS].index(True)]:
            db.executescript(script)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute(f"PRAGMA user_version = {version + 1}")
        db.execute("INSERT INTO licences VALUES (7, 'In Copyright – é')")
        migrate(db)
        (row,) = db.execute("SELECT item_key, condition FROM conditions").fetchall()
    assert row == (7, Condition(licence="In Copyright – é").write())


def test_one_of_several_conditions_is_enough() -> None:
    raw = msgspec.json.encode({"id": 1, "group_id": 7})
    assert is_wanted_by(raw, ('{"group":8}', '{"group":7}'), private=False)


def test_days_are_no_conditions_if_entries_have_them() -> None:
    assert Condition(published_since=str(date(2020, 1, 1))).only(frozenset({"licence"})).write() == ""
