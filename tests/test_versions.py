"""Versions of items: which are harvested, where they go, and that unchanged files come once."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from harvester.sandbox import Sandbox, Settings
from harvester.tasks.wanted_versions import has_earlier
from tests.support.program import at, harvested, harvester
from tests.support.truth import assert_complete, rows

pytestmark = pytest.mark.anyio
ITEMS = Settings(items=84, heavy=0)


def versions_of(sandbox: Sandbox) -> int:
    """An item with three versions, the first file of which changes each time."""
    item_id = sandbox.world.with_trait("three versions")[0]
    assert sandbox.world.version(item_id) == 3
    assert len(sandbox.world.files(item_id)) > 1
    return item_id


def assert_version(folder: Path, sandbox: Sandbox, item_id: int, version: int, home: str) -> None:
    for file in sandbox.world.files(item_id, version=version):
        path = folder / home / file["name"]
        assert path.read_bytes() == sandbox.world.content(file["id"]), path


def records(folder: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (folder / "metadata.jsonl").read_bytes().splitlines()]


def downloaded(sandbox: Sandbox) -> list[str]:
    return sorted(seen.path for seen in sandbox.requests_to("files"))


async def test_all_versions_are_harvested_and_unchanged_files_fetched_once(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world, item_id = sandbox.world, versions_of(sandbox)
        words = ("run", "--item", str(item_id), "--versions", "all", "-o", tmp_path, *at(sandbox))
        ended = await harvested(*words)
        assert ended.status == 0, ended.err
        each = {1: f"files/{item_id}.v1", 2: f"files/{item_id}.v2", 3: f"files/{item_id}"}
        for version, home in each.items():
            assert_version(tmp_path, sandbox, item_id, version, home)
        different = {file["id"] for version in each for file in world.files(item_id, version=version)}
        assert len(different) == len(world.files(item_id)) + 2
        assert downloaded(sandbox) == sorted(f"/files/{file_id}" for file_id in different)
        same = world.files(item_id)[1]["name"]
        inodes = {os.stat(tmp_path / home / same).st_ino for home in each.values()}  # noqa: PTH116
        assert len(inodes) == 1, "one file with three names"

        found = [(record["id"], record["version"], record["doi"]) for record in records(tmp_path)]
        assert found == [
            (item_id, 3, world.doi(item_id)),
            (item_id, 1, world.doi(item_id).replace(".v3", ".v1")),
            (item_id, 2, world.doi(item_id).replace(".v3", ".v2")),
        ]
        assert [row["version"] for row in rows(tmp_path / "versions.csv")] == ["1", "2"]
        assert [row["folder"] for row in rows(tmp_path / "versions.csv")] == [each[1], each[2]]
        assert len(rows(tmp_path / "files.csv")) == 3 * len(world.files(item_id))
        assert len(rows(tmp_path / "stats.csv")) == 1

        sandbox.requests.clear()
        assert (await harvested(*words)).status == 0
        assert [seen.path for seen in sandbox.requests] == [f"/v2/articles/{item_id}"]


async def test_only_the_wanted_versions_are_harvested(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        item_id = versions_of(sandbox)
        words = ("run", "--item", str(item_id), "--versions", "1,7", "-o", tmp_path, *at(sandbox))
        ended = await harvested(*words)
        assert ended.status == 0, ended.err
        assert_version(tmp_path, sandbox, item_id, 1, f"files/{item_id}.v1")
        assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [f"{item_id}.v1"]
        statuses = {
            row["status"] for row in rows(tmp_path / "files.csv") if f"{item_id}.v1" not in row["path"]
        }
        assert statuses == {"skipped"}


async def test_a_versioned_doi_gives_that_version(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        item_id = versions_of(sandbox)
        doi = sandbox.world.doi(item_id).replace(".v3", ".v2")
        ended = await harvested("run", "--item", doi, "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_version(tmp_path, sandbox, item_id, 2, f"files/{item_id}.v2")
        assert [(record["id"], record["version"]) for record in records(tmp_path)] == [(item_id, 2)]
        counters = sandbox.world.totals(item_id)
        assert rows(tmp_path / "stats.csv") == [
            {
                "item_id": str(item_id),
                "total_views": str(counters["views"]),
                "total_downloads": str(counters["downloads"]),
            }
        ], "counters are the item's, whatever the version"
        sandbox.requests.clear()
        assert (await harvested("run", "--item", doi, "-o", tmp_path, *at(sandbox))).status == 0
        assert [(seen.path, seen.status) for seen in sandbox.requests_to("api")][-1:] == [
            (f"/v2/articles/{item_id}/versions/2", 304)
        ]
        assert sandbox.requests_to("files") == []


async def test_all_versions_can_be_requested_later(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world, item_id = sandbox.world, versions_of(sandbox)
        words = ("run", "--search", ":tag: tag6", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        ids = world.search(":tag: tag6")
        assert item_id in ids
        assert_complete(tmp_path, sandbox, ids)
        before = downloaded(sandbox)
        assert (await harvested(*words, "--versions", "all")).status == 0
        for version in (1, 2):
            assert_version(tmp_path, sandbox, item_id, version, f"files/{item_id}.v{version}")
        fresh = {world.files(item_id, version=version)[0]["id"] for version in (1, 2)}
        assert downloaded(sandbox) == sorted([*before, *(f"/files/{file_id}" for file_id in fresh)])


async def test_a_new_version_keeps_a_named_earlier_one(tmp_path: Path) -> None:
    """An edit between two runs: what was current is an earlier version now, and its files are here."""
    async with Sandbox(ITEMS) as sandbox:
        world, item_id = sandbox.world, versions_of(sandbox)
        words = ("run", "--item", str(item_id), "--versions", "all", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        world.edit(item_id)
        sandbox.requests.clear()
        ended = await harvested(*words)
        assert ended.status == 0, ended.err
        assert_version(tmp_path, sandbox, item_id, 3, f"files/{item_id}.v3")
        assert downloaded(sandbox) == [f"/files/{world.files(item_id)[0]['id']}"]
        done = {row["path"] for row in rows(tmp_path / "files.csv")}
        assert all((tmp_path / path).is_file() for path in done)


async def test_files_of_unwanted_versions_stay_skipped(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        item_id = versions_of(sandbox)
        words = ("run", "--item", str(item_id), "--versions", "1", "-o", tmp_path, *at(sandbox))
        for _ in range(2):
            assert (await harvested(*words)).status == 0
            assert [path.name for path in (tmp_path / "files").iterdir()] == [f"{item_id}.v1"]


async def test_a_corrupt_file_of_a_version_is_found_and_fetched_again(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        item_id = versions_of(sandbox)
        words = ("run", "--item", f"{item_id}.v1", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        name = sandbox.world.files(item_id, version=1)[0]["name"]
        (tmp_path / f"files/{item_id}.v1" / name).write_bytes(b"damaged")
        assert (await harvester("verify", "-o", tmp_path)).status == 1
        assert (await harvested(*words)).status == 0
        assert_version(tmp_path, sandbox, item_id, 1, f"files/{item_id}.v1")


async def test_a_corrupt_file_is_never_shared_with_another_version(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world, item_id = sandbox.world, versions_of(sandbox)
        words = ("run", "--item", str(item_id), "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        here = tmp_path / f"files/{item_id}" / world.files(item_id)[1]["name"]
        here.write_bytes(bytes(len(here.read_bytes())))
        ended = await harvested(*words, "--versions", "all")
        assert ended.status == 0, ended.err
        for version in (1, 2):
            assert_version(tmp_path, sandbox, item_id, version, f"files/{item_id}.v{version}")


async def test_versions_are_withdrawn_and_return_with_their_item(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world, item_id = sandbox.world, versions_of(sandbox)
        words = ("run", "--item", str(item_id), "--versions", "all", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words, "--tasks", "metadata")).status == 0
        world.withdraw(item_id)
        ended = await harvested(*words)
        assert ended.status == 0, "what is no longer public is no failure"
        assert {row["status"] for row in rows(tmp_path / "files.csv")} == {"withheld"}
        assert [row["version"] for row in rows(tmp_path / "changes.csv")] == [""]
        world.restore(item_id)
        assert (await harvested(*words)).status == 0
        for version in (1, 2):
            assert_version(tmp_path, sandbox, item_id, version, f"files/{item_id}.v{version}")
        assert {row["change"] for row in rows(tmp_path / "changes.csv")} == {"returned"}
        assert (await harvested(*words)).status == 0
        world.withdraw(item_id)
        ended = await harvester(*words, "--prune", "--yes")
        assert ended.status == 0
        assert not (tmp_path / "files").exists() or list((tmp_path / "files").rglob("*.*/*")) == []


def test_an_absurd_version_number_does_not_create_versions() -> None:
    """It is a stranger's; the list of versions says which there are."""
    assert has_earlier(2**31 - 1, "all")
    assert not has_earlier(2**31 - 1, "latest")
    assert has_earlier(2, (1, 9))
    assert not has_earlier(1, (1, 9))
