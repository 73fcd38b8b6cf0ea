"""
Group commit: the ledger for the run that writes it.

It has one connection, used by one thread at a time, off the event loop. Results are collected here and
written together every `BATCH_SECONDS` or `BATCH_ROWS`, whichever comes first, so that one commit serves many
workers. Data that belongs together (a record, its pending files, the state of its tasks) is one entry of a
batch, and a batch is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from msgspec.structs import replace

from harvester.errors import HarvestError, UsageError
from harvester.ledger.batch import Entry, split
from harvester.ledger.database import lease_row
from harvester.ledger.database.connection import NAME, database_errors
from harvester.ledger.database.heartbeat import USUAL_TIMING, Timing
from harvester.ledger.database.lease import DID_NOTHING, Lease
from harvester.ledger.database.state_copy import StateCopy
from harvester.ledger.database.waiting import when_free
from harvester.ledger.messages import (
    RECORD,
    ItemResult,
    RequeuedWork,
    RunSpec,
)
from harvester.ledger.tables.files import FileTable
from harvester.ledger.tables.forecast import Forecast
from harvester.ledger.tables.history import Histories
from harvester.ledger.tables.items import ItemTable
from harvester.ledger.tables.listings import ListingTable
from harvester.ledger.tables.owners import Owners
from harvester.ledger.tables.queue import WorkQueue
from harvester.ledger.tables.renames import RenameJournal
from harvester.ledger.tables.withdrawals import Withdrawals
from harvester.models import ItemKey, PendingItem
from harvester.states import WorkState
from harvester.system.concurrency import background_tasks
from harvester.system.failpoints import failpoint
from harvester.system.paths import is_there

T = TypeVar("T")
Args = TypeVarTuple("Args")

BATCH_SECONDS = 0.2
BATCH_ROWS = 1000
_BYTES_OF_A_ROW = 10_000
"""This many bytes of a record count as one row, so that few large records wait in memory."""


@dataclass
class RunEnd:
    """
    How a run ended.

    ``outcome``: "finished", "interrupted" or "stopped". ``is_clean``: there were no errors.
    """

    outcome: str
    is_clean: bool = False


@dataclass(eq=False)
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    rows: int = 0


class Ledger:
    """
    The ledger of one output folder, held by one run.

    Its tables are used in one thread: call their methods through `read` and `change`.

    ``changed``: an event that the next change sets; take it before you read, then wait for it.
    ``drawback``: what the file system does not support, "" for nothing.
    """

    queue: WorkQueue
    items: ItemTable
    files: FileTable
    listings: ListingTable
    forecast: Forecast
    histories: Histories
    rename_journal: RenameJournal
    owners: Owners
    withdrawals: Withdrawals

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        batch_seconds: float = BATCH_SECONDS,
        timing: Timing = USUAL_TIMING,
    ) -> None:
        self.path = folder / NAME
        self.drawback = ""
        self.changed = anyio.Event()
        self._clock = clock
        self._batch_seconds = batch_seconds
        self._thread = CapacityLimiter(1)
        self._batch = _Batch()
        self._writing: list[_Batch] = []
        self._waiting = anyio.Event()
        self._timing = timing
        self._lease: Lease | StateCopy

    # -- opening and closing ------------------------------------------------------------------

    @asynccontextmanager
    async def hold(self, job: str = "harvest", *, if_cancelled: str = "stopped") -> AsyncIterator[RunEnd]:
        """
        Hold the folder during the block, write its results, and record its outcome at the end.

        The outcome is "stopped" after an error, `if_cancelled` after a cancellation, and else the one that
        the block sets. After a UsageError nothing is recorded, as the run did nothing. A run that is
        cancelled while it watches another one does not take the folder. Raises what `open` raises.
        """
        await to_thread.run_sync(partial(self.open, job, checkpoint=from_thread.check_cancelled))
        end, said = RunEnd("stopped"), RunEnd("finished")
        try:
            async with background_tasks(self.keep):
                yield said
            end = said
        except anyio.get_cancelled_exc_class():
            end.outcome = if_cancelled
            raise
        except UsageError:
            end.outcome = DID_NOTHING
            raise
        finally:
            await self.close(end.outcome, clean=end.is_clean)

    def open(self, job: str = "harvest", *, checkpoint: Callable[[], None] = lambda: None) -> None:
        """
        Open or create the database and acquire the lease on the folder for this run; `job`: its kind.

        If the last run has no recorded end and may still be active, its heartbeat is watched.
        `checkpoint`: called meanwhile; it may raise to cancel.

        Raises:
            FolderLocked: another run is active here.
            UsageError: a newer version wrote it.
            StorageError: it is damaged or cannot be written.
        """
        acquire = partial(
            Lease, self.path, job=job, clock=self._clock, timing=self._timing, checkpoint=checkpoint
        )
        self._use(when_free(acquire, seconds=self._timing.wait_seconds, checkpoint=checkpoint))

    @asynccontextmanager
    async def copied(self) -> AsyncIterator[None]:
        """Use a copy of the ledger's state during the block; the ledger, if there is one, is only read."""
        await to_thread.run_sync(lambda: self._use(StateCopy(self.path, self._clock)))
        try:
            yield
        finally:
            await to_thread.run_sync(self._lease.release)

    def _use(self, lease: Lease | StateCopy) -> None:
        self._lease = lease
        self.drawback = lease.drawback
        db, run_id = lease.db, lease.run_id
        self.queue = WorkQueue(db)
        self.files = FileTable(db, self.queue, partial(is_there, self.path.parent))
        self.items = ItemTable(db, self.queue, self.files, self._clock, run_id=run_id)
        self.listings = ListingTable(db, self.queue, run_id=run_id, now=self.now())
        self.forecast = Forecast(db, self.queue)
        self.histories = Histories(db, self.read)
        self.rename_journal = RenameJournal(db, self.items.note_renamed)
        self.owners = Owners(db, self.path.parent)
        self.withdrawals = Withdrawals(db, self.items.withdraw)

    async def close(self, outcome: str, *, clean: bool = False) -> None:
        """Write the rest, record the outcome (`clean`: without errors), and release the lease."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
                await self.read(self._end_run, outcome, clean)
            except HarvestError:
                # On a full disk a large batch does not fit, but this row may: the log has its room.
                with suppress(HarvestError):
                    await self.read(self._end_run, "stopped", False)
                raise
            finally:
                await to_thread.run_sync(self._lease.release)

    def _end_run(self, outcome: str, clean: bool) -> None:
        with self._lease.transaction():
            if clean:
                self.listings.advance_watermarks()
            self._lease.end(outcome)

    # -- batches -------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Write collected results repeatedly, and renew the heartbeat; run it as a background task."""
        while True:
            with anyio.move_on_after(self._timing.watch_seconds / 3):
                await self._waiting.wait()
                await anyio.sleep(self._batch_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Write all results collected so far; they are durable when this returns."""
        batch, self._batch = self._batch, _Batch()
        if self._waiting.is_set():  # else `keep` still waits for this event
            self._waiting = anyio.Event()
        self._writing.append(batch)
        with anyio.CancelScope(shield=True):  # collected results must not be lost
            await self.read(self._write, batch)
        self._writing.remove(batch)
        if batch.entries:
            self.notify()

    def notify(self) -> None:
        """Set `changed`, which wakes all tasks that wait for it."""
        self.changed.set()
        self.changed = anyio.Event()

    # -- the thread of the ledger -----------------------------------------------------------------

    async def read(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Return `work(*args)`, a method of a table; collected results may not be written yet."""

        def guarded() -> T:
            with database_errors(self.path):
                return work(*args)

        return await to_thread.run_sync(guarded, limiter=self._thread)

    async def change(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Return `work(*args)`, run in a transaction after all collected results; it is durable then."""

        def at_once() -> T:
            with self._lease.transaction():
                return work(*args)

        if self._batch.entries:
            await self.flush()
        result = await self.read(at_once)
        self.notify()
        return result

    async def save(self, entry: Entry) -> None:
        """Collect a result; it is written with the next batch."""
        self._batch.entries.append(entry)
        self._batch.rows += _rows(entry)
        self._waiting.set()
        if self._batch.rows >= BATCH_ROWS:
            await self.flush()

    def _write(self, batch: _Batch) -> None:
        with self._lease.transaction():
            for step in split(batch.entries):
                self.items.save_items(list(step.items.values()))
                self.files.save_fetched(list(step.files.values()))
                for failed in step.listing_failures:
                    self.listings.add_failure(failed)
            failpoint("ledger: before a commit")
        failpoint("ledger: after a commit")

    async def confirm(self) -> None:
        """Check that this run still holds the folder; raise `FolderLocked` if another run does."""
        await self.read(self._lease.confirm)

    def now(self) -> str:
        """Return the time by the ledger's clock, as ISO 8601."""
        return lease_row.iso(self._clock())

    # -- operations on several tables -------------------------------------------------------------------

    async def begin(self, spec: RunSpec) -> tuple[int, int]:
        """
        Queue all pending work; return the numbers of items and files in the queue.

        Listings restart after a finished run, and continue after any other. Failed work is pending again. New
        tasks and file rules apply to items and files that are already here.
        """
        return await self.change(self._begin, spec)

    def _begin(self, spec: RunSpec) -> tuple[int, int]:
        self.listings.forget_gone()
        self.listings.begin(quick=spec.quick)
        if RECORD in spec.item_tasks:
            self.queue.requeue_due(self.now())
        for task, seconds in spec.max_ages.items():
            self.queue.requeue_old(task, lease_row.iso(self._clock() - seconds))
        return self.queue.enqueue_all(spec)

    async def begin_again(self, failure_kinds: Sequence[str]) -> RequeuedWork:
        """Queue failures of these kinds again; listings continue at their cursors."""
        return await self.change(self._begin_again, failure_kinds)

    def _begin_again(self, failure_kinds: Sequence[str]) -> RequeuedWork:
        listings, names = self.listings.forget_failures(failure_kinds)
        return RequeuedWork(listings, *self.queue.requeue_failed(failure_kinds), names)

    async def pending_items(self, after: int, most: int) -> list[PendingItem]:
        """Return the next items in the queue after the seq `after`, with their pending tasks."""
        items = await self.read(self.queue.items, after, most)
        # Taken first: later writes are not in this answer, and set the event again.
        done = _done([entry for batch in (*self._writing, self._batch) for entry in batch.entries])
        return [replace(item, tasks=item.tasks - done.get(item.item_key, set())) for item in items]


def _rows(entry: Entry) -> int:
    """Return the approximate number of rows that an entry changes."""
    if not isinstance(entry, ItemResult):
        return 1
    rows = 3
    for found in entry.findings:
        rows += len(found.files or ()) + (len(found.usage.counts) if found.usage else 0)
        rows += len(found.record.raw) // _BYTES_OF_A_ROW if found.record else 0
    return rows


def _done(entries: Sequence[Entry]) -> dict[ItemKey, set[str]]:
    """Return the finished tasks of each item, except metadata, as its record may have been replaced since."""
    done: dict[ItemKey, set[str]] = {}
    for entry in entries:
        if isinstance(entry, ItemResult):
            tasks = {task for task, state in entry.states.items() if state is WorkState.DONE}
            done.setdefault(entry.item_key, set()).update(tasks - {RECORD})
    return done
