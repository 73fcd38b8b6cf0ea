"""A listing, a file list or a list of versions is whole, or a message says that it may not be."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from harvester.figshare.cursor import PageCursor
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from harvester.sources.institution import Institution
from tests.support.calls import only, read
from tests.support.program import at, environment, harvester
from tests.support.sources import SOURCES

pytestmark = pytest.mark.anyio


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def verdicts(folder: Path) -> list[str]:
    with Reader(folder) as reader:
        return [failure.failure_kind for failure in reader.failures()]


# -- listings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cursors", [True, False], ids=["cursors", "numbers"])
@pytest.mark.parametrize("own_offsets", [True, False], ids=["own offsets", "asked offsets"])
@pytest.mark.parametrize(
    ("items", "cap"), [(130, 10), *(pytest.param(430, cap, marks=pytest.mark.nightly) for cap in (10, 100))]
)
async def test_a_service_with_small_pages_is_listed_completely(
    items: int, cap: int, own_offsets: bool, cursors: bool
) -> None:
    settings = Settings(
        items=items, private_items=items // 3, page_cap=cap, own_offsets=own_offsets, cursors=cursors
    )
    async with Sandbox(settings) as sandbox:
        several = 0
        for source, (listing, truth) in SOURCES.items():
            sandbox.requests.clear()
            found = await read(sandbox, await only(listing))
            expected = set(truth(sandbox.world))
            assert set(found.ids) == expected, source
            most = math.ceil(len(expected) / (cap - 1 if "own" in source or "query" in source else cap))
            assert len(sandbox.requests_to("api")) <= most + 4, (
                f"{source}: the pages, what ends and begins them, and the undated"
            )
            several += most > 1
        assert several > 3


async def test_a_short_first_page_takes_two_more_requests() -> None:
    async with Sandbox(Settings(items=40, private_items=7)) as sandbox:
        for source, (listing, truth) in SOURCES.items():
            sandbox.requests.clear()
            found = await read(sandbox, await only(listing))
            assert sorted(found.ids) == sorted(truth(sandbox.world)), source
            assert found.again == 0, source
            first = 1 if truth(sandbox.world) else 0
            assert len(sandbox.requests_to("api")) == first + 2, f"{source}: one empty answer is no end"


async def test_full_pages_take_at_most_two_more_requests() -> None:
    for items, cursors, expected in ((2000, True, 4), (2000, False, 4), (1999, True, 2), (1999, False, 2)):
        async with Sandbox(Settings(items=items, cursors=cursors)) as sandbox:
            found = await read(sandbox, await only(Institution(id=319)))
            assert (len(found.ids), found.again) == (items, 0)
            assert len(sandbox.requests_to("api")) == expected


@pytest.mark.parametrize(
    ("items", "settings", "most"),
    [
        (1200, {}, 14),
        (1200, {"cursors": False}, 14),
        (1200, {"cursors": False, "cap": 500}, 15),
        (1200, {"cursors": False, "own_offsets": True}, 14),
        pytest.param(25_000, {}, 252, marks=pytest.mark.nightly),
        pytest.param(25_000, {"cursors": False}, 255, marks=pytest.mark.nightly),
        pytest.param(25_000, {"cursors": False, "cap": 1000}, 285, marks=pytest.mark.nightly),
        pytest.param(25_000, {"cursors": False, "own_offsets": True}, 255, marks=pytest.mark.nightly),
    ],
    ids=["cursors", "numbers", "numbers to a cap", "own offsets"] * 2,
)
async def test_many_items_where_every_listing_page_holds_100(
    items: int, settings: dict[str, Any], most: int
) -> None:
    async with Sandbox(Settings(items=items, page_cap=100, record=True, **settings)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)
        assert len(sandbox.requests_to("api")) <= most


@pytest.mark.parametrize("cap", [9000, 100])
@pytest.mark.parametrize("cursors", [True, False], ids=["cursors", "numbers"])
async def test_a_service_that_refuses_large_pages_gets_requests_for_smaller_ones(
    cursors: bool, cap: int
) -> None:
    settings = Settings(items=260, private_items=110, largest_page=100, cursors=cursors, cap=cap)
    async with Sandbox(settings) as sandbox:
        for source, (listing, truth) in SOURCES.items():
            if source == "collection" and cap == 100:
                continue  # nothing leads past one there
            sandbox.requests.clear()
            found = await read(sandbox, await only(listing))
            assert set(found.ids) == set(truth(sandbox.world)), source
            sizes = [int(seen.fields["page_size"]) for seen in sandbox.requests_to("api")]
            assert sizes.count(1000) == 1, f"{source}: once it is known, also past a cap"
            assert max(sizes[1:]) == 100, source


async def test_a_listing_that_is_refused_in_any_size_is_reported(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, largest_page=50)) as sandbox:
        ended = await harvester("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert ended.status == 1
        (row,) = rows(tmp_path, "failures.csv")
        assert "page_size: 1 to 50" in row["error"]


@pytest.mark.parametrize("number", [2, 3, 5])
async def test_an_empty_page_with_a_new_cursor_is_followed(number: int) -> None:
    async with Sandbox(Settings(items=430, page_cap=100, empty_page=number)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)


async def test_a_listing_with_small_pages_is_continued_by_another_process() -> None:
    async with Sandbox(Settings(items=430, page_cap=100, cursors=False)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))  # a client of its own for each page
        states = [PageCursor.read(text) for text in found.positions]
        assert [(state.page, state.seen, state.largest) for state in states] == [
            (page, 100 * (page - 1), 100) for page in range(2, 6)
        ]


async def test_a_cursor_of_a_release_that_trusted_short_pages_continues_after_full_pages() -> None:
    at_page = PageCursor.read('{"page":4,"first_id":7}')
    assert (at_page.largest, at_page.seen, at_page.page_size) == (1000, 3000, 1000)


async def test_the_end_of_cursors_is_accepted_if_the_cap_prevents_a_check() -> None:
    async with Sandbox(Settings(items=2000, cap=1000)) as sandbox:
        found = await read(sandbox, await only(Institution(id=319)))
        assert found.ids == list(sandbox.world.public_ids)
        assert [seen.status for seen in sandbox.requests_to("api")] == [200, 200, 422]


# -- file lists -----------------------------------------------------------------------------------


async def test_a_service_that_refuses_large_file_lists_gets_requests_for_smaller_ones(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=50, heavy=0, largest_page=100)) as sandbox:
        item_id = next(each for each in sandbox.world.public_ids if len(sandbox.world.files(each)) > 10)
        words = ("--item", str(item_id), "--tasks", "metadata")
        ended = await harvester("run", *words, "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        table = [int(row["file_id"]) for row in rows(tmp_path, "files.csv")]
        assert sorted(table) == sorted(file["id"] for file in sandbox.world.files(item_id))


@pytest.mark.parametrize("own_offsets", [True, False], ids=["own offsets", "asked offsets"])
@pytest.mark.parametrize("cap", [7, 10, pytest.param(20, marks=pytest.mark.nightly)])
async def test_a_file_list_with_small_pages_is_read_completely(
    cap: int, own_offsets: bool, tmp_path: Path
) -> None:
    settings = Settings(items=50, heavy=0, file_page_cap=cap, own_offsets=own_offsets)
    async with Sandbox(settings) as sandbox:
        world = sandbox.world
        many = [item_id for item_id in world.public_ids if len(world.files(item_id)) >= 10]
        words = [word for item_id in many for word in ("--item", str(item_id))]
        ended = await harvester("run", *words, "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        expected = {(item_id, file["id"]) for item_id in many for file in world.files(item_id)}
        assert {(int(row["item_id"]), int(row["file_id"])) for row in rows(tmp_path, "files.csv")} == expected


def with_many_files(sandbox: Sandbox) -> int:
    world = sandbox.world
    return next(i for i in world.public_ids if world.trait(i) == "many files")


async def test_an_incomplete_file_list_is_retried_in_the_same_run(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=50, heavy=0, short_lists=1)) as sandbox:
        item_id = with_many_files(sandbox)
        ended = await harvester("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        assert {row["status"] for row in rows(tmp_path, "files.csv")} == {"done"}
        assert len(rows(tmp_path, "files.csv")) == len(sandbox.world.files(item_id))
        (change,) = rows(tmp_path, "changes.csv")
        assert (change["change"], change["files"]) == ("new", "")
        asked = [
            seen.headers for seen in sandbox.requests_to("api") if seen.path == f"/v2/articles/{item_id}"
        ]
        assert not any("If-None-Match" in headers for headers in asked)


async def test_a_file_list_that_stays_incomplete_is_a_failure_of_every_run(
    tmp_path: Path,
) -> None:
    async with Sandbox(Settings(items=50, heavy=0, short_lists=4)) as sandbox:
        item_id = with_many_files(sandbox)
        words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        for _ in range(2):
            ended = await harvester(*words)
            assert ended.status == 1
            (failure,) = rows(tmp_path, "failures.csv")
            assert (failure["item_id"], failure["task"], failure["file_id"]) == (str(item_id), "files", "")
            assert verdicts(tmp_path) == ["transient"]
            assert "10 of the 10 files that the record names" in failure["error"]
            assert {row["status"] for row in rows(tmp_path, "files.csv")} == {"done"}, "the named ones came"
            assert len(rows(tmp_path, "files.csv")) == 10
            assert len(rows(tmp_path, "items.csv")) == 1, "the record is kept"
        ended = await harvester("plan", *words[1:])
        assert "1" in ended.out
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert rows(tmp_path, "failures.csv") == []
        assert len(rows(tmp_path, "files.csv")) == len(sandbox.world.files(item_id))


def rows_by_file(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of files.csv, but for where the sandbox has them this time."""
    return {row["file_id"]: {**row, "url": ""} for row in rows(folder, "files.csv")}


async def test_an_incomplete_file_list_removes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with Sandbox(Settings(items=50, heavy=0)) as sandbox:
        item_id = with_many_files(sandbox)
        words = ("run", "--item", item_id, "-o", folder)
        assert (await harvester(*words, *at(sandbox))).status == 0
        before = rows_by_file(folder)
    async with Sandbox(Settings(items=50, heavy=0, short_lists=2)) as sandbox:
        sandbox.world.correct(item_id)
        ended = await harvester(*words, *at(sandbox), "--prune", "--yes")
        assert ended.status == 1
        assert rows_by_file(folder) == before
        (change,) = rows(folder, "changes.csv")
        assert change["files"] == ""
        assert all((folder / row["path"]).is_file() for row in before.values())
        ended = await harvester(*words, *at(sandbox), "--prune", "--yes")
        assert ended.status == 0, ended.err
        assert {row["file_id"] for row in rows(folder, "files.csv")} == before.keys()
        assert rows(folder, "failures.csv") == []


# -- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("versions", ["all", "1,2"])
async def test_an_incomplete_list_of_versions_is_requested_again(versions: str, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=50, heavy=0, short_lists=2)) as sandbox:
        world = sandbox.world
        item_id = next(i for i in world.public_ids if world.trait(i) == "three versions")
        words = ("run", "--item", item_id, "--versions", versions, "--tasks", "metadata", "-o", tmp_path)
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 1
        (failure,) = rows(tmp_path, "failures.csv")
        assert (failure["task"], verdicts(tmp_path)) == ("metadata", ["transient"])
        assert "the list of versions lacks 1, 2" in failure["error"]
        assert len(rows(tmp_path, "items.csv")) == 1, "the record is kept"
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert {(row["item_id"], row["version"]) for row in rows(tmp_path, "versions.csv")} >= {
            (str(item_id), "1"),
            (str(item_id), "2"),
        }


async def test_a_withheld_item_without_versions_is_accepted(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=50, heavy=0, short_lists=9)) as sandbox:
        world = sandbox.world
        item_id = next(i for i in world.public_ids if world.trait(i) == "embargo")
        world.edit(item_id)
        words = ("run", "--item", item_id, "--versions", "all", "--tasks", "metadata", "-o", tmp_path)
        ended = await harvester(*words, *at(sandbox), env=environment(FIGSHARE_TOKEN=""))
        assert ended.status == 0, ended.err
