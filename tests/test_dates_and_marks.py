"""Counters of items of which versions are named; dates that lie; the mark that a quick run begins at."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from harvester.sandbox import Sandbox, Settings
from tests.conftest import at, harvester
from tests.truth import rows

pytestmark = pytest.mark.anyio

WORLD = Settings(items=100)
OVER_TIME = ("--tasks", "metadata,stats,timeline", "--granularity", "year", "--stats-since", "2015-01-01")


def named(*names: str) -> list[str]:
    return [word for name in names for word in ("--item", name)]


def counted(sandbox: Sandbox, item_ids: Sequence[int]) -> list[tuple[str, str, str]]:
    """Rows of stats.csv, as they are to be."""
    totals = [(item_id, sandbox.world.totals(item_id)) for item_id in sorted(item_ids)]
    return [(str(item_id), str(told["views"]), str(told["downloads"])) for item_id, told in totals]


def told(folder: Path, name: str = "stats.csv") -> list[tuple[str, ...]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return [tuple(row) for row in csv.reader(handle)][1:]


def asked_of_stats(sandbox: Sandbox) -> list[str]:
    paths = sorted(seen.path for seen in sandbox.asked("stats"))
    sandbox.requests.clear()
    return paths


def totals_of(*item_ids: int) -> list[str]:
    return sorted(
        f"/total/{counter}/article/{each}" for each in item_ids for counter in ("views", "downloads")
    )


# -- statistics of versions -----------------------------------------------------------------------


async def test_a_list_of_versions_gives_the_statistics_of_each_item_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        world = sandbox.world
        thrice, other = world.with_trait("three versions")[0], world.public_ids[4]
        names = named(f"{thrice}.v1", f"10.6084/m9.figshare.{thrice}.v2", f"{other}.v1")
        words = ("run", *names, *OVER_TIME, "-o", tmp_path, *at(sandbox))
        planned = orjson.loads((await harvester("plan", *words[1:], "--json")).out)["requests"]
        sandbox.requests.clear()
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert told(tmp_path) == counted(sandbox, [thrice, other])
        assert {row[0] for row in told(tmp_path, "stats_timeline.csv")} == {str(thrice), str(other)}
        keys = [row[:4] for row in told(tmp_path, "stats_timeline.csv")]
        assert keys == sorted(set(keys), key=lambda row: (int(row[0]), *row[1:])), "one set of rows an item"
        assert len(sandbox.asked("stats")) == planned["stats"]
        paths = [path for path in asked_of_stats(sandbox) if path.startswith("/total/")]
        assert paths == totals_of(thrice, other)
        assert {row["version"] for row in rows(tmp_path / "versions.csv")} == {"1", "2"}

        assert (await harvester(*words)).status == 0
        assert asked_of_stats(sandbox) == []
        assert (await harvester(*words, "--refresh", "stats")).status == 0
        assert asked_of_stats(sandbox) == totals_of(thrice, other)
        assert [row[0] for row in told(tmp_path, "stats_history.csv")] == sorted(
            [str(thrice), str(other)] * 2
        )


async def test_an_item_harvested_after_its_version_is_counted_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        options = (*OVER_TIME, "-o", tmp_path, *at(sandbox))
        assert (await harvester("run", *named(f"{item_id}.v2"), *options)).status == 0
        before = {name: told(tmp_path, f"stats_{name}.csv") for name in ("history", "timeline")}
        asked_of_stats(sandbox)
        both = named(f"{item_id}.v2", str(item_id))
        planned = orjson.loads((await harvester("plan", *both, *options, "--json")).out)["requests"]
        assert planned["stats"] == 0
        sandbox.requests.clear()
        assert (await harvester("run", *both, *options)).status == 0
        assert asked_of_stats(sandbox) == [], "the counters are here"
        assert told(tmp_path) == counted(sandbox, [item_id])
        assert {name: told(tmp_path, f"stats_{name}.csv") for name in before} == before
        assert (await harvester("run", *both, *options, "--refresh", "stats")).status == 0
        assert asked_of_stats(sandbox) == totals_of(item_id)
        assert told(tmp_path) == counted(sandbox, [item_id])
        assert [row[0] for row in told(tmp_path, "stats_history.csv")] == [str(item_id)] * 2
        status = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
        assert status["work"]["stats"] == {"done": 1}


async def test_an_item_and_its_versions_in_one_list_are_counted_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        names = named(f"{item_id}.v2", str(item_id), f"{item_id}.v1")
        words = (*names, "--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        planned = orjson.loads((await harvester("plan", *words, "--json")).out)["requests"]
        sandbox.requests.clear()
        assert (await harvester("run", *words)).status == 0
        assert len(sandbox.asked("stats")) == planned["stats"] == 2
        assert told(tmp_path) == counted(sandbox, [item_id])


async def test_versions_that_come_with_their_item_are_not_counted(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        words = (*named(str(item_id)), "--versions", "all", "--tasks", "metadata,stats", "-o", tmp_path)
        assert (await harvester("run", *words, *at(sandbox))).status == 0
        assert asked_of_stats(sandbox) == totals_of(item_id)
        more = (*words[2:], *named(f"{item_id}.v1"))
        assert (await harvester("run", *more, *at(sandbox))).status == 0
        assert asked_of_stats(sandbox) == []


async def test_a_version_that_there_never_was_hands_the_counters_on(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        options = ("--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        assert (await harvester("run", *named(f"{item_id}.v9", f"{item_id}.v1"), *options)).status == 1
        await harvester(
            "run", *named(f"{item_id}.v1"), *options
        )  # the first run after it was named still knows it
        assert (await harvester("run", *named(f"{item_id}.v1"), *options)).status == 0
        assert told(tmp_path) == counted(sandbox, [item_id])


async def test_a_ledger_of_before_owes_the_statistics_of_the_versions_that_lists_name(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        names = named(f"{item_id}.v1", f"{item_id}.v2")
        words = (*names, "--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        assert (await harvester("run", *words)).status == 0
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.execute("DROP INDEX versions_that_count")
            db.execute("ALTER TABLE versions DROP COLUMN counts")
            db.execute("DELETE FROM work WHERE task = 'stats'")
            db.execute("DELETE FROM stats")
            db.execute("PRAGMA user_version = 5")
        sandbox.requests.clear()
        planned = orjson.loads((await harvester("plan", *words, "--json")).out)["requests"]
        assert planned["stats"] == 2
        sandbox.requests.clear()
        assert (await harvester("run", *words)).status == 0
        assert set(asked_of_stats(sandbox)) == set(totals_of(item_id))
        assert told(tmp_path) == counted(sandbox, [item_id])
