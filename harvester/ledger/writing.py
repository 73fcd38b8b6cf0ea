"""
The ledger as a run writes it.

One connection, used by one thread at a time, off the event loop. Results are collected here and
written together every `BATCH_SECONDS` or `BATCH_ROWS`, whichever comes first, so that one commit
serves many workers. What belongs together (a record, the files it makes owed, the state of its
tasks) is one entry of a batch, and a batch is one transaction: it is there whole or not at all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace

from harvester.errors import DiskTrouble, FolderInUse
from harvester.ledger import claim, versions
from harvester.ledger.batch import Entry, steps
from harvester.ledger.entries import Entries
from harvester.ledger.files import Files
from harvester.ledger.line import Line
from harvester.ledger.listings import Listings
from harvester.ledger.lockless import ClaimFile
from harvester.ledger.moves import Moves
from harvester.ledger.opening import open_to_write
from harvester.ledger.owners import Owners
from harvester.ledger.results import (
    RECORD,
    Added,
    Again,
    FileResult,
    Harvested,
    ItemResult,
    Listed,
    Mishap,
    Opening,
)
from harvester.ledger.schema import NAME, at_once, database_errors, file_identity, migrate
from harvester.ledger.statistics import Counters
from harvester.models import Failure, OwedFile, OwedItem, Page
from harvester.paths import is_there
from harvester.states import WorkState

T = TypeVar("T")

BATCH_SECONDS = 0.2
BATCH_ROWS = 1000


@dataclass(eq=False)
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    rows: int = 0


class Ledger:
    """
    The ledger of one output folder, held by one run.

    ``changed`` is an event that the next change sets; take it before you look, then wait for it.
    ``drawback`` says what the file system cannot do, "" where it can do all. ``moves``: journal of renames.
    ``counters``: the statistics that are here. ``owners``: whose private items these are.
    """

    moves: Moves
    counters: Counters
    owners: Owners

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        batch_seconds: float = BATCH_SECONDS,
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
        self._run_id = 0
        self._identity: tuple[int, int] | None = None
        self._claim_file: ClaimFile | None = None
        self._db: sqlite3.Connection
        self._line: Line
        self._files: Files
        self._entries: Entries
        self._listings: Listings

    # -- opening and closing ------------------------------------------------------------------

    def open(self, job: str = "harvest") -> None:
        """
        Open or make the database and claim the folder for this run; `job` says what it does.

        Raises:
            FolderInUse: another run is at work here.
            UsageError: a newer version wrote it.
            DiskTrouble: it is damaged or cannot be written.
        """
        with ExitStack() as undo:
            undo.enter_context(database_errors(self.path))
            self._db, self.drawback, self._claim_file = open_to_write(self.path)
            undo.callback(self._close)
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            migrate(self._db, check=self._refuse_if_held)
            self._claim(job)
            self._identity = file_identity(self.path)
            undo.pop_all()
        self._line = Line(self._db)
        self._files = Files(self._db, self._line, partial(is_there, self.path.parent))
        self._entries = Entries(self._db, self._line, self._files, self._clock, run_id=self._run_id)
        self.counters = Counters(self._db, self._call)
        self.owners = Owners(self._db, self._change, self.path.parent)
        self.moves = Moves(self._db, self._change, self._entries.note_moves)
        now = claim.iso(self._clock())
        self._listings = Listings(self._db, self._line, run_id=self._run_id, now=now)

    def _let_go(self) -> None:
        # A reader that is open now would leave the log behind, and who may only read cannot do without it.
        with suppress(sqlite3.Error):  # what cannot be put in its place stays in the log, and counts
            self._db.execute("PRAGMA busy_timeout = 0")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()

    def _close(self) -> None:
        self._db.close()
        if self._claim_file is not None:
            self._claim_file.drop()

    def _claim(self, job: str) -> None:
        with at_once(self._db):
            self._refuse_if_held()
            self._run_id = claim.take(self._db, self._clock(), job)

    def _refuse_if_held(self) -> None:
        if other := claim.holder(self._db, self._clock()):
            raise FolderInUse(
                f"{self.path.parent}: another run ({other}) is at work here; wait for it, or "
                "give this one its own folder with --output"
            )

    async def close(self, outcome: str, *, clean: bool = False) -> None:
        """Write what is left, record how the run ended, `clean`: without an error, and let the folder go."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
                await self._call(self._end_run, outcome, clean)
            finally:
                self._let_go()

    def _end_run(self, outcome: str, clean: bool) -> None:
        with self._transaction():
            if clean:
                self._listings.move_marks()
            self._db.execute(
                "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?",
                (claim.iso(self._clock()), outcome, self._run_id),
            )

    # -- the plumbing of batches ----------------------------------------------------------------

    async def keep(self) -> None:
        """Write what was collected, again and again, and show a sign of life; run it as a task."""
        while True:
            with anyio.move_on_after(claim.FRESH_SECONDS / 3):
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
            await self._call(self._write, batch)
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

    async def _call(self, work: Callable[..., T], *args: Any) -> T:
        def guarded() -> T:
            with database_errors(self.path):
                return work(*args)

        return await to_thread.run_sync(guarded, limiter=self._thread)

    def _write(self, batch: _Batch) -> None:
        with self._transaction():
            for step in steps(batch.entries):
                self._entries.save_items(list(step.items.values()))
                self._files.save_fetched(list(step.files.values()))
                for mishap in step.mishaps:
                    self._listings.add_mishap(mishap)

    async def _change(self, work: Callable[..., T], *args: Any) -> T:
        def at_once() -> T:
            with self._transaction():
                return work(*args)

        return await self._call(at_once)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, and only while the folder is there and still claimed by this run."""
        if file_identity(self.path) != self._identity:
            # SQLite would write on into a file that nobody can find any more.
            raise DiskTrouble(
                f"{self.path}: has vanished or was replaced; bring the folder back and run again"
            )
        with at_once(self._db):
            is_held = self._claim_file is None or self._claim_file.renew()
            if not (is_held and claim.renew(self._db, self._run_id, self._clock())):
                raise FolderInUse(f"{self.path.parent}: another run took this folder over")
            yield

    async def confirm(self) -> None:
        """Find out that this run still holds the folder; raises `FolderInUse` where another one does."""
        await self._call(claim.confirm, self._db, self._run_id, self.path.parent)

    def now(self) -> str:
        """Tell the time by the ledger's clock, as ISO 8601."""
        return claim.iso(self._clock())

    # -- what a run asks and tells --------------------------------------------------------------

    async def begin(self, opening: Opening) -> tuple[int, int]:
        """
        Put everything that is owed in line; return the numbers of items and files in it.

        Listings begin anew after a run that finished and go on after one that did not; what
        failed is owed again; tasks and file rules that are new apply to what is already here.
        """
        return await self._call(self._begin, opening)

    def _begin(self, opening: Opening) -> tuple[int, int]:
        with self._transaction():
            self._listings.forget_gone()
            self._listings.begin(quick=opening.quick)
            if "metadata" in opening.item_tasks:
                self._line.owe_due(claim.iso(self._clock()))
            return self._line.form(opening)

    async def begin_again(self, verdicts: Sequence[str]) -> Again:
        """Put what failed with one of these verdicts in line once more; listings go on where they were."""
        await self.flush()
        return await self._call(self._begin_again, verdicts)

    def _begin_again(self, verdicts: Sequence[str]) -> Again:
        with self._transaction():
            which = f"verdict IN ({', '.join('?' * len(verdicts))})"
            listings = self._db.execute(
                f"DELETE FROM mishaps WHERE task = 'listing' AND {which}", tuple(verdicts)
            ).rowcount
            names = self._listings.forget_names(which, tuple(verdicts))
            return Again(listings, *self._line.form_again(verdicts), names)

    async def keep_listings(self, keys: Sequence[str]) -> None:
        """Forget listings that are not asked for any more, and what went wrong with them."""
        await self.flush()
        await self._call(self._keep_listings, keys)

    def _keep_listings(self, keys: Sequence[str]) -> None:
        with self._transaction():
            self._listings.keep(keys)

    async def begin_anew(self, key: str) -> None:
        """Read a listing again that an earlier harvest read to its end."""
        await self._change(self._listings.begin_anew, [key])

    async def mark(self, key: str) -> str:
        """Tell until when all of a listing that was modified is here, "" where that is not known."""
        return await self._call(self._listings.mark, key)

    async def merge(self, parts: Mapping[str, str]) -> None:
        """Add to listings what others, of what was modified since, have found: part to whole."""
        await self.flush()
        await self._change(self._listings.merge, parts)

    async def owe_vanished(self) -> int:
        """Ask once more for items that listings named before and do not name now; return how many."""
        await self.flush()
        owed = await self._change(self._listings.owe_vanished)
        self.notify()
        return owed

    async def listed(self, key: str) -> Listed:
        """Tell how far the listing `key` has come."""
        return await self._call(self._listings.listed, key)

    async def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> Added:
        """
        Record a page of a listing and what it makes owed.

        It is on the disk when this returns, with the place where the listing goes on.
        """
        await self.flush()
        added = await self._call(self._add_page, key, page, tasks)
        self.notify()
        return added

    def _add_page(self, key: str, page: Page, tasks: frozenset[str]) -> Added:
        with self._transaction():
            return self._listings.add_page(key, page, tasks)

    async def add_mishap(self, failure: Failure, *, begin_anew: bool) -> None:
        """Record a listing that failed; the next run goes on at the page that failed, or begins anew."""
        await self._collect(Mishap(failure, begin_anew))

    async def owed_items(self, after: int, most: int) -> list[OwedItem]:
        """Return the next items in line behind the turn `after`, with the tasks that they owe."""
        items = await self._call(self._line.items, after, most)
        # What is written meanwhile came too late for this answer.
        done = _done([entry for batch in (*self._writing, self._batch) for entry in batch.entries])
        return [replace(item, tasks=item.tasks - done.get(item.key, set())) for item in items]

    async def owed_files(self, after: int, most: int) -> list[OwedFile]:
        """Return the next files in line behind the turn `after`."""
        return await self._call(self._line.files, after, most)

    async def may_owe(self, item_id: int, file_id: int, md5: str | None) -> bool:
        """Tell whether a file with this md5 is not here yet and may still be wanted."""
        return await self._call(self._line.may_owe, item_id, file_id, md5)

    async def harvested(self, key: int) -> Harvested | None:
        """Return what is here of an item, None where its record never came."""
        return await self._call(self._entries.harvested, key)

    async def versions(self, item_id: int) -> frozenset[int]:
        """Return the versions of an item, by figshare's id, that were asked for before; none withdrawn."""
        return await self._call(versions.known, self._db, item_id)

    async def twins(self, file: OwedFile) -> list[str]:
        """Return where other versions of an item have, or will have, a file with the same bytes."""
        return await self._call(self._files.twins, file)

    async def pruned(self, paths: Sequence[str]) -> None:
        """Note that files which nobody wants any more were removed."""
        await self._change(self._files.pruned, paths)

    async def save_item(self, result: ItemResult) -> None:
        """Record a visit to an item; it is written with the next batch."""
        rows = 3
        for found in result.findings:
            rows += len(found.files or ()) + (len(found.usage.uses) if found.usage else 0)
        await self._collect(result, rows)

    async def save_file(self, result: FileResult) -> None:
        """Record what became of a file; it is written with the next batch."""
        await self._collect(result)


def _done(entries: Sequence[Entry]) -> dict[int, set[str]]:
    """Return the tasks of each item that are done, but for its record: that may be another by now."""
    done: dict[int, set[str]] = {}
    for entry in entries:
        if isinstance(entry, ItemResult):
            tasks = {task for task, state in entry.states.items() if state is WorkState.DONE}
            done.setdefault(entry.item_id, set()).update(tasks - {RECORD})
    return done
