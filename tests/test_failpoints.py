"""Failpoints: killed at each named place, a harvest loses nothing, and the next run completes it."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from harvester.errors import UsageError
from harvester.sandbox import Sandbox, Settings
from harvester.system.failpoints import POINTS, VARIABLE, arm
from tests.support.death import (
    Recorded,
    assert_no_file_looks_whole_and_is_not,
    assert_nothing_recorded_was_requested_again,
    recorded,
)
from tests.support.old_ledger import unpack
from tests.support.program import Ended, at, environment, harvester
from tests.support.truth import assert_complete

pytestmark = pytest.mark.anyio

KILLED = -9
WORLD = Settings(items=5, heavy=0)
FIRST_RUN = [
    ("lease: taken", 0),
    ("ledger: before a commit", 0),
    ("ledger: before a commit", 2),
    ("ledger: after a commit", 0),
    ("ledger: after a commit", 2),
    ("file: before the commit", 0),
    ("file: before the commit", 4),
    ("file: after the commit", 0),
    ("file: after the commit", 4),
    ("atomic write: before the rename", 0),
    ("atomic write: before the rename", 2),
    ("atomic write: after the rename", 0),
    ("atomic write: after the rename", 2),
]
"""What a first run comes past, and how often before it is killed there."""
ELSEWHERE = {
    "file: linked",
    "segment: appended",
    "rename: taken out",
    "rename: put in",
    "trash: moved",
    "migration: before its commit",
}
"""Points that have a test of their own here."""


async def killed_at(point: str, *words: object, passes: int = 0) -> Ended:
    """Run the program until it is killed at a failpoint."""
    ended = await harvester(*words, env=environment(**{VARIABLE: f"{point}:{passes}"}))
    assert ended.status == KILLED, f"{point} was not reached: {ended.out}{ended.err}"
    return ended


def sums(folder: Path) -> dict[str, str]:
    """The md5 of each file below a folder, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_each_point_has_a_test() -> None:
    assert {point for point, _ in FIRST_RUN} | ELSEWHERE == POINTS.keys()


@pytest.mark.parametrize("text", ["no such place", "file: linked:x", "1"])
def test_a_name_that_no_point_has_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="no failpoint is called"):
        arm({VARIABLE: text})


async def test_a_wrong_name_is_wrong_usage() -> None:
    ended = await harvester("--version", env=environment(**{VARIABLE: "nowhere"}))
    assert ended.status == 2
    assert ended.err == f"harvester: environment: {VARIABLE}: no failpoint is called nowhere\n"


@pytest.mark.parametrize(("point", "passes"), FIRST_RUN)
async def test_a_first_run_that_is_killed_is_completed_by_the_next(
    point: str, passes: int, tmp_path: Path
) -> None:
    async with Sandbox(WORLD) as sandbox:
        run = ("run", "--search", "survey", "--downloads", "2", "-o", tmp_path, *at(sandbox))
        moments: list[Recorded] = []
        for _ in range(2):  # the second one is killed while it completes the first
            ended = await harvester(*run, env=environment(**{VARIABLE: f"{point}:{passes}"}))
            assert ended.status == KILLED or moments, f"{point} was not reached: {ended.out}{ended.err}"
            assert_no_file_looks_whole_and_is_not(tmp_path, sandbox)
            moments.append(recorded(tmp_path, sandbox))
        ended = await harvester(*run)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert_nothing_recorded_was_requested_again(sandbox, moments)
        assert list((tmp_path / ".partial").iterdir()) == []
        assert list(tmp_path.glob(".*.new")) == []


async def test_a_segmented_download_survives_a_kill(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=1, heavy_size=68_000_000, connection_rate=10e6)) as sandbox:
        (item,) = sandbox.world.with_trait("heavy")
        run = ("run", "--item", item, "-o", tmp_path, *at(sandbox))
        await killed_at("segment: appended", *run)
        fetched = sum(path.stat().st_size for path in (tmp_path / ".partial").glob("*.part"))
        assert fetched > 8_000_000
        sandbox.world.settings = replace(sandbox.settings, connection_rate=inf)
        ended = await harvester(*run)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, [item])
        assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize(
    ("point", "edit"),
    [("rename: taken out", "swap"), ("rename: put in", "swap"), ("file: linked", "again")],
)
async def test_files_that_get_another_name_survive_a_kill(point: str, edit: str, tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        run = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*run)).status == 0
        for item_id in sandbox.world.search("survey")[:4]:
            sandbox.world.edit(item_id, edit)
        before = set(sums(tmp_path / "files").values())
        fetched = len(sandbox.requests_to("storage"))
        await killed_at(point, *run)
        ended = await harvester(*run)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert set(sums(tmp_path / "files").values()) == before
        assert len(sandbox.requests_to("storage")) == fetched, "a file was here under another name"


async def test_what_is_pruned_survives_a_kill(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        run = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*run)).status == 0
        before = set(sums(tmp_path / "files").values())
        for item_id in sandbox.world.search("survey")[:3]:
            sandbox.world.edit(item_id, "replace")
        await killed_at("trash: moved", *run, "--prune", "--yes")
        assert before <= {*sums(tmp_path / "files").values(), *sums(tmp_path / ".trash").values()}
        ended = await harvester(*run, "--prune", "--yes")
        assert ended.status == 0, ended.err
        assert before <= {*sums(tmp_path / "files").values(), *sums(tmp_path / ".trash").values()}
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


async def test_a_ledger_whose_migration_is_killed_is_the_old_one(tmp_path: Path) -> None:
    path = unpack("ledger-10", tmp_path)
    await killed_at("migration: before its commit", "verify", "-o", tmp_path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (10,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert (await harvester("verify", "-o", tmp_path)).status in {0, 1}
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() > (10,)
