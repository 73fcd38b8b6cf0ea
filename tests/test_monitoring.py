"""`status --check`: one line and an exit status for a monitoring system."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harvester.cli.monitoring import Level, check_line
from harvester.ledger.ledger import Ledger
from harvester.sandbox import Sandbox, Settings
from harvester.summary import (
    NO_FILES,
    FileTotals,
    FolderTotals,
    LastRun,
    ListingTotals,
    Outcomes,
    Status,
)
from tests.support.each import for_each
from tests.support.program import Ended, at, harvester

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()
FINISHED = LastRun("2026-01-02T08:00:00Z", "2026-01-02T09:00:00Z", "finished", None)
LINE = re.compile(r"HARVESTER (OK|WARNING|CRITICAL|UNKNOWN) - [^|\n]+( \| \w+=\d+s?( \w+=\d+s?)*)?\n")
"""What a plug-in prints, by the rules of Nagios."""


def folder(
    run: LastRun | None = FINISHED,
    *,
    items: int = 2,
    failures: int = 0,
    pending_items: int = 0,
    pending_files: int = 0,
    listings_open: int = 0,
) -> Status:
    contents = FolderTotals(
        items=items,
        versions=0,
        records=items,
        listings_open=listings_open,
        listings=ListingTotals(items, items, 0, 0, 0),
        work={},
        files={"done": FileTotals(1, 10)},
        outcomes=Outcomes({"done": items, "pending": pending_items}, {"pending": pending_files}, {}),
        orphaned_files=NO_FILES,
        unidentified_files=NO_FILES,
        failures=failures,
        trash=NO_FILES,
    )
    return Status("folder", run, {}, contents)


def ended(state: str) -> LastRun:
    return LastRun("2026-01-02T08:00:00Z", "2026-01-02T09:00:00Z", state, None)


RUNNING = LastRun("2026-01-02T11:00:00Z", None, "running", "process 1 on x")
KILLED = LastRun("2026-01-02T11:00:00Z", None, "killed", None)


@for_each(
    ("state", "max_age", "level", "text"),
    [
        (folder(), 0, 0, "complete: 2 items, 1 file; the last run ended 3 h 00 min ago"),
        (folder(failures=1), 0, 1, "1 failure; the last run ended 3 h 00 min ago"),
        (
            folder(pending_items=3, pending_files=1),
            0,
            1,
            "3 items pending, 1 file pending; the last run ended",
        ),
        (folder(listings_open=1), 0, 1, "1 listing not read to the end;"),
        (folder(items=0), 0, 1, "no items were found;"),
        (folder(ended("interrupted")), 0, 1, "the last run was interrupted;"),
        (folder(ended("stopped"), failures=2), 0, 2, "the last run could not continue, 2 failures;"),
        (folder(KILLED), 0, 2, "the last run was killed; the last run began 1 h 00 min ago"),
        (folder(None), 0, 2, "no run yet |"),
        (
            folder(RUNNING, pending_items=9, items=0, listings_open=1),
            0,
            0,
            "running: 0 items, 1 file; the last run b",
        ),
        (folder(RUNNING, failures=2), 0, 1, "2 failures;"),
        (folder(), 3 * 3600, 0, "complete"),
        (folder(), 3 * 3600 - 1, 2, "the last run is older than 2 h 59 min;"),
        (folder(RUNNING), 60, 2, "the last run is older than 1 min 00 s;"),
    ],
)
def test_each_state_has_its_level(state: Status, max_age: float, level: int, text: str) -> None:
    found, line = check_line(state, now=NOON, max_age=max_age)
    assert found == level
    assert line.startswith(f"HARVESTER {Level(level).name} - {text}")
    assert LINE.fullmatch(f"{line}\n")


def test_the_line_has_numbers_for_a_graph() -> None:
    _, line = check_line(folder(failures=3, pending_items=4, pending_files=5), now=NOON)
    assert line.endswith(" | items=2 files=1 failures=3 pending=9 age=10800s")


async def checked(path: Path, *more: object) -> Ended:
    found = await harvester("status", path, "--check", *more)
    assert found.err == ""
    assert LINE.fullmatch(found.out), found.out
    return found


async def test_the_folder_of_a_harvest_is_checked(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=3, private_items=0, heavy=0)) as sandbox:
        ids = sandbox.world.public_ids
        words = ("-o", tmp_path, "--tasks", "metadata", *at(sandbox))
        assert (await harvester("run", "--item", ids[0], *words)).status == 0
        found = await checked(tmp_path, "--max-age", "8d")
        assert (found.status, found.out.split(";")[0]) == (0, "HARVESTER OK - complete: 1 item, 0 files")
        assert (await harvester("run", "--item", 4999999, *words)).status == 1
    found = await checked(tmp_path)
    assert (found.status, found.out.split(";")[0]) == (1, "HARVESTER WARNING - 1 failure")
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        db.execute("UPDATE runs SET started = '2026-01-01T00:00:00Z', ended = '2026-01-01T01:00:00Z'")
    found = await checked(tmp_path, "--max-age", "1 h")
    assert (found.status, found.out.split(",")[0]) == (
        2, "HARVESTER CRITICAL - the last run is older than 1 h 00 min",
    )  # fmt: skip
    found = await harvester("status", tmp_path, "--check", "--json")
    assert found.status == 1
    assert '"failures": 1' in found.out


async def test_a_folder_in_use_can_be_checked(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open()
    try:
        found = await checked(tmp_path)
    finally:
        await ledger.close("finished")
    assert (found.status, found.out.split(";")[0]) == (0, "HARVESTER OK - running: 0 items, 0 files")


async def test_what_cannot_be_read_is_printed_where_a_monitoring_system_reads(tmp_path: Path) -> None:
    found = await checked(tmp_path / "none")
    assert found.status == 2
    assert found.out.startswith("HARVESTER CRITICAL - ")
    (tmp_path / "harvest.db").write_bytes(b"no database" * 1000)
    found = await checked(tmp_path)
    assert found.status == 3
    assert found.out.startswith("HARVESTER UNKNOWN - ")


async def test_max_age_needs_a_check_and_a_duration(tmp_path: Path) -> None:
    found = await harvester("status", tmp_path, "--max-age", "8d")
    assert (found.status, found.err) == (2, "harvester: --max-age requires --check\n")
    found = await harvester("status", tmp_path, "--check", "--max-age", "soon")
    assert found.status == 2
    assert '--max-age: expected a duration such as "90 s", ' in found.err
