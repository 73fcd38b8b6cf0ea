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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import FolderInUse
from harvester.ledger import claim
from harvester.ledger.results import FileResult, ItemResult, Listed, Opening
from harvester.ledger.schema import FILE_COLUMNS, NAME, connect, database_errors, migrate
from harvester.models import (
    Failure,
    FileStatus,
    Findings,
    OwedFile,
    OwedItem,
    Page,
    PlacedFile,
    Record,
    RemoteFile,
)

BATCH_SECONDS = 0.2
BATCH_ROWS = 1000


@dataclass
class _Batch:
    entries: list[Callable[[], object]] = field(default_factory=list)
    rows: int = 0


class Ledger:
    """
    The ledger of one output folder, held by one run.

    ``changed`` is an event that the next change sets; take it before you look, then wait for it.
    ``journal_mode`` is "wal", or "delete" on file systems where that cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Callable[[], float] = time.time,
        batch_seconds: float = BATCH_SECONDS,
    ) -> None:
        self.path = folder / NAME
        self.journal_mode = ""
        self.changed = anyio.Event()
        self._clock = clock
        self._batch_seconds = batch_seconds
        self._thread = CapacityLimiter(1)
        self._batch = _Batch()
        self._waiting = anyio.Event()
        self._last_turn = 0
        self._run_id = 0
        self._with_files = True
        self._db: sqlite3.Connection

    # -- opening and closing ------------------------------------------------------------------

    def open(self) -> None:
        """
        Open or make the database and claim the folder for this run.

        Raises:
            FolderInUse: another run is at work here.
            UsageError: a newer version wrote it.
            DiskTrouble: it is damaged or cannot be written.
        """
        with database_errors(self.path):
            self._db = connect(self.path, read_only=False)
            try:
                self.journal_mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if self.journal_mode != "wal":
                    self._db.execute("PRAGMA journal_mode = DELETE")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
                migrate(self._db)
                self._claim()
            except BaseException:
                self._db.close()
                raise

    def _claim(self) -> None:
        now = self._clock()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if other := claim.holder(self._db, now):
                raise FolderInUse(
                    f"{self.path.parent}: another run ({other}) is at work here; wait for it, or "
                    "give this one its own folder with --output"
                )
            self._run_id = claim.take(self._db, now)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    async def close(self, outcome: str) -> None:
        """Write what is left, record how the run ended and let the folder go."""
        with anyio.CancelScope(shield=True):
            try:
                await self.flush()
                await self._call(self._end_run, outcome)
            finally:
                self._db.close()

    def _end_run(self, outcome: str) -> None:
        with self._db_transaction():
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
        if self._waiting.is_set():  # one that nobody has set is what `keep` still waits for
            self._waiting = anyio.Event()
        with anyio.CancelScope(shield=True):  # what was collected must not be lost on the way
            await self._call(self._write, batch)
        if batch.entries:
            self.notify()

    def notify(self) -> None:
        """Wake those who wait for `changed`."""
        self.changed.set()
        self.changed = anyio.Event()

    async def _collect(self, entry: Callable[[], object], rows: int = 1) -> None:
        self._batch.entries.append(entry)
        self._batch.rows += rows
        self._waiting.set()
        if self._batch.rows >= BATCH_ROWS:
            await self.flush()

    async def _call(self, work: Callable[..., Any], *args: Any) -> Any:
        def guarded() -> Any:
            with database_errors(self.path):
                return work(*args)

        return await to_thread.run_sync(guarded, limiter=self._thread)

    def _write(self, batch: _Batch) -> None:
        with self._db_transaction():
            for entry in batch.entries:
                entry()

    @contextmanager
    def _db_transaction(self) -> Iterator[None]:
        """All or nothing, and only while the folder is still claimed by this run."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if not claim.renew(db, self._run_id, self._clock()):
                raise FolderInUse(f"{self.path.parent}: another run took this folder over")
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    # -- beginning a run --------------------------------------------------------------------------

    async def begin(self, opening: Opening) -> tuple[int, int]:
        """
        Put everything that is owed in line; return the numbers of items and files in it.

        Listings begin anew after a run that finished and go on after one that did not; what
        failed is owed again; tasks and file rules that are new apply to what is already here.
        """
        self._with_files = opening.with_files
        return await self._call(self._begin, opening)  # type: ignore[no-any-return]  # as annotated

    def _begin(self, opening: Opening) -> tuple[int, int]:
        db = self._db
        db.create_function("wants", 2, opening.wants)
        with self._db_transaction():
            last = db.execute(
                "SELECT outcome FROM runs WHERE id < ? ORDER BY id DESC LIMIT 1", (self._run_id,)
            ).fetchone()
            if last is not None and last[0] == "finished":
                db.execute("DELETE FROM listings WHERE complete")
            db.execute("DELETE FROM mishaps")
            for task in sorted(opening.item_tasks):
                db.execute(
                    "INSERT OR IGNORE INTO work (item_id, task, state) SELECT id, ?, 'owed' FROM items",
                    (task,),
                )
                again = "" if task in opening.refresh else "AND state = 'failed'"
                db.execute(
                    f"UPDATE work SET state = 'owed', error = '', attempts = 0 WHERE task = ? {again}",
                    (task,),
                )
            self._line_up_items(opening.item_tasks)
            self._line_up_files(opening)
        items, files = self._fetch(
            "SELECT (SELECT count(*) FROM items WHERE turn IS NOT NULL),"
            " (SELECT count(*) FROM files WHERE turn IS NOT NULL)"
        )
        return items, files

    def _line_up_items(self, tasks: frozenset[str]) -> None:
        marks = ", ".join("?" * len(tasks))
        self._db.execute("UPDATE items SET turn = NULL WHERE turn IS NOT NULL")
        self._db.execute(
            f"""
            UPDATE items SET turn = owed.place FROM (
                SELECT item_id, row_number() OVER (ORDER BY item_id) AS place FROM work
                WHERE state = 'owed' AND task IN ({marks}) GROUP BY item_id
            ) AS owed WHERE items.id = owed.item_id
            """,
            tuple(tasks),
        )

    def _line_up_files(self, opening: Opening) -> None:
        db = self._db
        full_name = "CASE folder WHEN '' THEN name ELSE folder || '/' || name END"
        db.execute(
            f"""
            UPDATE files SET error = '', attempts = 0, turn = NULL,
                status = iif(wants({full_name}, size), 'pending', 'skipped')
            WHERE status IN ('pending', 'failed', 'skipped')
            """
        )
        if opening.with_files:
            db.execute(
                """
                UPDATE files SET turn = owed.place FROM (
                    SELECT item_id, file_id, row_number() OVER (ORDER BY item_id, file_id) AS place
                    FROM files WHERE status = 'pending'
                ) AS owed WHERE files.item_id = owed.item_id AND files.file_id = owed.file_id
                """
            )
        self._last_turn = db.execute(
            "SELECT max(ifnull((SELECT max(turn) FROM items), 0), ifnull((SELECT max(turn) FROM files), 0))"
        ).fetchone()[0]

    def _next_turn(self) -> int:
        self._last_turn += 1
        return self._last_turn

    # -- listings ---------------------------------------------------------------------------------

    async def listed(self, key: str) -> Listed:
        """Tell how far the listing `key` has come."""
        row = await self._call(self._fetch, "SELECT position, complete FROM listings WHERE key = ?", key)
        return Listed(row[0], bool(row[1])) if row else Listed()

    async def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> int:
        """
        Record a page of a listing and what it makes owed; return how many items are new or changed.

        It is on the disk when this returns, with the place where the listing goes on.
        """
        await self.flush()
        added: int = await self._call(self._add_page, key, page, tasks)
        self.notify()
        return added

    def _add_page(self, key: str, page: Page, tasks: frozenset[str]) -> int:
        added = 0
        with self._db_transaction():
            for ref in page.refs:
                added += self._add_item(ref.id, ref.private, ref.modified_date, tasks)
            self._db.executemany(
                "INSERT OR REPLACE INTO mishaps VALUES ('resolve', ?, ?, 1)",
                [(unresolved.name, unresolved.reason) for unresolved in page.unresolved],
            )
            self._db.execute(
                "INSERT INTO listings VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE"
                " SET position = ?2, complete = ?3, found = found + ?4",
                (key, page.position, page.position is None, len(page.refs)),
            )
        return added

    def _add_item(self, item_id: int, private: bool, modified: str | None, tasks: frozenset[str]) -> bool:
        db = self._db
        known = db.execute("SELECT private, modified_date FROM items WHERE id = ?", (item_id,)).fetchone()
        if known is None:
            db.execute(
                "INSERT INTO items VALUES (?, ?, ?, ?)",
                (item_id, private, modified, self._next_turn()),
            )
            db.executemany(
                "INSERT INTO work (item_id, task, state) VALUES (?, ?, 'owed')",
                [(item_id, task) for task in sorted(tasks)],
            )
            return True
        is_newer = modified is not None and (known[1] is None or modified > known[1])
        becomes_private = private and not known[0]  # the account's record says more: it wins
        if not (is_newer or becomes_private):
            return False
        db.execute(
            "UPDATE items SET private = max(private, ?), modified_date = ifnull(?, modified_date)"
            " WHERE id = ?",
            (private, modified, item_id),
        )
        return self._owe_record(item_id, known[1] is None and not becomes_private, tasks)

    def _owe_record(self, item_id: int, only_dated: bool, tasks: frozenset[str]) -> bool:
        """Ask for a changed record again; one that is not even fetched yet is in line anyway."""
        if "metadata" not in tasks or only_dated:
            return False
        owed = self._db.execute(
            "UPDATE work SET state = 'owed', error = '', attempts = 0"
            " WHERE item_id = ? AND task = 'metadata' AND state <> 'owed'",
            (item_id,),
        ).rowcount
        if owed:
            self._db.execute("UPDATE items SET turn = ? WHERE id = ?", (self._next_turn(), item_id))
        return bool(owed)

    async def add_mishap(self, failure: Failure, *, begin_anew: bool) -> None:
        """Record a listing that failed; the next run goes on at the page that failed, or begins anew."""

        def write() -> None:
            self._db.execute(
                "INSERT OR REPLACE INTO mishaps VALUES (?, ?, ?, ?)",
                (failure.task, failure.subject, failure.error, failure.attempts),
            )
            if begin_anew:
                self._db.execute("DELETE FROM listings WHERE key = ?", (failure.subject,))

        await self._collect(write)

    # -- what is owed -----------------------------------------------------------------------------

    async def owed_items(self, after: int, most: int) -> list[OwedItem]:
        """Return the next items in line behind the turn `after`, with the tasks that they owe."""
        return await self._call(self._owed_items, after, most)  # type: ignore[no-any-return]  # as annotated

    def _owed_items(self, after: int, most: int) -> list[OwedItem]:
        rows = self._db.execute(
            """
            SELECT turn, id, private,
                (SELECT group_concat(task) FROM work WHERE item_id = id AND state = 'owed'),
                EXISTS (SELECT 1 FROM records WHERE item_id = id)
            FROM items WHERE turn > ? ORDER BY turn LIMIT ?
            """,
            (after, most),
        )
        return [
            OwedItem(turn, item_id, bool(private), frozenset(tasks.split(",")), bool(known))
            for turn, item_id, private, tasks, known in rows
        ]

    async def owed_files(self, after: int, most: int) -> list[OwedFile]:
        """Return the next files in line behind the turn `after`."""
        return await self._call(self._owed_files, after, most)  # type: ignore[no-any-return]  # as annotated

    def _owed_files(self, after: int, most: int) -> list[OwedFile]:
        rows = self._db.execute(
            f"SELECT files.turn, item_id, path, private, {FILE_COLUMNS}"
            " FROM files JOIN items ON items.id = item_id"
            " WHERE files.turn > ? ORDER BY files.turn LIMIT ?",
            (after, most),
        )
        return [
            OwedFile(turn, item_id, _remote_file(file), path, bool(private))
            for turn, item_id, path, private, *file in rows
        ]

    async def files_here(self, item_id: int) -> dict[int, tuple[RemoteFile, str]]:
        """Return the files of an item that were fetched before: file id to the file and its path."""
        return await self._call(self._files_here, item_id)  # type: ignore[no-any-return]  # as annotated

    def _files_here(self, item_id: int) -> dict[int, tuple[RemoteFile, str]]:
        rows = self._db.execute(
            f"SELECT path, {FILE_COLUMNS} FROM files WHERE item_id = ? AND status = 'done'",
            (item_id,),
        )
        return {file[0]: (_remote_file(file), path) for path, *file in rows}

    # -- results ----------------------------------------------------------------------------------

    async def save_item(self, result: ItemResult) -> None:
        """Record a visit to an item; it is written with the next batch."""
        rows = 3 + sum(len(findings.files or ()) for findings in result.findings)
        await self._collect(lambda: self._save_item(result), rows)

    def _save_item(self, result: ItemResult) -> None:
        db, item_id = self._db, result.item_id
        errors = {failure.task: failure for failure in result.failures}
        for task, state in result.states.items():
            failure = errors.get(task)
            db.execute(
                "UPDATE work SET state = ?, error = ?, attempts = ? WHERE item_id = ? AND task = ?",
                (
                    state,
                    failure.error if failure else "",
                    failure.attempts if failure else 0,
                    item_id,
                    task,
                ),
            )
        db.execute("UPDATE items SET turn = NULL WHERE id = ?", (item_id,))
        for findings in result.findings:
            self._save_findings(item_id, findings)

    def _save_findings(self, item_id: int, findings: Findings) -> None:
        now = claim.iso(self._clock())
        if findings.record is not None:
            self._save_record(findings.record, now)
        if findings.files is not None:
            self._save_files(item_id, findings.files)
        if findings.totals is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO stats VALUES (?, ?, ?, ?)",
                (item_id, findings.totals.views, findings.totals.downloads, now),
            )

    def _save_record(self, record: Record, now: str) -> None:
        article = record.article
        self._db.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
            (
                article.id,
                record.raw.decode(),
                record.file_list.decode() if record.file_list is not None else None,
                now,
            ),
        )
        self._db.execute(
            "UPDATE items SET modified_date = max(ifnull(modified_date, ''), ?) WHERE id = ?",
            (article.modified_date, article.id),
        )

    def _save_files(self, item_id: int, files: Sequence[PlacedFile]) -> None:
        self._db.execute("DELETE FROM files WHERE item_id = ?", (item_id,))
        for placed in files:
            file = placed.file
            owed = placed.status is FileStatus.PENDING and self._with_files
            self._db.execute(
                "INSERT INTO files (item_id, path, status, turn,"
                f" {FILE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    item_id,
                    placed.path,
                    placed.status,
                    self._next_turn() if owed else None,
                    file.id,
                    file.name,
                    file.folder,
                    file.size,
                    file.md5,
                    file.url,
                ),
            )

    async def save_file(self, result: FileResult) -> None:
        """Record what became of a file; it is written with the next batch."""
        await self._collect(lambda: self._save_file(result))

    def _save_file(self, result: FileResult) -> None:
        self._db.execute(
            "UPDATE files SET status = ?, error = ?, attempts = ?, turn = NULL"
            " WHERE item_id = ? AND file_id = ?",
            (
                result.status,
                result.error,
                result.attempts,
                result.item_id,
                result.file_id,
            ),
        )

    async def mark_damaged(self, item_id: int, file_id: int) -> None:
        """Owe a file again that was here and is not what it should be."""
        await self.save_file(FileResult(item_id, file_id, FileStatus.PENDING))

    def _fetch(self, sql: str, *values: Any) -> Any:
        return self._db.execute(sql, values).fetchone()


def _remote_file(columns: Sequence[Any]) -> RemoteFile:
    """Read the columns of FILE_COLUMNS; links are never in line and never fetched."""
    file_id, name, folder, size, md5, url = columns
    return RemoteFile(file_id, name, folder, size, md5, url, is_link=False)
