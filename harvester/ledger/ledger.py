"""
Group commit: the ledger as a run writes it.

One connection, used by one thread at a time, off the event loop. Results are collected here and
written together every `BATCH_SECONDS` or `BATCH_ROWS`, whichever comes first, so that one commit
serves many workers. What belongs together (a record, the files it makes owed, the state of its
tasks) is one entry of a batch, and a batch is one transaction: it is there whole or not at all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from msgspec.structs import replace

from harvester.concurrency import background_tasks
from harvester.ledger.batch import Entry, split
from harvester.ledger.database import lease_row
from harvester.ledger.database.connection import NAME, database_errors
from harvester.ledger.database.heartbeat import USUAL_TIMING, Timing
from harvester.ledger.database.lease import Lease
from harvester.ledger.database.state_copy import StateCopy
from harvester.ledger.messages import (
    RECORD,
    AddedItems,
    FileResult,
    ItemResult,
    ListingFailure,
    ListingProgress,
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
from harvester.models import Failure, ItemId, ItemKey, Page, PendingFile, PendingItem, WorkState
from harvester.system.paths import is_there

T = TypeVar("T")

BATCH_SECONDS = 0.2
BATCH_ROWS = 1000
_BYTES_OF_A_ROW = 10_000
"""A record of as many counts for one more: large ones must not wait in memory together."""


@dataclass
class RunEnd:
    """
    How a run ended.

    ``outcome``: "finished", "interrupted" or "stopped". ``is_clean``: it met no error.
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

    ``changed`` is an event that the next change sets; take it before you look, then wait for it.
    ``forecast``: what a plan says of all that is pending.
    ``drawback`` says what the file system cannot do, "" where it can do all.
    ``rename_journal``: renames of files that are planned or under way.
    ``histories``: what is here of items. ``owners``: whose private items these are.
    ``withdrawals``: what is suspected to be withdrawn.
    """

    forecast: Forecast
    rename_journal: RenameJournal
    histories: Histories
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
        self._db: sqlite3.Connection
        self._queue: WorkQueue
        self._files: FileTable
        self._entries: ItemTable
        self._listings: ListingTable

    # -- opening and closing ------------------------------------------------------------------

    @asynccontextmanager
    async def hold(self, job: str = "harvest", *, if_cancelled: str = "stopped") -> AsyncIterator[RunEnd]:
        """
        Hold the folder for the block: write what it reports, and record at its end how it ended.

        An error means "stopped", a cancellation `if_cancelled`; else what the block says counts. A run that
        is cancelled while it still watches another one takes nothing. Raises what `open` raises.
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
        finally:
            await self.close(end.outcome, clean=end.is_clean)

    def open(self, job: str = "harvest", *, checkpoint: Callable[[], None] = lambda: None) -> None:
        """
        Open or make the database and claim the folder for this run; `job` says what it does.

        Where the last run has not said that it ended, and may still be at work, its heartbeat is watched;
        `checkpoint` is called meanwhile, so that this can be given up: it raises.

        Raises:
            FolderLocked: another run is at work here.
            UsageError: a newer version wrote it.
            StorageError: it is damaged or cannot be written.
        """
        self._use(Lease(self.path, job=job, clock=self._clock, timing=self._timing, checkpoint=checkpoint))

    @asynccontextmanager
    async def copied(self) -> AsyncIterator[None]:
        """Let the block work on a copy of the ledger's state; the ledger, if there is one, is only read."""
        await to_thread.run_sync(lambda: self._use(StateCopy(self.path, self._clock)))
        try:
            yield
        finally:
            await to_thread.run_sync(self._lease.let_go)

    def _use(self, lease: Lease | StateCopy) -> None:
        self._lease = lease
        self._db, self.drawback = self._lease.db, self._lease.drawback
        run_id = self._lease.run_id
        self._queue = WorkQueue(self._db)
        self._files = FileTable(self._db, self._queue, partial(is_there, self.path.parent))
        self._entries = ItemTable(self._db, self._queue, self._files, self._clock, run_id=run_id)
        self.forecast = Forecast(self._db, self._queue)
        self.histories = Histories(self._db, self.read)
        self.owners = Owners(self._db, self._change, self.path.parent)
        self.rename_journal = RenameJournal(self._db, self._change, self._entries.note_renamed)
        self.withdrawals = Withdrawals(self._db, self._change, self._entries.withdraw)
        now = lease_row.iso(self._clock())
        self._listings = ListingTable(self._db, self._queue, run_id=run_id, now=now)

    async def close(self, outcome: str, *, clean: bool = False) -> None:
        """Write what is left, record how the run ended, `clean`: without an error, and let the folder go."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
                await self.read(self._end_run, outcome, clean)
            finally:
                await to_thread.run_sync(self._lease.let_go)

    def _end_run(self, outcome: str, clean: bool) -> None:
        with self._lease.transaction():
            if clean:
                self._listings.advance_watermarks()
            self._lease.end(outcome)

    # -- the plumbing of batches ----------------------------------------------------------------

    async def keep(self) -> None:
        """Write what was collected, again and again, and show a sign of life; run it as a task."""
        while True:
            with anyio.move_on_after(self._timing.watch_seconds / 3):
                await self._waiting.wait()
                await anyio.sleep(self._batch_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Write what was collected so far; when this returns it is on the disk."""
        batch, self._batch = self._batch, _Batch()
        if self._waiting.is_set():  # else `keep` is still waiting for this very event
            self._waiting = anyio.Event()
        self._writing.append(batch)
        with anyio.CancelScope(shield=True):  # what was collected must not be lost on the way
            await self.read(self._write, batch)
        self._writing.remove(batch)
        if batch.entries:
            self.notify()

    def notify(self) -> None:
        """Wake those who wait for `changed`."""
        self.changed.set()
        self.changed = anyio.Event()

    async def _collect(self, entry: Entry, rows: int = 1) -> None:
        self._batch.entries.append(entry)
        self._batch.rows += rows
        self._waiting.set()
        if self._batch.rows >= BATCH_ROWS:
            await self.flush()

    async def read(self, work: Callable[..., T], *args: Any) -> T:
        """Return `work(*args)`, done in the ledger's thread; what was collected may be unwritten."""

        def guarded() -> T:
            with database_errors(self.path):
                return work(*args)

        return await to_thread.run_sync(guarded, limiter=self._thread)

    def _write(self, batch: _Batch) -> None:
        with self._lease.transaction():
            for step in split(batch.entries):
                self._entries.save_items(list(step.items.values()))
                self._files.save_fetched(list(step.files.values()))
                for failed in step.listing_failures:
                    self._listings.add_listing_failure(failed)

    async def _change(self, work: Callable[..., T], *args: Any) -> T:
        def at_once() -> T:
            with self._lease.transaction():
                return work(*args)

        return await self.read(at_once)

    async def confirm(self) -> None:
        """Find out that this run still holds the folder; raises `FolderLocked` where another one does."""
        await self.read(self._lease.confirm)

    def now(self) -> str:
        """Tell the time by the ledger's clock, as ISO 8601."""
        return lease_row.iso(self._clock())

    # -- what a run asks and tells --------------------------------------------------------------

    async def begin(self, run_spec: RunSpec) -> tuple[int, int]:
        """
        Put everything that is owed in line; return the numbers of items and files in it.

        Listings begin anew after a run that finished and go on after one that did not; what
        failed is owed again; tasks and file rules that are new apply to what is already here.
        """
        return await self.read(self._begin, run_spec)

    def _begin(self, run_spec: RunSpec) -> tuple[int, int]:
        with self._lease.transaction():
            self._listings.forget_gone()
            self._listings.begin(quick=run_spec.quick)
            if "metadata" in run_spec.item_tasks:
                self._queue.requeue_due(lease_row.iso(self._clock()))
            return self._queue.enqueue_all(run_spec)

    async def begin_again(self, failure_kinds: Sequence[str]) -> RequeuedWork:
        """Put what failed with one of these kinds in line once more; listings go on where they were."""
        await self.flush()
        return await self.read(self._begin_again, failure_kinds)

    def _begin_again(self, failure_kinds: Sequence[str]) -> RequeuedWork:
        with self._lease.transaction():
            which = f"failure_kind IN ({', '.join('?' * len(failure_kinds))})"
            listings = self._db.execute(
                f"DELETE FROM listing_failures WHERE task = 'listing' AND {which}", tuple(failure_kinds)
            ).rowcount
            names = self._listings.forget_names(which, tuple(failure_kinds))
            return RequeuedWork(listings, *self._queue.requeue_failed(failure_kinds), names)

    async def keep_listings(self, keys: Sequence[str]) -> None:
        """Forget listings that are not asked for any more, and what went wrong with them."""
        await self.flush()
        await self.read(self._keep_listings, keys)

    def _keep_listings(self, keys: Sequence[str]) -> None:
        with self._lease.transaction():
            self._listings.keep(keys)

    async def begin_anew(self, key: str) -> None:
        """Read a listing again that an earlier harvest read to its end."""
        await self._change(self._listings.begin_anew, [key])

    async def watermark(self, key: str) -> str:
        """Tell until when all of a listing that was modified is here, "" where that is not known."""
        return await self.read(self._listings.watermark, key)

    async def merge(self, parts: Mapping[str, str]) -> None:
        """Add to listings what others, of what was modified since, have found: part to whole."""
        await self.flush()
        await self._change(self._listings.merge, parts)

    async def requeue_vanished(self) -> int:
        """Ask once more for items that listings named before and do not name now; return how many."""
        await self.flush()
        owed = await self._change(self._listings.requeue_vanished)
        self.notify()
        return owed

    async def listed(self, key: str) -> ListingProgress:
        """Tell how far the listing `key` has come."""
        return await self.read(self._listings.listed, key)

    async def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> AddedItems:
        """
        Record a page of a listing and what it makes owed.

        It is on the disk when this returns, with the place where the listing goes on.
        """
        await self.flush()
        added = await self.read(self._add_page, key, page, tasks)
        self.notify()
        return added

    def _add_page(self, key: str, page: Page, tasks: frozenset[str]) -> AddedItems:
        with self._lease.transaction():
            return self._listings.add_page(key, page, tasks)

    async def add_listing_failure(self, failure: Failure, *, begin_anew: bool) -> None:
        """Record a listing that failed; the next run goes on at the page that failed, or begins anew."""
        await self._collect(ListingFailure(failure, begin_anew))

    async def pending_items(self, after: int, most: int) -> list[PendingItem]:
        """Return the next items in line behind the seq `after`, with the tasks that they owe."""
        items = await self.read(self._queue.items, after, most)
        # What is written meanwhile came too late for this answer.
        done = _done([entry for batch in (*self._writing, self._batch) for entry in batch.entries])
        return [replace(item, tasks=item.tasks - done.get(item.item_key, set())) for item in items]

    async def pending_files(self, after: int, most: int) -> list[PendingFile]:
        """Return the next files in line behind the seq `after`."""
        return await self.read(self._queue.files, after, most)

    async def may_be_pending(self, item_id: ItemId, file_id: int, md5: str | None) -> bool:
        """Tell whether a file with this md5 is not here yet and may still be wanted."""
        return await self.read(self._queue.may_be_pending, item_id, file_id, md5)

    async def pruned(self, paths: Sequence[str]) -> None:
        """Note that files which nobody wants any more were removed."""
        await self._change(self._files.pruned, paths)

    async def save_item(self, result: ItemResult) -> None:
        """Record a visit to an item; it is written with the next batch."""
        rows = 3
        for found in result.findings:
            rows += len(found.files or ()) + (len(found.usage.counts) if found.usage else 0)
            rows += len(found.record.raw) // _BYTES_OF_A_ROW if found.record else 0
        await self._collect(result, rows)

    async def put_off(self, owed: PendingFile) -> None:
        """Put a file behind all others in line."""
        await self._change(self._files.put_off, owed.item_key, owed.file.id, owed.seq)
        self.notify()

    async def save_file(self, result: FileResult) -> None:
        """Record what became of a file; it is written with the next batch."""
        await self._collect(result)


def _done(entries: Sequence[Entry]) -> dict[ItemKey, set[str]]:
    """Return the tasks of each item that are done, but for its record: that may be another by now."""
    done: dict[ItemKey, set[str]] = {}
    for entry in entries:
        if isinstance(entry, ItemResult):
            tasks = {task for task, state in entry.states.items() if state is WorkState.DONE}
            done.setdefault(entry.item_key, set()).update(tasks - {RECORD})
    return done
