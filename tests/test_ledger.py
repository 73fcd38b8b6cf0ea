"""The ledger: what is pending, what a crash costs, and who may write."""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from math import inf
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from harvester.errors import FailureKind, FolderLocked, StorageError, UsageError
from harvester.figshare.records import read_article
from harvester.ledger.database import bulk
from harvester.ledger.database.connection import NAME, connect, migrate
from harvester.ledger.database.heartbeat import Heartbeat, Timing
from harvester.ledger.database.lease_row import iso
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import (
    AddedItems,
    FileResult,
    ItemResult,
    ListingFailure,
    ListingProgress,
    RequeuedWork,
    RunSpec,
    TaskParams,
)
from harvester.ledger.reader import Reader
from harvester.models import (
    Change,
    Failure,
    ItemId,
    ItemKey,
    ItemRef,
    Page,
    PendingFile,
    PendingItem,
    PlannedFile,
    Record,
    RemoteFile,
    TaskResult,
    Totals,
    Unresolved,
    key_of,
)
from harvester.states import NOT_ASKED, Changed, FileStatus, WorkState
from harvester.summary import FileTotals, FolderTotals, ListingTotals, Outcomes, as_document

pytestmark = pytest.mark.anyio

TABLES = ("items", "work", "records", "stats", "files", "listing_items")
TASKS = frozenset({"metadata", "stats"})
OPENING = RunSpec(item_tasks=TASKS, with_files=True)
ALL_DONE = {"metadata": WorkState.DONE, "stats": WorkState.DONE}


@asynccontextmanager
async def run(folder: Path, opening: RunSpec = OPENING, outcome: str = "finished") -> AsyncIterator[Ledger]:
    ledger = Ledger(folder)
    ledger.open()
    try:
        await ledger.begin(opening)
        yield ledger
    finally:
        await ledger.close(outcome)


def page(*ids: int, cursor: str | None = None, modified: str | None = None, private: bool = False) -> Page:
    return Page(tuple(ItemRef(ItemId(number), private, modified) for number in ids), cursor)


def record(item_id: int, modified: str = "2024-01-01T00:00:00Z", withheld: str = "") -> Record:
    raw = b'{"id": %d, "modified_date": "%s"}' % (item_id, modified.encode())
    return Record(replace(read_article(raw), withheld=withheld), raw)


def placed(file_id: int, status: FileStatus = FileStatus.PENDING, name: str = "x") -> PlannedFile:
    file = RemoteFile(file_id, name, "", 10, None, "https://example.org", is_link=False)
    return PlannedFile(file, f"files/1/{name}", status)


def result(item_id: int, *files: PlannedFile) -> ItemResult:
    found = TaskResult(record=record(item_id), files=files)
    return ItemResult(ItemKey(item_id), ALL_DONE, (), (found, TaskResult(totals=Totals(5, None))))


async def ids(ledger: Ledger) -> list[int]:
    return [pending.item_id for pending in await ledger.pending_items(0, 1000)]


async def files_here(ledger: Ledger, number: int) -> Mapping[int, tuple[RemoteFile, str]]:
    item_id = ItemId(number)
    item = PendingItem(0, item_id, private=False, tasks=TASKS, known=True, item_key=key_of(item_id))
    harvested = (await ledger.histories.of_item(item, None, anyio.sleep_forever)).harvested
    return harvested.files if harvested else {}


async def test_listed_items_are_queued_once_in_order(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        added = await ledger.change(ledger.listings.add_page, "a", page(3, 1, 3, cursor="2"), TASKS)
        assert added == AddedItems(2, ListingProgress("2", complete=False, named=3, unique=2))
        assert (await ledger.change(ledger.listings.add_page, "a", page(2, 1), TASKS)).pending == 1
        assert await ids(ledger) == [3, 1, 2]
        (first, *_) = await ledger.pending_items(0, 1)
        assert first == PendingItem(
            seq=first.seq, item_id=ItemId(3), private=False, tasks=TASKS, known=False, item_key=ItemKey(3)
        )
        assert [pending.item_id for pending in await ledger.pending_items(first.seq, 1)] == [1]


async def test_a_listing_continues_after_an_unfinished_run(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="interrupted") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2"), TASKS)
        await ledger.change(ledger.listings.add_page, "b", page(2), TASKS)
    async with run(tmp_path, outcome="finished") as ledger:
        listed = await ledger.read(ledger.listings.progress, "a")
        assert (listed.cursor, listed.complete) == ("2", False)
        assert (await ledger.read(ledger.listings.progress, "b")).complete
        await ledger.change(ledger.listings.add_page, "a", page(3), TASKS)
    async with run(tmp_path) as ledger:
        assert await ledger.read(ledger.listings.progress, "a") == await ledger.read(
            ledger.listings.progress, "never seen"
        )


async def test_a_permanently_failed_listing_restarts(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2"), TASKS)
        await ledger.change(ledger.listings.add_page, "b", page(2, cursor="2"), TASKS)
        await ledger.save(
            ListingFailure(Failure("listing", "refused", FailureKind.PERMANENT, subject="a"), True)
        )
        await ledger.save(
            ListingFailure(Failure("listing", "cut", FailureKind.TRANSIENT, subject="b"), False)
        )
    async with run(tmp_path) as ledger:
        assert (await ledger.read(ledger.listings.progress, "a")).cursor is None
        assert (await ledger.read(ledger.listings.progress, "b")).cursor == "2"


async def test_the_result_of_an_item_is_saved_completely(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7), placed(8, FileStatus.LINK)))
        await ledger.flush()
        assert await ids(ledger) == []
        (pending,) = await ledger.read(ledger.queue.files, 0, 10)
        assert pending == PendingFile(
            pending.seq, ItemId(1), placed(7).file, "files/1/x", private=False, item_key=ItemKey(1)
        )
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE))
        await ledger.flush()
        assert await ledger.read(ledger.queue.files, 0, 10) == []
        assert await files_here(ledger, 1) == {7: (placed(7).file, "files/1/x")}
    with Reader(tmp_path) as reader:
        (item,) = reader.items()
        assert (item.id, item.raw, item.files, item.bytes) == (1, record(1).raw, 2, 20)
        assert list(reader.totals()) == [(1, 5, None)]
        assert [(row.file_id, row.path, row.status) for row in reader.files()] == [
            (7, "files/1/x", "done"),
            (8, "", "link"),
        ]


async def test_only_a_newer_date_makes_a_record_pending_again(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2, modified="2024-01-01T00:00:00Z"), TASKS)
        for item_id in (1, 2):
            await ledger.save(result(item_id))
    async with run(tmp_path) as ledger:
        assert (
            await ledger.change(
                ledger.listings.add_page, "a", page(1, modified="2023-12-31T00:00:00Z"), TASKS
            )
        ).pending == 0
        assert (
            await ledger.change(
                ledger.listings.add_page, "a", page(2, modified="2024-01-02T00:00:00Z"), TASKS
            )
        ).pending == 1
        (pending,) = await ledger.pending_items(0, 10)
        assert (pending.item_id, pending.tasks, pending.known) == (2, frozenset({"metadata"}), True)


async def test_the_account_s_record_wins(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "public", page(1), TASKS)
        await ledger.save(result(1))
    async with run(tmp_path) as ledger:
        assert (
            await ledger.change(ledger.listings.add_page, "account", page(1, private=True), TASKS)
        ).pending == 1
        assert (await ledger.change(ledger.listings.add_page, "public", page(1), TASKS)).pending == 0
        (pending,) = await ledger.pending_items(0, 10)
        assert pending.private


async def test_the_next_run_queues_failures_and_nothing_else(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1, placed(7), placed(8, name="y")))
        failed = {"metadata": WorkState.DONE, "stats": WorkState.FAILED}
        await ledger.save(
            ItemResult(
                ItemKey(2), failed, (Failure("stats", "no", FailureKind.TRANSIENT, ItemId(2), attempts=6),)
            )
        )
        await ledger.flush()
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE))
        await ledger.save(FileResult(ItemKey(1), 8, FileStatus.FAILED, "cut", 6, FailureKind.BLOCKED))
    with Reader(tmp_path) as reader:
        assert list(reader.failures()) == [
            Failure("stats", "no", FailureKind.TRANSIENT, ItemId(2), None, "", 6),
            Failure("files", "cut", FailureKind.BLOCKED, ItemId(1), 8, "", 6),
        ]
    async with run(tmp_path) as ledger:
        (item,) = await ledger.pending_items(0, 10)
        assert (item.item_id, item.tasks) == (2, frozenset({"stats"}))
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 10)] == [8]


async def test_new_tasks_and_rules_apply_to_what_is_already_here(tmp_path: Path) -> None:
    only = frozenset({"metadata"})
    async with run(tmp_path, RunSpec(only, with_files=False)) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), only)
        done = {"metadata": WorkState.DONE}
        files = (placed(7, name="a.csv"), placed(8, FileStatus.SKIPPED, name="b.zip"))
        await ledger.save(ItemResult(ItemKey(1), done, (), (TaskResult(record(1), files),)))
        await ledger.flush()
        assert await ledger.read(ledger.queue.files, 0, 10) == []
    wants_zip = RunSpec(TASKS, with_files=True, accepts=lambda name, _: name.endswith(".zip"))
    async with run(tmp_path, wants_zip) as ledger:
        (item,) = await ledger.pending_items(0, 10)
        assert item.tasks == frozenset({"stats"})
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 10)] == [8]
    with Reader(tmp_path) as reader:
        assert [(row.file_id, row.status) for row in reader.files()] == [(7, "skipped"), (8, "pending")]


async def test_refresh_makes_one_task_of_every_item_pending(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        for item_id in (1, 2):
            await ledger.save(result(item_id))
    async with run(tmp_path, RunSpec(TASKS, with_files=True, refresh=frozenset({"stats"}))) as ledger:
        assert [(pending.item_id, pending.tasks) for pending in await ledger.pending_items(0, 9)] == [
            (1, frozenset({"stats"})),
            (2, frozenset({"stats"})),
        ]


async def test_a_verify_between_two_runs_does_not_affect_listings(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
    verifying = Ledger(tmp_path)
    verifying.open("verify")
    await verifying.close("finished")
    async with run(tmp_path) as ledger:
        assert not (await ledger.read(ledger.listings.progress, "a")).complete


async def test_an_interrupted_run_keeps_the_unresolved_names(tmp_path: Path) -> None:
    nowhere = Page((), None, (Unresolved("10.1/x", "no such DOI", FailureKind.NOT_FOUND),))
    async with run(tmp_path, outcome="interrupted") as ledger:
        await ledger.change(ledger.listings.add_page, "a", nowhere, TASKS)
    for outcome, failures in (("finished", 1), ("finished", 0)):  # then all names are requested again
        async with run(tmp_path, outcome=outcome):
            pass
        with Reader(tmp_path) as reader:
            assert len(list(reader.failures())) == failures


async def test_an_unresolved_name_is_a_failure_by_name(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(
            ledger.listings.add_page,
            "a",
            Page((), None, (Unresolved("10.1/x", "no such DOI", FailureKind.NOT_FOUND),)),
            TASKS,
        )
    with Reader(tmp_path) as reader:
        assert list(reader.failures()) == [
            Failure("resolve", "no such DOI", FailureKind.NOT_FOUND, None, None, "10.1/x", 1)
        ]


async def test_a_second_run_on_the_folder_is_refused(tmp_path: Path) -> None:
    held = f"""
import anyio, sys
from pathlib import Path
from harvester.ledger.ledger import Ledger
ledger = Ledger(Path({str(tmp_path)!r})); ledger.open(); print("held", flush=True); sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(FolderLocked, match=f"process {other.pid} on .* is using this folder"):
            Ledger(tmp_path).open()
        with Reader(tmp_path) as reader:
            last = reader.last_run()
            assert last is not None
            assert last.state == "running"
        other.kill()
        other.wait()
    async with run(tmp_path) as ledger:  # the claim of a dead process is no obstacle
        assert await ids(ledger) == []


async def test_a_run_that_was_taken_over_stops_before_it_writes(tmp_path: Path) -> None:
    first = Ledger(tmp_path, timing=Timing(beat_seconds=inf))  # as a process that is stopped
    first.open()
    await first.begin(OPENING)
    second = Ledger(tmp_path, timing=Timing(watch_seconds=0.5))
    second.open()
    with pytest.raises(FolderLocked, match="took this folder over"):
        await first.change(first.listings.add_page, "a", page(1), TASKS)
    await second.begin(OPENING)
    assert await ids(second) == []
    await second.close("finished")
    with pytest.raises(FolderLocked):
        await first.close("finished")


def test_a_ledger_of_a_newer_version_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "harvest.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="written by a newer harvester"):
        Ledger(tmp_path).open()
    with pytest.raises(UsageError, match="upgrade"):
        Reader(tmp_path)
    assert path.read_bytes() == before


def test_a_damaged_ledger_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "harvest.db"
    path.write_bytes(os.urandom(8192))
    before = path.read_bytes()
    with pytest.raises(
        StorageError, match="is damaged: it is no ledger: damaged or replaced; it was not changed"
    ):
        Ledger(tmp_path).open()
    assert path.read_bytes() == before


def test_a_folder_without_a_harvest_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a harvest folder"):
        Reader(tmp_path)


async def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="stopped") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1))
        await ledger.save(result(99))  # never listed: a fault that only a bug could make
        with pytest.raises(sqlite3.IntegrityError):
            await ledger.flush()
        assert await ids(ledger) == [1, 2]


async def test_collected_results_are_written_soon_also_after_a_flush(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger, anyio.create_task_group() as group:
        group.start_soon(ledger.keep)
        await anyio.wait_all_tasks_blocked()
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        changed = ledger.changed
        await ledger.save(result(1, placed(7)))
        with anyio.fail_after(2):
            await changed.wait()
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 10)] == [7]
        group.cancel_scope.cancel()


async def test_counts(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2, cursor="2"), TASKS)
        await ledger.save(result(1, placed(7), placed(8, FileStatus.WITHHELD)))
    with Reader(tmp_path) as reader:
        assert reader.counts() == FolderTotals(
            items=2,
            versions=0,
            records=1,
            listings_open=1,
            listings=ListingTotals(entries=2, unique=2, duplicates=0, excluded=0, unresolved=0),
            work={"metadata": {"done": 1, "pending": 1}, "stats": {"done": 1, "pending": 1}},
            files={"pending": FileTotals(1, 10), "withheld": FileTotals(1, 10)},
            outcomes=Outcomes(
                items={"done": 1, "pending": 1}, files={"pending": 1, "withheld": 1}, withheld={}
            ),
            orphaned_files=FileTotals(),
            unidentified_files=FileTotals(),
            failures=0,
            trash=FileTotals(),
        )


async def test_every_entry_item_and_file_is_accounted_for_once(tmp_path: Path) -> None:
    def failed(item_id: int, task: str, failure_kind: FailureKind) -> ItemResult:
        states = {**ALL_DONE, task: WorkState.FAILED}
        return ItemResult(ItemKey(item_id), states, (Failure(task, "no", failure_kind, ItemId(item_id)),))

    async with run(tmp_path) as ledger:
        odd = Unresolved("entry 3", "no id", FailureKind.PERMANENT)
        seen = replace(page(1, 2, 2, 3, 4, 5, 6), unresolved=(odd,), excluded=4)
        await ledger.change(ledger.listings.add_page, "a", seen, TASKS)
        await ledger.change(ledger.listings.add_page, "b", page(6, 7), TASKS)
        embargoed = replace(placed(9, FileStatus.WITHHELD), reason="embargo")
        await ledger.save(result(1, placed(7), placed(8, FileStatus.LINK), embargoed))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "cut", 6, FailureKind.BLOCKED))
        await ledger.save(failed(2, "metadata", FailureKind.NOT_FOUND))
        await ledger.save(failed(3, "stats", FailureKind.TRANSIENT))
        both = (
            Failure("metadata", "no", FailureKind.PERMANENT, ItemId(4)),
            Failure("stats", "no", FailureKind.BLOCKED, ItemId(4)),
        )
        await ledger.save(ItemResult(ItemKey(4), dict.fromkeys(TASKS, WorkState.FAILED), both))
        gone = {"metadata": WorkState.WITHDRAWN, "stats": WorkState.DONE}
        await ledger.save(ItemResult(ItemKey(5), gone))
    with Reader(tmp_path) as reader:
        counts = reader.counts()
    assert counts.listings == ListingTotals(entries=14, unique=7, duplicates=2, excluded=4, unresolved=1)
    assert counts.outcomes == Outcomes(
        items={"done": 1, "permanent": 1, "transient": 1, "not_found": 1, "pending": 2, "withdrawn": 1},
        files={"blocked": 1, "embargo": 1, "link": 1},
        withheld={},
    )
    assert sum(counts.outcomes.items.values()) == counts.items == 7


async def test_a_failure_of_another_task_is_left_to_a_run_with_that_task(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        failure = Failure("stats", "no", FailureKind.TRANSIENT, ItemId(1), attempts=6)
        states = {"metadata": WorkState.DONE, "stats": WorkState.FAILED}
        await ledger.save(ItemResult(ItemKey(1), states, (failure,)))
    async with run(tmp_path, RunSpec(frozenset({"metadata"}), with_files=False)) as ledger:
        assert not await ledger.begin_again((FailureKind.TRANSIENT,))
    with Reader(tmp_path) as reader:
        assert list(reader.failures()) == [failure]


async def test_an_item_that_becomes_pending_in_flight_stays_queued(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, modified="2024-01-01T00:00:00Z"), TASKS)
        await ledger.save(result(1))
        await ledger.flush()
    async with run(tmp_path, replace(OPENING, refresh=frozenset({"stats"}))) as ledger:
        (in_hand,) = await ledger.pending_items(0, 9)
        await ledger.change(
            ledger.listings.add_page, "a", page(1, modified="2025-01-01T00:00:00Z"), TASKS
        )  # edited meanwhile
        await ledger.save(ItemResult(ItemKey(1), {"stats": WorkState.DONE}, seq=in_hand.seq))
        await ledger.flush()
        assert [(pending.item_id, pending.tasks) for pending in await ledger.pending_items(0, 9)] == [
            (1, frozenset({"metadata"}))
        ]


EARLIER, LATER = "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"


def visit(in_hand: PendingItem, modified: str, *files: PlannedFile) -> ItemResult:
    """What a visit gives to which a record of that date was answered."""
    found = (TaskResult(record(in_hand.item_id, modified), files), TaskResult(totals=Totals(5, None)))
    return ItemResult(in_hand.item_key, ALL_DONE, (), found, in_hand.seq)


async def records_here(ledger: Ledger) -> list[bytes]:
    await ledger.flush()
    with Reader(ledger.path.parent) as reader:
        return [item.raw for item in reader.items()]


async def test_an_item_edited_while_its_record_is_in_flight_is_requested_again(
    tmp_path: Path,
) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2", modified=EARLIER), TASKS)
        (in_hand,) = await ledger.pending_items(0, 9)
        assert (
            await ledger.change(ledger.listings.add_page, "a", page(1, modified=LATER), TASKS)
        ).pending == 0, "it is pending already"
        await ledger.save(visit(in_hand, EARLIER))
        await ledger.flush()
        (again,) = await ledger.pending_items(in_hand.seq, 9)  # as a feed asks that has handed out the first
        assert again.tasks == {"metadata"}, "the counters are here"
        with Reader(tmp_path) as reader:
            assert list(reader.totals()) == [(1, 5, None)]
        await ledger.save(visit(again, LATER))
        assert await records_here(ledger) == [record(1, LATER).raw]
        assert await ledger.pending_items(0, 9) == []
    async with run(tmp_path) as ledger:
        assert (
            await ledger.change(ledger.listings.add_page, "a", page(1, modified=LATER), TASKS)
        ).pending == 0


async def test_an_edit_noted_while_an_item_is_in_flight_survives_the_run(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="stopped") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2", modified=EARLIER), TASKS)
        (in_hand,) = await ledger.pending_items(0, 9)
        await ledger.change(ledger.listings.add_page, "a", page(1, modified=LATER), TASKS)
        await ledger.save(visit(in_hand, EARLIER))
    async with run(tmp_path) as ledger:
        assert [pending.tasks for pending in await ledger.pending_items(0, 9)] == [frozenset({"metadata"})]


async def test_a_slow_result_does_not_restore_an_old_record(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2", modified=EARLIER), TASKS)
        (slow,) = await ledger.pending_items(0, 9)
        await ledger.change(ledger.listings.add_page, "a", page(1, modified=LATER), TASKS)
        (fast,) = await ledger.pending_items(slow.seq, 9)
        await ledger.save(visit(fast, LATER, placed(8)))
        await ledger.save(visit(slow, EARLIER, placed(7)))
        assert await records_here(ledger) == [record(1, LATER).raw]
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [8]
        assert await ledger.pending_items(0, 9) == []


@pytest.mark.parametrize(("age_days", "again"), [(0, 1), (3, 0)])
async def test_an_edit_is_noticed_by_the_next_run_if_no_date_was_known(
    age_days: int, again: int, tmp_path: Path
) -> None:
    """Unless the record was requested long after it: then it lags behind its listing for good."""
    listed = iso(time.time() - 86400 * age_days)
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "ids", page(1), TASKS)
        (in_hand,) = await ledger.pending_items(0, 9)
        await ledger.change(ledger.listings.add_page, "search", page(1, modified=listed), TASKS)
        await ledger.save(visit(in_hand, EARLIER))
        await ledger.flush()
        assert await ledger.pending_items(0, 9) == [], "most such records are not old"
    for _ in range(2):
        async with run(tmp_path) as ledger:
            assert (
                await ledger.change(ledger.listings.add_page, "search", page(1, modified=listed), TASKS)
            ).pending == again
            for item in await ledger.pending_items(0, 9):
                await ledger.save(visit(item, EARLIER))
            assert (
                await ledger.change(ledger.listings.add_page, "other", page(1, modified=listed), TASKS)
            ).pending == 0, "once a run"


@pytest.mark.parametrize("status", [FileStatus.PENDING, FileStatus.SKIPPED, FileStatus.WITHHELD])
async def test_a_file_fetched_while_its_item_is_in_flight_is_not_queued_again(
    status: FileStatus, tmp_path: Path
) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, modified=EARLIER), TASKS)
        await ledger.save(result(1, placed(7), placed(8, name="y")))
        await ledger.change(ledger.listings.add_page, "a", page(1, modified=LATER), TASKS)
        (in_hand,) = await ledger.pending_items(0, 9)
        assert await files_here(ledger, 1) == {}
        await ledger.save(
            FileResult(
                ItemKey(1), 7, FileStatus.DONE, seq=(await ledger.read(ledger.queue.files, 0, 9))[0].seq
            )
        )
        await ledger.save(visit(in_hand, LATER, placed(7, status), placed(8, name="elsewhere")))
        await ledger.flush()
        assert [pending.path for pending in await ledger.read(ledger.queue.files, 0, 9)] == [
            "files/1/elsewhere"
        ]
        assert await files_here(ledger, 1) == {7: (placed(7).file, "files/1/x")}
    assert_counts_are_exact(tmp_path)


async def test_a_file_in_flight_while_its_item_is_processed_is_done_when_fetched(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7)))
        await ledger.flush()
        (in_hand,) = await ledger.read(ledger.queue.files, 0, 9)
        await ledger.save(result(1, placed(7)))
        await ledger.flush()
        assert await ledger.read(ledger.queue.files, in_hand.seq, 9) == [], "no other worker may fetch it"
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE, seq=in_hand.seq))
        await ledger.flush()
        assert await files_here(ledger, 1) == {7: (placed(7).file, "files/1/x")}


async def test_a_file_replaced_while_its_item_is_in_flight_is_pending(tmp_path: Path) -> None:
    def version(md5: str) -> PlannedFile:
        return replace(placed(7), file=replace(placed(7).file, md5=md5))

    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, version("0" * 32)))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE))
        await ledger.save(result(1, version("1" * 32)))
        await ledger.flush()
        assert [pending.file.md5 for pending in await ledger.read(ledger.queue.files, 0, 9)] == ["1" * 32]


async def test_a_file_with_a_new_path_while_in_flight_is_not_done(
    tmp_path: Path,
) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7, name="old")))
        await ledger.flush()
        (in_hand,) = await ledger.read(ledger.queue.files, 0, 9)
        await ledger.save(result(1, placed(7, name="new")))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE, seq=in_hand.seq))
        await ledger.flush()
        assert [pending.path for pending in await ledger.read(ledger.queue.files, 0, 9)] == ["files/1/new"]


async def test_failed_files_are_queued_after_files_not_tried_yet(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, *(placed(n, name=str(n)) for n in range(1, 5))))
        for file_id in (1, 2):
            await ledger.save(
                FileResult(ItemKey(1), file_id, FileStatus.FAILED, "no", 6, FailureKind.BLOCKED)
            )
    async with run(tmp_path) as ledger:
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [3, 4, 1, 2]


async def test_a_withdrawn_item_that_is_listed_is_requested_again(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1))
        await ledger.save(ItemResult(ItemKey(1), {"metadata": WorkState.WITHDRAWN}))
    async with run(tmp_path) as ledger:
        assert await ids(ledger) == []
        assert (await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)).pending == 1
        assert await ids(ledger) == [1]


async def test_a_failure_of_a_listing_is_reported_as_long_as_the_listing_exists(
    tmp_path: Path,
) -> None:
    odd = Unresolved("page 1, entry 3", "no id", FailureKind.PERMANENT)
    async with run(tmp_path) as ledger:
        await ledger.change(
            ledger.listings.add_page, "a", replace(page(1, cursor="2"), unresolved=(odd,)), TASKS
        )
        cut = Failure("listing", "cut", FailureKind.TRANSIENT, subject="a")
        await ledger.save(ListingFailure(cut, False))
    async with run(tmp_path) as ledger:  # goes on at page 2: the odd entry of page 1 does not come again
        await ledger.change(ledger.listings.add_page, "a", page(2), TASKS)
    with Reader(tmp_path) as reader:
        assert [failure.subject for failure in reader.failures()] == ["page 1, entry 3"]
        assert reader.counts().listings.entries == 3
    async with run(tmp_path) as ledger:  # which is listed again
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
    with Reader(tmp_path) as reader:
        assert list(reader.failures()) == []


async def test_a_listing_that_will_restart_counts_until_it_does(tmp_path: Path) -> None:
    odd = Unresolved("page 1, entry 3", "no id", FailureKind.PERMANENT)
    async with run(tmp_path) as ledger:
        await ledger.change(
            ledger.listings.add_page, "a", replace(page(1, 2, cursor="2"), unresolved=(odd,)), TASKS
        )
        refused = Failure("listing", "refused", FailureKind.PERMANENT, subject="a")
        await ledger.save(ListingFailure(refused, True))
    with Reader(tmp_path) as reader:
        assert reader.counts().listings == ListingTotals(
            entries=3, unique=2, duplicates=0, excluded=0, unresolved=1
        )
    async with run(tmp_path) as ledger:
        assert await ledger.read(ledger.listings.progress, "a") == ListingProgress()


async def test_listings_that_are_no_longer_selected_are_removed(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2"), TASKS)
        await ledger.save(
            ListingFailure(Failure("listing", "cut", FailureKind.TRANSIENT, subject="a"), False)
        )
        await ledger.change(ledger.listings.add_page, "b", page(1, 2), TASKS)
        await ledger.change(ledger.listings.keep, ["b"])
    with Reader(tmp_path) as reader:
        counts = reader.counts()
    assert (counts.listings_open, counts.failures, counts.items) == (0, 0, 2)
    assert counts.listings.entries == 2


async def test_temporary_failures_are_queued_again_and_their_attempts_add_up(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2, 3), TASKS)
        await ledger.save(result(1, placed(7), placed(8)))
        for file_id, failure_kind in ((7, FailureKind.TRANSIENT), (8, FailureKind.PERMANENT)):
            await ledger.save(FileResult(ItemKey(1), file_id, FileStatus.FAILED, "no", 6, failure_kind))
        for item_id, failure_kind in ((2, FailureKind.BLOCKED), (3, FailureKind.NOT_FOUND)):
            failure = Failure("stats", "no", failure_kind, ItemId(item_id), attempts=6)
            states = {"metadata": WorkState.DONE, "stats": WorkState.FAILED}
            await ledger.save(ItemResult(ItemKey(item_id), states, (failure,)))
        await ledger.save(
            ListingFailure(Failure("listing", "cut", FailureKind.TRANSIENT, subject="b"), False)
        )
        assert await ledger.begin_again((FailureKind.TRANSIENT, FailureKind.BLOCKED)) == RequeuedWork(1, 1, 1)
        assert [(pending.item_id, pending.tasks) for pending in await ledger.pending_items(0, 9)] == [
            (2, frozenset({"stats"}))
        ]
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [7]
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "no", 2, FailureKind.TRANSIENT))
    with Reader(tmp_path) as reader:
        attempts = {failure.file_id: failure.attempts for failure in reader.failures() if failure.file_id}
    assert attempts == {7: 8, 8: 6}


async def test_names_that_are_requested_again_cannot_get_lost(tmp_path: Path) -> None:
    """The run ends before it has asked again: the next one asks for all of them."""
    names = (
        Unresolved("10.1/x", "cut", FailureKind.TRANSIENT),
        Unresolved("10.1/y", "none", FailureKind.NOT_FOUND),
    )
    async with run(tmp_path, outcome="interrupted") as ledger:
        await ledger.change(ledger.listings.add_page, "a", Page((ItemRef(ItemId(1)),), None, names), TASKS)
        assert (await ledger.begin_again((FailureKind.TRANSIENT,))).names == ("10.1/x",)
        await ledger.change(ledger.listings.add_page, "a once more", Page((), None, names[:1]), TASKS)
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.keep, ["a"])
        assert not (await ledger.read(ledger.listings.progress, "a")).complete
        await ledger.change(
            ledger.listings.add_page,
            "a",
            Page((ItemRef(ItemId(1)), ItemRef(ItemId(2))), None, names[1:]),
            TASKS,
        )
    with Reader(tmp_path) as reader:
        assert [failure.subject for failure in reader.failures()] == ["10.1/y"]


async def test_a_name_that_is_requested_again_counts_once(tmp_path: Path) -> None:
    names = (
        Unresolved("10.1/x", "cut", FailureKind.TRANSIENT),
        Unresolved("10.1/y", "none", FailureKind.NOT_FOUND),
    )
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", Page((ItemRef(ItemId(1)),), None, names), TASKS)
        await ledger.begin_again((FailureKind.TRANSIENT,))
        await ledger.change(ledger.listings.add_page, "a once more", page(2), TASKS)
    with Reader(tmp_path) as reader:
        assert reader.counts().listings == ListingTotals(
            entries=3, unique=2, duplicates=0, excluded=0, unresolved=1
        )


@pytest.mark.parametrize("outcome", ["finished", "interrupted", None])
async def test_status_reports_the_last_harvest_also_after_other_jobs(
    outcome: str | None, tmp_path: Path
) -> None:
    async with run(tmp_path, outcome="interrupted"):
        pass
    verifying = Ledger(tmp_path)
    verifying.open("verify")
    if outcome is not None:
        await verifying.close(outcome)
    with Reader(tmp_path) as reader:
        last = reader.last_run()
        assert last is not None
        assert (last.state, last.by) == ("interrupted", None)
    if outcome is None:
        await verifying.close("finished")


@pytest.mark.parametrize("reads_first", [True, False])
async def test_a_ledger_of_the_first_version_is_brought_up_to_date(reads_first: bool, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / NAME)) as db, db:
        db.executescript(MIGRATIONS[0])
        db.executescript(
            """
            PRAGMA user_version = 1;
            INSERT INTO items VALUES (1, 0, NULL, NULL), (2, 0, NULL, NULL);
            INSERT INTO work VALUES (1, 'metadata', 'done', '', 0), (2, 'metadata', 'failed', 'cut', 6);
            INSERT INTO records VALUES (1, '{"id": 1}', NULL, '2026-01-01T00:00:00Z');
            INSERT INTO listings VALUES ('a', '{"page": 7}', 0, 6000);
            INSERT INTO mishaps VALUES ('resolve', '10.1/x', 'cut', 6), ('listing', 'a', 'cut', 6);
            INSERT INTO runs VALUES (1, 'harvest', '', '', 'interrupted', '', 1, 0);
            """
        )
    if reads_first:
        with Reader(tmp_path) as reader:
            counts = reader.counts()
            assert counts.outcomes.items == {"done": 1, "transient": 1}
            assert set(counts.listings) == {0}, "their counts went with them"
            assert [failure.subject for failure in reader.failures()] == ["a", ""]
    async with run(tmp_path, RunSpec(frozenset({"metadata"}), with_files=False)) as ledger:
        assert (
            await ledger.read(ledger.listings.progress, "a") == ListingProgress()
        )  # read again: it costs a request for a thousand items
        assert await ids(ledger) == [2]
    with Reader(tmp_path) as reader:
        assert reader.counts().outcomes.items == {"done": 1, "pending": 1}


def first_version(folder: Path) -> Path:
    """Make a ledger as the first version of this program left it, and return its path."""
    path = folder / NAME
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        number: int = db.execute("PRAGMA user_version").fetchone()[0]
        return number


def test_tables_are_not_migrated_under_an_active_older_run(tmp_path: Path) -> None:
    path = first_version(tmp_path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "INSERT INTO runs VALUES (1, 'harvest', '', NULL, NULL, ?, ?, ?)",
            (socket.gethostname(), os.getppid(), time.time()),
        )

    def beat() -> bool:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE runs SET beat = beat + 1")
        return True

    heartbeat = Heartbeat(beat, seconds=0.2)
    heartbeat.start()
    with pytest.raises(FolderLocked, match=f"process {os.getppid()} on .* is using this folder"):
        Ledger(tmp_path).open()
    with Reader(tmp_path) as reader:  # a copy of it
        last = reader.last_run()
        assert last is not None
        assert last.state == "running"
    heartbeat.stop()
    assert version(path) == 1
    with closing(sqlite3.connect(path)) as db:  # what the older one writes next
        db.execute("INSERT INTO listings VALUES ('a', NULL, 0, 5)")


@pytest.mark.parametrize("begins_at", [0, 1])
def test_two_processes_may_migrate_a_ledger_at_once(begins_at: int, tmp_path: Path) -> None:
    path = first_version(tmp_path) if begins_at else tmp_path / NAME
    with closing(connect(path, read_only=False, locks=True)) as first:
        first.execute("BEGIN IMMEDIATE")  # so that all of them have looked before one can begin
        with ThreadPoolExecutor(4) as pool:
            opened = [pool.submit(_migrated, path) for _ in range(4)]
            time.sleep(0.3)
            first.execute("ROLLBACK")
            assert [each.result() for each in opened] == [len(MIGRATIONS)] * 4


def _migrated(path: Path) -> int:
    with closing(connect(path, read_only=False, locks=True)) as db:
        migrate(db)
    return version(path)


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = first_version(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE finds (in_the_way)")
    with pytest.raises(sqlite3.OperationalError, match="finds already exists"):
        _migrated(path)
    assert version(path) == 1
    with closing(sqlite3.connect(path)) as db:
        columns = [row[1] for row in db.execute("PRAGMA table_info (items)")]
    assert columns == ["id", "private", "modified_date", "turn"]


def records_by_hand(folder: Path, number: int, size: int) -> None:
    """Make a harvest of this number of records of `size` bytes."""
    ledger = Ledger(folder)
    ledger.open()
    ledger._lease.release()
    with closing(sqlite3.connect(folder / NAME)) as db, db:
        db.execute("UPDATE runs SET ended = '', outcome = 'finished'")
        db.executemany(
            "INSERT INTO items (item_key, private) VALUES (?, 0)", [(each,) for each in range(number)]
        )
        db.execute(
            "INSERT INTO records (item_key, raw, file_list, fetched_at)"
            " SELECT item_key, '{\"x\":\"ö' || printf('%*c', ?, 'x') || '\"}', NULL, '' FROM items",
            (size - 10,),
        )


def test_large_records_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    size, number = 3_000_000, 10
    records_by_hand(tmp_path, number, size)
    tracemalloc.start()
    try:
        with Reader(tmp_path) as reader:
            seen = [(item.id, len(item.raw)) for item in reader.items()]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == [(each, size) for each in range(number)]
    assert peak < 6 * size


def test_a_reader_blocks_no_writer_between_two_records(tmp_path: Path) -> None:
    """Where there is no write-ahead log, a read transaction that stays open would."""
    records_by_hand(tmp_path, 5, 3_000_000)
    with closing(sqlite3.connect(tmp_path / NAME, timeout=0)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        with Reader(tmp_path) as reader:
            for item in reader.items():
                with db:
                    db.execute("UPDATE items SET seq = 1 WHERE item_key = ?", (item.id,))


async def test_counts_agree_while_a_run_goes_on(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
    new = iter(range(2, 1000))
    with closing(sqlite3.connect(tmp_path / NAME)) as db, Reader(tmp_path) as reader:

        def find_one_more(_: str) -> None:
            item_id = next(new)
            with db:
                db.execute("INSERT INTO items (item_key, private) VALUES (?, 0)", (item_id,))
                db.execute(
                    "INSERT INTO work (item_key, task, state) VALUES (?, 'metadata', 'pending')", (item_id,)
                )

        reader._db.set_trace_callback(find_one_more)
        counts = reader.counts()
        reader._db.set_trace_callback(None)
        assert counts.items == sum(counts.outcomes.items.values())
        assert counts.items == counts.work["metadata"]["pending"]
        assert next(new) > 5, "there was something to disagree about"
        assert reader.counts().items > counts.items


# -- what the triggers count, and what is counted row by row ------------------------------------------------


def counted_by_hand(folder: Path) -> dict[str, object]:
    """Count what a folder holds in the plainest way, from the rows themselves."""
    with closing(sqlite3.connect(folder / NAME)) as db:
        work: dict[str, dict[str, int]] = {}
        for task, state, number in db.execute("SELECT task, state, count(*) FROM work GROUP BY 1, 2"):
            work.setdefault(task, {})[state] = number
        files = {
            status: {"files": number, "bytes": size}
            for status, number, size in db.execute("SELECT status, count(*), sum(size) FROM files GROUP BY 1")
        }
        visits: dict[int, list[tuple[str, str, str]]] = {}
        for item_id, *visit in db.execute(
            "SELECT item_key, task, state, failure_kind FROM work ORDER BY 1, 2"
        ):
            visits.setdefault(item_id, []).append((visit[0], visit[1], visit[2]))
        outcomes = Counter(outcome_of(each) for each in visits.values())
        reasons = Counter(
            failure_kind
            if failure_kind and (status in ("failed", "withheld") or failure_kind == NOT_ASKED)
            else status
            for status, failure_kind in db.execute("SELECT status, failure_kind || reason FROM files")
        )
        (unique,) = db.execute(
            "SELECT count(DISTINCT item_key) FROM listing_items JOIN listings ON id = listing_id"
            " WHERE NOT old"
        ).fetchone()
        (listing_failures,) = db.execute("SELECT count(*) FROM listing_failures").fetchone()
        (failed,) = db.execute(
            "SELECT (SELECT count(*) FROM work WHERE state = 'failed')"
            " + (SELECT count(*) FROM files WHERE status = 'failed')"
        ).fetchone()
        withheld = dict(db.execute("SELECT withheld, count(*) FROM items WHERE withheld <> '' GROUP BY 1"))
        return {
            "items": db.execute("SELECT count(*) FROM items").fetchone()[0],
            "records": db.execute("SELECT count(*) FROM records").fetchone()[0],
            "work": work,
            "files": files,
            "outcomes": {"items": dict(outcomes), "files": dict(reasons), "withheld": withheld},
            "unique": unique,
            "failures": listing_failures + failed,
        }


def outcome_of(visits: list[tuple[str, str, str]]) -> str:
    states = [state for _, state, _ in visits]
    if "pending" in states:
        return "pending"
    if "failed" in states:
        return next(failure_kind for _, state, failure_kind in visits if state == "failed")
    return next((state for state in ("withdrawn", "excluded") if state in states), "done")


def assert_counts_are_exact(folder: Path) -> None:
    with Reader(folder) as reader:
        totals = reader.counts()
    counts = {**as_document(totals), "unique": totals.listings.unique}
    by_hand = counted_by_hand(folder)
    assert {key: counts[key] for key in by_hand} == by_hand


async def test_counts_are_exact_after_every_kind_of_change(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:

        async def check() -> None:
            await ledger.flush()
            assert_counts_are_exact(tmp_path)

        await ledger.change(
            ledger.listings.add_page,
            "a",
            page(1, 2, 3, 4, cursor="2", modified="2024-01-01T00:00:00Z"),
            TASKS,
        )
        await ledger.change(ledger.listings.add_page, "b", page(4, 5), TASKS)
        await check()
        withheld = replace(placed(9, FileStatus.WITHHELD), reason="embargo")
        await ledger.save(result(1, placed(7), placed(8, FileStatus.LINK), withheld))
        await ledger.save(ItemResult(ItemKey(2), ALL_DONE, (), (TaskResult(record(2, withheld="embargo")),)))
        await check()
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "cut", 6, FailureKind.BLOCKED))
        failure = Failure("stats", "no", FailureKind.TRANSIENT, ItemId(3), attempts=2)
        failed = {"metadata": WorkState.DONE, "stats": WorkState.FAILED}
        await ledger.save(ItemResult(ItemKey(3), failed, (failure,)))
        await check()
        assert await ledger.begin_again((FailureKind.TRANSIENT, FailureKind.BLOCKED))
        await check()
        await ledger.save(result(1, placed(7, name="replaced"), placed(10)))
        await ledger.save(FileResult(ItemKey(1), 10, FileStatus.DONE))
        await ledger.save(ItemResult(ItemKey(5), {"metadata": WorkState.WITHDRAWN, "stats": WorkState.DONE}))
        await check()
        await ledger.save(ItemResult(ItemKey(3), failed, (failure,)))
    rules = RunSpec(TASKS, with_files=True, refresh=frozenset({"stats"}), accepts=lambda *_: False)
    async with run(tmp_path, rules) as ledger:
        assert_counts_are_exact(tmp_path)
        await ledger.change(ledger.listings.add_page, "b", page(1, 5, modified="2025-01-01T00:00:00Z"), TASKS)
        assert_counts_are_exact(tmp_path)
        await ledger.change(ledger.listings.keep, ["b"])
        assert_counts_are_exact(tmp_path)
    assert_counts_are_exact(tmp_path)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 5))]
)
async def test_counts_are_exact_after_random_changes(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)

    def some_item() -> ItemResult:
        item_id, states, failures = chance.randint(1, 30), {}, []
        for task in sorted(TASKS):
            states[task] = chance.choice(list(WorkState))
            if states[task] is WorkState.FAILED:
                failures.append(Failure(task, "no", chance.choice(list(FailureKind)), ItemId(item_id)))
        some = [placed(chance.randint(1, 9), chance.choice(list(FileStatus))) for _ in range(3)]
        files = tuple({each.file.id: each for each in some}.values())
        found = (TaskResult(record(item_id), files),) if chance.random() < 0.7 else ()
        return ItemResult(ItemKey(item_id), states, tuple(failures), found)

    def some_file() -> FileResult:
        status = chance.choice([FileStatus.DONE, FileStatus.FAILED, FileStatus.PENDING])
        failure_kind = chance.choice(list(FailureKind)) if status is FileStatus.FAILED else ""
        return FileResult(ItemKey(chance.randint(1, 30)), chance.randint(1, 9), status, "no", 1, failure_kind)

    for _ in range(4):
        tasks = chance.choice([TASKS, frozenset({"metadata"})])
        opening = RunSpec(tasks, chance.random() < 0.7, frozenset(), lambda *_: chance.random() < 0.5)
        async with run(tmp_path, opening, chance.choice(["finished", "interrupted"])) as ledger:
            assert_counts_are_exact(tmp_path)
            for key in ("a", "b"):
                numbers = chance.choices(range(1, 31), k=20)
                await ledger.change(
                    ledger.listings.add_page, key, page(*numbers, cursor=chance.choice(["2", None])), TASKS
                )
            await ledger.change(ledger.listings.add_page, "c", page(*range(1, 31)), TASKS)
            for _ in range(60):
                await ledger.save(some_item())
                await ledger.save(some_file())
            await ledger.flush()
            assert_counts_are_exact(tmp_path)
            await ledger.begin_again(list(FailureKind)[:2])
            assert_counts_are_exact(tmp_path)


async def test_a_ledger_of_the_second_version_is_brought_up_to_date_and_counts_the_same(
    tmp_path: Path,
) -> None:
    with closing(sqlite3.connect(tmp_path / NAME)) as db, db:
        db.executescript(MIGRATIONS[0] + MIGRATIONS[1])
        db.executescript(
            """
            PRAGMA user_version = 2;
            INSERT INTO items (id, private, turn, withheld) VALUES (1, 0, NULL, 'embargo'), (2, 0, 4, ''),
                (3, 0, NULL, '');
            INSERT INTO work (item_id, task, state, verdict) VALUES (1, 'metadata', 'done', ''),
                (1, 'stats', 'withdrawn', ''), (2, 'metadata', 'owed', ''), (3, 'metadata', 'failed', 'gone');
            INSERT INTO records VALUES (1, '{"id": 1}', NULL, '2026-01-01T00:00:00Z');
            INSERT INTO files (item_id, file_id, name, folder, size, url, path, status, verdict, turn) VALUES
                (1, 7, 'a', '', 10, '', 'files/1/a', 'done', '', NULL),
                (1, 8, 'b', '', 20, '', 'files/1/b', 'pending', '', 9),
                (1, 9, 'c', '', 30, '', '', 'withheld', 'embargo', NULL);
            INSERT INTO listings (id, key, position, complete, entries, found, left_out) VALUES
                (1, 'a', '2', 0, 2, 2, 0), (2, 'b', NULL, 1, 2, 2, 0);
            INSERT INTO finds VALUES (1, 1), (1, 2), (2, 2), (2, 3);
            INSERT INTO runs VALUES (1, 'harvest', '', '', 'interrupted', '', 1, 0);
            """
        )
    assert_counts_are_exact(tmp_path)  # which has brought it up to date
    assert counted_by_hand(tmp_path) == {
        "items": 3,
        "records": 1,
        "work": {"metadata": {"done": 1, "failed": 1, "pending": 1}, "stats": {"withdrawn": 1}},
        "files": {
            status: {"files": 1, "bytes": size}
            for status, size in (("done", 10), ("pending", 20), ("withheld", 30))
        },
        "outcomes": {
            "items": {"not_found": 1, "pending": 1, "withdrawn": 1},
            "files": {"done": 1, "embargo": 1, "pending": 1},
            "withheld": {"embargo": 1},
        },
        "unique": 3,
        "failures": 1,
    }
    async with run(tmp_path, RunSpec(frozenset({"metadata"}), with_files=True)) as ledger:
        assert await ledger.read(ledger.listings.progress, "a") == ListingProgress(
            "2", complete=False, named=2, unique=2
        )
        assert await ids(ledger) == [2, 3]  # the one that was in line first
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [8]
        assert_counts_are_exact(tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("number", [2, 3])
async def test_absurd_sizes_stop_neither_a_migration_nor_a_run(number: int, tmp_path: Path) -> None:
    """Which adds them up as far as a number goes."""
    most = 2**63 - 1
    with closing(sqlite3.connect(tmp_path / NAME)) as db, db:
        db.executescript("".join(MIGRATIONS[:number]) + f"PRAGMA user_version = {number};")
        db.execute("INSERT INTO items (id, private) VALUES (1, 0)")
        db.execute("INSERT INTO records VALUES (1, '{\"id\": 1}', NULL, '')")
        for file_id, status in ((7, "done"), (8, "pending" if number == 3 else "done"), (9, "link")):
            db.execute(
                "INSERT INTO files (item_id, file_id, name, folder, size, url, path, status)"
                " VALUES (1, ?, '', '', ?, '', ?, ?)",
                (file_id, most, f"files/1/{file_id}", status),
            )
    with Reader(tmp_path) as reader:
        assert reader.counts().files["done"] == FileTotals(4 - number, most)
        assert [(item.files, item.bytes) for item in reader.items()] == [(3, most)]
    only = frozenset({"metadata"})
    async with run(tmp_path, RunSpec(only, with_files=True)) as ledger:
        huge = replace(placed(5).file, size=most)
        for status in (FileStatus.PENDING, FileStatus.DONE):
            files = tuple(PlannedFile(replace(huge, id=n), f"files/1/{n}", status) for n in (5, 6, 8))
            await ledger.save(ItemResult(ItemKey(1), {}, (), (TaskResult(record(1), files),)))
            for file_id in (5, 6, 8):
                await ledger.save(FileResult(ItemKey(1), file_id, FileStatus.DONE))
        await ledger.save(result(1, placed(5)))
    with Reader(tmp_path) as reader:
        found = {status: of.files for status, of in reader.counts().files.items()}
        assert found == {"pending": 1}


async def test_queued_work_keeps_its_place_in_a_run_without_that_task(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="interrupted") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(3, 1, 2), TASKS)
        await ledger.save(ItemResult(ItemKey(1), {"metadata": WorkState.DONE, "stats": WorkState.PENDING}))
        await ledger.save(result(3, placed(7), placed(6, name="y")))
    only = frozenset({"metadata"})
    async with run(tmp_path, RunSpec(only, with_files=False), outcome="interrupted") as ledger:
        assert await ids(ledger) == [2]
        assert await ledger.read(ledger.queue.files, 0, 9) == []
        await ledger.save(result(3, placed(7), placed(6, name="y")))  # what it owes is still requested
    async with run(tmp_path) as ledger:
        assert await ids(ledger) == [2, 1]
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [7, 6]


async def test_the_last_result_of_an_item_or_a_file_wins_also_within_a_batch(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1, placed(7), placed(8, name="y")))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "cut", 3, FailureKind.TRANSIENT))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "cut again", 2, FailureKind.TRANSIENT))
        await ledger.save(result(2, placed(9)))
        await ledger.save(FileResult(ItemKey(2), 9, FileStatus.DONE))
        await ledger.save(result(2, placed(9, name="another place")))
        await ledger.flush()
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [8, 9]
    with Reader(tmp_path) as reader:
        assert [(each.file_id, each.error, each.attempts) for each in reader.failures()] == [
            (7, "cut again", 5)
        ]


async def test_no_table_is_scanned_to_count_or_to_start(tmp_path: Path) -> None:
    """With a million items each walk takes seconds; that of the records, at five kilobytes each, minutes."""
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1, placed(7)))
    statements: list[str] = []
    ledger = Ledger(tmp_path)
    ledger.open()
    ledger._lease.db.set_trace_callback(statements.append)
    await ledger.begin(OPENING)
    await ledger.change(ledger.listings.keep, ["a"])
    await ledger.change(ledger.listings.add_page, "a", page(1, 2, 3), TASKS)
    await ledger.save(result(1, placed(7)))
    await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE))
    await ledger.flush()
    with Reader(tmp_path) as reader:
        reader._db.set_trace_callback(statements.append)
        reader.counts()
        reader._db.set_trace_callback(None)
    ledger._lease.db.set_trace_callback(None)
    plans = {
        (step, statement)
        for statement in statements
        if statement.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}
        for *_, step in ledger._lease.db.execute(f"EXPLAIN QUERY PLAN {statement}")
    }
    await ledger.close("finished")
    assert len(plans) > 20
    walked = [
        plan
        for plan in plans
        if plan[0]
        in {f"SCAN {table}" for table in ("items", "work", "records", "stats", "files", "listing_items")}
    ]
    assert walked == []


async def test_a_batch_of_more_than_one_statement_takes_is_written_whole(tmp_path: Path) -> None:
    numbers = range(1, 2 * bulk.ROWS_AT_ONCE + 51)
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(*numbers), TASKS)
        assert await ids(ledger) == list(numbers)
        for item_id in numbers:
            await ledger.save(result(item_id, placed(item_id)))
        long = b'{"x":"%s"}' % (b"x" * (bulk.BYTES_AT_ONCE // 2))
        large = [Record(record(n).article, long) for n in (1, 2, 3)]
        for each in large:
            await ledger.save(ItemResult(ItemKey(each.article.id), {}, (), (TaskResult(each),)))
    assert_counts_are_exact(tmp_path)
    with Reader(tmp_path) as reader:
        raws = {item.id: item.raw for item in reader.items()}
        assert reader.counts().files == {"pending": FileTotals(len(numbers), 10 * len(numbers))}
    assert raws == {n: record(n).raw for n in numbers} | {each.article.id: each.raw for each in large}


async def test_a_listing_that_failed_on_its_first_page_stays_a_failure(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="finished") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.change(ledger.listings.add_page, "b", page(3), TASKS)
    async with run(tmp_path) as ledger:
        await ledger.save(
            ListingFailure(Failure("listing", "gone", FailureKind.NOT_FOUND, subject="a"), True)
        )
        await ledger.change(ledger.listings.add_page, "b", page(3), TASKS)
        assert await ledger.change(ledger.listings.requeue_vanished) == [], "a could not be read"
    with Reader(tmp_path) as reader:
        assert [failure.subject for failure in reader.failures()] == ["a"]


async def test_a_listing_that_an_earlier_harvest_left_incomplete_restarts(tmp_path: Path) -> None:
    """The last one's goes on; one from before was left for a run of other sources."""
    async with run(tmp_path, outcome="finished") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, cursor="2"), TASKS)
    async with run(tmp_path, outcome="finished") as ledger:
        assert (await ledger.read(ledger.listings.progress, "a")).cursor == "2"
        await ledger.change(ledger.listings.add_page, "b", page(2), TASKS)
    async with run(tmp_path) as ledger:
        assert (await ledger.read(ledger.listings.progress, "a")).cursor is None


async def test_incremental_listings_are_merged_into_the_complete_ones(tmp_path: Path) -> None:
    async with run(tmp_path, outcome="finished") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.change(ledger.listings.add_page, "b", page(2, 3), TASKS)
    async with run(tmp_path, RunSpec(TASKS, with_files=True, quick=True)) as ledger:
        await ledger.change(ledger.listings.add_page, "a since", page(2, 4), TASKS)
        await ledger.change(ledger.listings.add_page, "b since", page(5, cursor="2"), TASKS)
        await ledger.change(ledger.listings.merge, {"a since": "a", "b since": "b"})
        assert (await ledger.read(ledger.listings.progress, "a")).unique == 3
        assert (await ledger.read(ledger.listings.progress, "b")).unique == 2, (
            "the other one was not read to its end"
        )
    with Reader(tmp_path) as reader:
        counts = reader.counts().listings
        assert (counts.entries, counts.unique, counts.duplicates) == (7, 5, 2)


async def test_two_changes_of_an_item_in_one_run_are_merged(tmp_path: Path) -> None:
    def seen(item_id: int, what: Changed, *fields: str) -> ItemResult:
        change = Change(what, fields, tuple(f"changed: {field}.csv" for field in fields))
        return ItemResult(ItemKey(item_id), ALL_DONE, (), (TaskResult(change=change),))

    async with run(tmp_path, outcome="finished") as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2, 3), TASKS)
        for result_ in (
            seen(1, Changed.CHANGED, "title"),
            seen(1, Changed.CHANGED, "doi"),
            seen(2, Changed.WITHDRAWN),
            seen(2, Changed.RETURNED, "title"),
            seen(3, Changed.NEW),
            seen(3, Changed.WITHDRAWN),
        ):
            await ledger.save(result_)
            await ledger.flush()
    with Reader(tmp_path) as reader:
        assert [(row.item_id, row.change, row.fields) for row in reader.changes()] == [
            (1, "changed", "doi; title"),
            (2, "changed", "title"),
            (3, "withdrawn", ""),
        ]
        assert next(reader.changes()).files == "changed: title.csv; changed: doi.csv"


async def test_a_fetched_file_that_is_no_longer_listed_is_an_orphan(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7)))
        await ledger.flush()
        (in_hand,) = await ledger.read(ledger.queue.files, 0, 9)
        await ledger.save(result(1, placed(8, name="y")))
        await ledger.flush()
        done = FileResult(ItemKey(1), 7, FileStatus.DONE, seq=in_hand.seq, path=in_hand.path, size=10)
        await ledger.save(done)
    with Reader(tmp_path) as reader:
        assert [path for path, *_ in reader.removable()] == [in_hand.path]


async def test_a_failed_file_releases_its_quota(tmp_path: Path) -> None:
    limited = RunSpec(TASKS, with_files=True, max_total=15)
    async with run(tmp_path, limited) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7), placed(8, name="y")))
        await ledger.flush()
        (pending,) = await ledger.read(ledger.queue.files, 0, 9)
        assert pending.file.id == 7
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.FAILED, "no", 6, FailureKind.BLOCKED))
        await ledger.flush()
        await ledger.save(result(1, placed(7, FileStatus.SKIPPED), placed(9, name="z")))
        await ledger.flush()
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [9]


async def test_distributing_the_quota_takes_constant_time_a_file(tmp_path: Path) -> None:
    few, many = [await steps_to_share(tmp_path / str(number), number) for number in (500, 4000)]
    assert 250 < few < many < 10 * few


async def steps_to_share(folder: Path, number: int) -> int:
    """Return how many hundreds of steps SQLite takes to share the room among this number of files."""
    limited = RunSpec(TASKS, with_files=True, max_total=100)
    folder.mkdir()
    async with run(folder, limited) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
    with closing(sqlite3.connect(folder / NAME)) as db, db:
        db.executemany(
            "INSERT INTO files (item_key, file_id, name, folder, size, url, path, status)"
            " VALUES (1, ?, 'x', '', 10, '', ?, 'pending')",
            [(each, f"files/1/{each}") for each in range(number)],
        )
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    ledger = Ledger(folder)
    ledger.open()
    ledger.queue._db.set_progress_handler(count, 100)
    try:
        await ledger.begin(limited)
        assert len(await ledger.read(ledger.queue.files, 0, 100)) == 10
    finally:
        await ledger.close("finished")
    return steps


async def test_a_retried_file_gets_no_quota_of_other_files(tmp_path: Path) -> None:
    limited = RunSpec(TASKS, with_files=True, max_total=20)
    async with run(tmp_path, limited) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1, placed(7), placed(8, name="y")))
        await ledger.flush()
        for pending in await ledger.read(ledger.queue.files, 0, 9):
            status = FileStatus.FAILED if pending.file.id == 7 else FileStatus.DONE
            await ledger.save(FileResult(ItemKey(1), pending.file.id, status, "no", 1, FailureKind.TRANSIENT))
        await ledger.flush()
        await ledger.save(result(2, placed(9, name="z")))  # has the room that the failed one gave back
        await ledger.flush()
        assert (await ledger.begin_again((FailureKind.TRANSIENT,))).files == 0
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [9]


async def test_a_failure_releases_no_quota_of_a_file_that_is_pending_again(tmp_path: Path) -> None:
    limited = RunSpec(TASKS, with_files=True, max_total=15)
    async with run(tmp_path, limited) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1, 2), TASKS)
        await ledger.save(result(1, placed(7)))
        await ledger.flush()
        (in_hand,) = await ledger.read(ledger.queue.files, 0, 9)
        await ledger.save(result(1, placed(7, name="renamed")))
        await ledger.flush()
        failed = FileResult(ItemKey(1), 7, FileStatus.FAILED, "no", 1, FailureKind.TRANSIENT, seq=in_hand.seq)
        await ledger.save(failed)
        await ledger.save(result(2, placed(8, name="y")))
        await ledger.flush()
        assert [pending.file.id for pending in await ledger.read(ledger.queue.files, 0, 9)] == [7]


async def test_a_file_fetched_to_a_path_no_longer_wanted_is_an_orphan(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7)))
        await ledger.flush()
        (in_hand,) = await ledger.read(ledger.queue.files, 0, 9)
        await ledger.save(result(1, replace(placed(7, FileStatus.WITHHELD), reason="embargo")))
        await ledger.flush()
        done = FileResult(ItemKey(1), 7, FileStatus.DONE, seq=in_hand.seq, path=in_hand.path, size=10)
        await ledger.save(done)
    with Reader(tmp_path) as reader:
        assert [path for path, *_ in reader.removable()] == [in_hand.path]


async def test_corrupt_files_of_a_withdrawn_item_are_not_pending(tmp_path: Path) -> None:
    async with run(tmp_path) as ledger:
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(result(1, placed(7)))
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.DONE))
        await ledger.flush()
        gone = {"metadata": WorkState.WITHDRAWN, "stats": WorkState.DONE}
        await ledger.save(ItemResult(ItemKey(1), gone))
        await ledger.flush()
        await ledger.save(FileResult(ItemKey(1), 7, FileStatus.PENDING))
        await ledger.flush()
        assert await ledger.read(ledger.queue.files, 0, 9) == []
    with Reader(tmp_path) as reader:
        assert reader.counts().outcomes.files == {"withdrawn": 1}


async def test_a_mistyped_id_is_removed_when_nothing_names_it(tmp_path: Path) -> None:
    failure = Failure("metadata", "not found", FailureKind.NOT_FOUND, ItemId(9), attempts=1)
    failed = {"metadata": WorkState.FAILED, "stats": WorkState.DONE}
    async with run(tmp_path, outcome="finished") as ledger:
        await ledger.change(ledger.listings.add_page, "typed", page(9), TASKS)
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(ItemResult(ItemKey(9), failed, (failure,)))
    async with run(tmp_path, outcome="finished") as ledger:
        assert [pending.item_id for pending in await ledger.pending_items(0, 9)] == [1, 9], (
            "it is named as yet"
        )
        await ledger.change(ledger.listings.keep, ["a"])
        await ledger.change(ledger.listings.add_page, "a", page(1), TASKS)
        await ledger.save(ItemResult(ItemKey(9), failed, (failure,)))
    async with run(tmp_path) as ledger:
        assert [pending.item_id for pending in await ledger.pending_items(0, 9)] == [1]
    assert_counts_are_exact(tmp_path)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, "downloads,views", (False, "downloads,views")),
        (None, "shares", (True, "downloads,shares,views")),
        ("downloads,shares,views", "views", (False, "downloads,shares,views")),
        ("views", "shares,views", (True, "shares,views")),
    ],
)
def test_a_part_of_the_stored_parameters_is_no_change(
    before: str | None, now: str, expected: tuple[bool, str]
) -> None:
    assert TaskParams("stats", now, usual="downloads,views", adds_up=True).after(before) == expected


def test_another_span_is_a_change_of_parameters() -> None:
    assert TaskParams("timeline", "by day").after("by month") == (True, "by day")
    assert TaskParams("timeline", "by day").after("by day") == (False, "by day")
    assert TaskParams("timeline", "by day").after(None) == (False, "by day"), "there was no such task"
    assert TaskParams("metadata", "all", usual="latest").after(None) == (True, "all")
