"""Counters of items of which versions are named; dates that lie; the mark that a quick run begins at."""

from __future__ import annotations

import csv
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from yarl import URL

from harvester.sandbox import Sandbox, Settings
from tests.support.older import TO_VERSION_5
from tests.support.program import at, harvested, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio

WORLD = Settings(items=60, heavy=0)
OVER_TIME = ("--tasks", "metadata,stats,timeline", "--granularity", "year", "--stats-since", "2015-01-01")


def named(*names: str) -> list[str]:
    return [word for name in names for word in ("--item", name)]


def counted(sandbox: Sandbox, item_ids: Sequence[int]) -> list[tuple[str, str, str]]:
    """Rows of stats.csv, as they are to be."""
    totals = [(item_id, sandbox.world.totals(item_id)) for item_id in sorted(item_ids)]
    return [(str(item_id), str(each["views"]), str(each["downloads"])) for item_id, each in totals]


def table(folder: Path, name: str = "stats.csv") -> list[tuple[str, ...]]:
    with (folder / name).open(encoding="utf-8", newline="") as handle:
        return [tuple(row) for row in csv.reader(handle)][1:]


def asked_of_stats(sandbox: Sandbox) -> list[str]:
    paths = sorted(seen.path for seen in sandbox.requests_to("stats"))
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
        ended = await harvested(*words)
        assert ended.status == 0, ended.err
        assert table(tmp_path) == counted(sandbox, [thrice, other])
        assert {row[0] for row in table(tmp_path, "stats_timeline.csv")} == {str(thrice), str(other)}
        keys = [row[:4] for row in table(tmp_path, "stats_timeline.csv")]
        assert keys == sorted(set(keys), key=lambda row: (int(row[0]), *row[1:])), "one set of rows an item"
        assert len(sandbox.requests_to("stats")) == planned["stats"]
        paths = [path for path in asked_of_stats(sandbox) if path.startswith("/total/")]
        assert paths == totals_of(thrice, other)
        assert {row["version"] for row in rows(tmp_path / "versions.csv")} == {"1", "2"}

        assert (await harvested(*words)).status == 0
        assert asked_of_stats(sandbox) == []
        assert (await harvested(*words, "--refresh", "stats")).status == 0
        assert asked_of_stats(sandbox) == totals_of(thrice, other)
        assert [row[0] for row in table(tmp_path, "stats_history.csv")] == sorted(
            [str(thrice), str(other)] * 2
        )


async def test_an_item_harvested_after_its_version_is_counted_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        options = (*OVER_TIME, "-o", tmp_path, *at(sandbox))
        assert (await harvested("run", *named(f"{item_id}.v2"), *options)).status == 0
        before = {name: table(tmp_path, f"stats_{name}.csv") for name in ("history", "timeline")}
        asked_of_stats(sandbox)
        both = named(f"{item_id}.v2", str(item_id))
        planned = orjson.loads((await harvester("plan", *both, *options, "--json")).out)["requests"]
        assert planned["stats"] == 0
        sandbox.requests.clear()
        assert (await harvested("run", *both, *options)).status == 0
        assert asked_of_stats(sandbox) == [], "the counters are here"
        assert table(tmp_path) == counted(sandbox, [item_id])
        assert {name: table(tmp_path, f"stats_{name}.csv") for name in before} == before
        assert (await harvested("run", *both, *options, "--refresh", "stats")).status == 0
        assert asked_of_stats(sandbox) == totals_of(item_id)
        assert table(tmp_path) == counted(sandbox, [item_id])
        assert [row[0] for row in table(tmp_path, "stats_history.csv")] == [str(item_id)] * 2
        status = orjson.loads((await harvester("status", "-o", tmp_path, "--json")).out)
        assert status["work"]["stats"] == {"done": 1}


async def test_an_item_and_its_versions_in_one_list_are_counted_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        names = named(f"{item_id}.v2", str(item_id), f"{item_id}.v1")
        words = (*names, "--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        planned = orjson.loads((await harvester("plan", *words, "--json")).out)["requests"]
        sandbox.requests.clear()
        assert (await harvested("run", *words)).status == 0
        assert len(sandbox.requests_to("stats")) == planned["stats"] == 2
        assert table(tmp_path) == counted(sandbox, [item_id])


async def test_versions_of_a_harvested_item_have_no_statistics(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        words = (*named(str(item_id)), "--versions", "all", "--tasks", "metadata,stats", "-o", tmp_path)
        assert (await harvested("run", *words, *at(sandbox))).status == 0
        assert asked_of_stats(sandbox) == totals_of(item_id)
        more = (*words[2:], *named(f"{item_id}.v1"))
        assert (await harvested("run", *more, *at(sandbox))).status == 0
        assert asked_of_stats(sandbox) == []


async def test_a_version_that_does_not_exist_hands_its_statistics_over(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        options = ("--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        assert (await harvested("run", *named(f"{item_id}.v9", f"{item_id}.v1"), *options)).status == 1
        await harvested(
            "run", *named(f"{item_id}.v1"), *options
        )  # the first run after it was named still knows it
        assert (await harvested("run", *named(f"{item_id}.v1"), *options)).status == 0
        assert table(tmp_path) == counted(sandbox, [item_id])


async def test_an_older_ledger_makes_statistics_of_listed_versions_pending(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.with_trait("three versions")[0]
        names = named(f"{item_id}.v1", f"{item_id}.v2")
        words = (*names, "--tasks", "metadata,stats", "-o", tmp_path, *at(sandbox))
        assert (await harvested("run", *words)).status == 0
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.executescript(TO_VERSION_5)
            db.execute("DELETE FROM work WHERE task = 'stats'")
            db.execute("DELETE FROM stats")
        sandbox.requests.clear()
        planned = orjson.loads((await harvester("plan", *words, "--json")).out)["requests"]
        assert planned["stats"] == 2
        sandbox.requests.clear()
        assert (await harvested("run", *words)).status == 0
        assert set(asked_of_stats(sandbox)) == set(totals_of(item_id))
        assert table(tmp_path) == counted(sandbox, [item_id])


# -- dates that lie -------------------------------------------------------------------------------


SEARCH = ("run", "--search", ":tag: tag3", "--tasks", "metadata")
DAY = 86400


def records_asked(sandbox: Sandbox) -> dict[int, list[int]]:
    """Item to the statuses of the requests for its record since the last time."""
    asked: dict[int, list[int]] = {}
    for seen in sandbox.requests_to("api"):
        if found := re.fullmatch(r"/v2/articles/(\d+)", seen.path):
            asked.setdefault(int(found[1]), []).append(seen.status)
    sandbox.requests.clear()
    return asked


def changed(folder: Path) -> set[int]:
    return {int(row["item_id"]) for row in rows(folder / "changes.csv")}


@asynccontextmanager
async def moved_on(before: Sandbox, **settings: Any) -> AsyncIterator[Sandbox]:
    """The same figshare on the same ports, under other settings."""
    ports = [int(str(URL(url).port)) for url in (before.api, before.stats, before.files, before.storage)]
    async with Sandbox(replace(WORLD, ports=(ports[0], ports[1], ports[2], ports[3]), **settings)) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    "liar",
    [("listings",), ("records",), pytest.param(("listings", "records"), marks=pytest.mark.nightly)],
)
async def test_a_date_in_the_far_future_does_not_hide_what_changes_later(
    liar: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*SEARCH, "-o", tmp_path)
    async with Sandbox(replace(WORLD, far_future=liar)) as sandbox:
        assert (await harvested(*words, *at(sandbox))).status == 0
    async with moved_on(sandbox) as sandbox:
        item_id = sandbox.world.search(":tag: tag3")[0]
        sandbox.world.correct(item_id)
        assert (await harvested(*words, *at(sandbox))).status == 0
        assert item_id in changed(tmp_path)
        sandbox.requests.clear()
        assert (await harvested(*words, *at(sandbox))).status == 0
        assert records_asked(sandbox) == {}, "what was requested lately needs no more proof"


async def test_a_listing_with_future_dates_takes_one_request_a_run(tmp_path: Path) -> None:
    async with Sandbox(replace(WORLD, far_future=("listings",))) as sandbox:
        ids = sandbox.world.search(":tag: tag3")
        words = (*SEARCH, "--search", ":tag: tag3 OR :tag: tag4", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        records_asked(sandbox)
        sandbox.world.correct(ids[0])
        assert (await harvested(*words)).status == 0
        asked = records_asked(sandbox)
        assert asked.pop(ids[0]) == [200]
        assert {tuple(statuses) for statuses in asked.values()} == {(304,)}
        assert changed(tmp_path) == {ids[0]}


async def test_a_listing_that_is_always_ahead_of_its_records_takes_no_requests(tmp_path: Path) -> None:
    async with Sandbox(replace(WORLD, listed_ahead=3)) as sandbox:
        ids = sandbox.world.search(":tag: tag3")
        words = (*SEARCH, "--search", ":tag: tag3 OR :tag: tag4", "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        first = records_asked(sandbox)
        assert {item_id: first[item_id] for item_id in ids} == {item_id: [200] for item_id in ids}
        assert (await harvested(*words)).status == 0
        assert records_asked(sandbox) == {}
        sandbox.world.edit(ids[1])
        assert (await harvested(*words)).status == 0
        assert records_asked(sandbox) == {ids[1]: [200]}
        assert changed(tmp_path) == {ids[1]}


async def test_a_record_behind_its_listing_is_due_again_once_a_run(tmp_path: Path) -> None:
    """As where an index is ahead of a cached record: the listing knows of the change, the record does not."""
    words = (*SEARCH, "--search", ":tag: tag3 OR :tag: tag4", "-o", tmp_path)
    async with Sandbox(WORLD) as sandbox:
        item_id = sandbox.world.search(":tag: tag3")[0]
        sandbox.world.correct(item_id)
        assert (await harvested(*words, *at(sandbox))).status == 0
    async with moved_on(sandbox, listed_ahead=6 * 3600) as sandbox:
        sandbox.world.correct(item_id)
        assert (await harvested(*words, *at(sandbox))).status == 0
        assert item_id in records_asked(sandbox)
        for _ in range(2):
            planned = orjson.loads((await harvester("plan", *words[1:], *at(sandbox), "--json")).out)
            sandbox.requests.clear()
            assert (await harvested(*words, *at(sandbox))).status == 0
            assert len(sandbox.requests_to("api")) == planned["requests"]["api"]
            assert records_asked(sandbox) == {item_id: [304]}
            assert changed(tmp_path) == set()
    async with moved_on(sandbox, listed_ahead=5 * 3600) as sandbox:
        for _ in range(2):
            sandbox.world.correct(item_id)  # it comes through, and the listing knew of it
        assert (await harvested(*words, *at(sandbox))).status == 0
        assert changed(tmp_path) == {item_id}


async def test_an_older_ledger_with_a_future_date_notices_changes_again(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        assert (await harvested(*SEARCH, "-o", tmp_path, *at(sandbox))).status == 0
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.executescript(TO_VERSION_5)
            db.execute("UPDATE items SET modified_date = '2924-01-01T00:00:00Z'")
        item_id = sandbox.world.search(":tag: tag3")[0]
        sandbox.world.correct(item_id)
        assert (await harvested(*SEARCH, "-o", tmp_path, *at(sandbox))).status == 0
        assert changed(tmp_path) == {item_id}


# -- the mark that a quick run begins at ----------------------------------------------------------


def mark(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "harvest.db")) as db:
        (found,) = db.execute("SELECT watermark FROM listings WHERE NOT old").fetchone()
    return str(found)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("days", [-10, 10])
async def test_a_quick_run_uses_the_services_clock(days: int, tmp_path: Path) -> None:
    """Whatever this machine's says: here it is ten days ahead, or behind."""
    async with Sandbox(replace(WORLD, clock_ahead=days * DAY)) as sandbox:
        words = (*SEARCH, "-o", tmp_path, *at(sandbox))
        began = time.time() + days * DAY
        assert (await harvested(*words)).status == 0
        assert iso(began - 2) <= mark(tmp_path) <= iso(time.time() + days * DAY + 2)
        item_id = sandbox.world.search(":tag: tag3")[0]
        sandbox.world.correct(item_id)
        assert (await harvested(*words, "--quick")).status == 0
        assert changed(tmp_path) == {item_id}
        since = [
            seen.fields["modified_since"]
            for seen in sandbox.requests_to("api")
            if "modified_since" in seen.fields
        ]
        assert iso(began - DAY - 3) <= since[0] <= iso(began - DAY + 3)


async def test_without_the_services_clock_the_watermark_is_at_most_the_newest_item(tmp_path: Path) -> None:
    async with Sandbox(replace(WORLD, dateless=True, clock_ahead=-20 * DAY)) as sandbox:
        words = (*SEARCH, "-o", tmp_path, *at(sandbox))
        assert (await harvested(*words)).status == 0
        newest = max(sandbox.world.modified(item_id) for item_id in sandbox.world.search(":tag: tag3"))
        assert mark(tmp_path) == newest
        item_id = sandbox.world.search(":tag: tag3")[0]
        sandbox.world.correct(item_id)
        assert (await harvested(*words, "--quick")).status == 0
        assert changed(tmp_path) == {item_id}
        assert mark(tmp_path) == sandbox.world.modified(item_id)


async def test_what_waits_twice_in_the_queue_is_counted_once(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        item_ids = sandbox.world.public_ids[:40]
        settings = tmp_path / "one.toml"
        settings.write_text("[concurrency]\nworkers = 1\n", encoding="utf-8")
        words = (
            *("run", *named(*map(str, item_ids)), "--tasks", "metadata,stats"),
            *("--config", settings, "-o", tmp_path / "out", *at(sandbox)),
        )
        assert (await harvested(*words)).status == 0
        sandbox.requests.clear()
        assert (await harvested(*words, "--refresh", "stats")).status == 0
        assert asked_of_stats(sandbox) == totals_of(*item_ids)
