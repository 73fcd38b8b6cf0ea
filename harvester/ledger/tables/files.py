"""File table: saves files as planned from records, downloaded, replaced and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import FILE_COLUMNS, OPEN_FILES
from harvester.ledger.messages import FileResult
from harvester.ledger.tables.queue import WorkQueue
from harvester.models import ItemKey, PlannedFile
from harvester.states import BEYOND_ROOM, NOT_ASKED, FileStatus

_TAKES_ROOM = (FileStatus.PENDING, FileStatus.DONE)


class _Row(NamedTuple):
    """The row of a file before its record was read again."""

    path: str
    size: int
    md5: str | None
    status: str
    seq: int | None


class FileTable:
    """
    Writes rows, in a transaction of the ledger and in its thread.

    `is_here`: returns whether a path below the output folder exists.
    """

    def __init__(self, db: sqlite3.Connection, queue: WorkQueue, is_here: Callable[[str], bool]) -> None:
        self._db = db
        self._queue = queue
        self._is_here = is_here

    def save_placed(self, placed: Sequence[tuple[ItemKey, Iterable[PlannedFile]]]) -> None:
        """Replace the files of items by those of their new records."""
        rows = bulk.select(
            self._db,
            "DELETE FROM files WHERE item_key IN ({values})"
            " RETURNING item_key, file_id, path, size, md5, status, seq",
            [(item_key,) for item_key, _ in placed],
        )
        before = {(item_key, file_id): _Row(*row) for item_key, file_id, *row in rows}
        for row in before.values():
            if row.status in _TAKES_ROOM:
                self._queue.budget.release(row.size)
        bulk.write(
            self._db,
            f"INSERT INTO files (item_key, path, status, reason, seq, {FILE_COLUMNS}) {{values}}",
            [
                self._row(item_key, file, before.get((item_key, file.file.id)))
                for item_key, files in placed
                for file in files
            ],
        )
        self._note_orphans(placed, before)

    def _row(self, item_key: ItemKey, placed: PlannedFile, old: _Row | None) -> bulk.Row:
        """
        Return the row of a file of a new record.

        The plan used the files that were here when the record was received. A file that was fetched since
        stays, and a file in flight keeps its seq: neither is fetched again.
        """
        file, status, reason = placed.file, placed.status, placed.reason
        is_same = old is not None and old[:3] == (placed.path, file.size, file.md5)
        if is_same and old is not None and old.status == FileStatus.DONE and status is not FileStatus.LINK:
            status, reason = FileStatus.DONE, ""
        if status is FileStatus.PENDING and not self._queue.has_files:
            # An earlier run may have requested it: then it is still pending.
            if not (is_same and old is not None and old.status == FileStatus.PENDING):
                status, reason = FileStatus.SKIPPED, NOT_ASKED
        elif status is FileStatus.DONE:
            self._queue.budget.release(-file.size)
        elif status is FileStatus.PENDING and not self._queue.budget.try_reserve(file.size):
            status, reason = FileStatus.SKIPPED, BEYOND_ROOM
        seq = old.seq if is_same and old is not None else None
        if status is not FileStatus.PENDING:
            seq = None
        elif seq is None:
            seq = self._queue.seq_for_file()
        owner = (item_key, placed.path, str(status), reason, seq)
        return (*owner, file.id, file.name, file.folder, file.size, file.md5, file.url)

    def _note_orphans(
        self,
        placed: Sequence[tuple[ItemKey, Iterable[PlannedFile]]],
        before: Mapping[tuple[ItemKey, int], _Row],
    ) -> None:
        """
        Save fetched files that their record no longer lists as orphans; only the user can remove them.

        An orphan at the path of another file is moved aside before that file is fetched, or at the end of the
        run.
        """
        named = {(item_key, file.file.id): file for item_key, files in placed for file in files}
        left = [
            (row.path, item_key, file_id, row.size)
            for (item_key, file_id), row in before.items()
            if not _is_kept(row, named.get((item_key, file_id)))
            # A pending file may be here already, from a run that was killed before it recorded that.
            and (row.status == FileStatus.DONE or self._may_have_come(row))
        ]
        bulk.write(
            self._db,
            "INSERT INTO orphans (path, item_key, file_id, size) {values} ON CONFLICT DO UPDATE SET"
            " item_key = excluded.item_key, file_id = excluded.file_id, size = excluded.size",
            left,
        )
        if self._db.execute("SELECT 1 FROM orphans LIMIT 1").fetchone():
            here = [(file.path,) for file in named.values() if file.status is FileStatus.DONE]
            bulk.write(self._db, "DELETE FROM orphans WHERE path IN ({values})", here)
            bulk.write(
                self._db,
                "INSERT INTO unplaced SELECT DISTINCT files.item_key FROM files JOIN orphans USING (path)"
                " WHERE files.item_key IN ({values}) ON CONFLICT DO NOTHING",
                [(item_key,) for item_key, _ in placed],
            )

    def note_unplaced(self, keys: Sequence[ItemKey]) -> None:
        """Save the items whose files may have other paths than their records give them."""
        bulk.write(self._db, "INSERT INTO unplaced {values} ON CONFLICT DO NOTHING", [(key,) for key in keys])

    def _may_have_come(self, row: _Row) -> bool:
        return row.status == "pending" and self._queue.is_old(row.seq) and self._is_here(row.path)

    def _leave_to_the_withdrawn(self, keys: set[ItemKey]) -> None:
        """Withhold corrupt files of withdrawn items: they can no longer be fetched."""
        gone = bulk.select(
            self._db,
            "SELECT item_key FROM items WHERE withdrawn AND item_key IN ({values})",
            [(key,) for key in keys],
        )
        self.withhold([item_key for (item_key,) in gone])

    def withhold(self, keys: Sequence[ItemKey]) -> None:
        """Withhold all pending files of withdrawn items."""
        if self._queue.budget.is_limited:
            pending = (
                "SELECT item_key, file_id FROM files WHERE status = 'pending' AND item_key IN ({values})"
            )
            self._queue.budget.release_all(bulk.select(self._db, pending, [(key,) for key in keys]))
        bulk.write(
            self._db,
            "UPDATE files SET status = 'withheld', reason = 'withdrawn', failure_kind = '', error = '',"
            f" attempts = 0, seq = NULL WHERE {OPEN_FILES} AND item_key IN ({{values}})",
            [(key,) for key in keys],
        )

    def defer(self, key: ItemKey, file_id: int, seq: int) -> None:
        """Move a file to the end of the queue, unless it has another seq by now."""
        self._db.execute(
            "UPDATE files SET seq = ? WHERE item_key = ? AND file_id = ? AND seq = ? AND status = 'pending'",
            (self._queue.next_seq(), key, file_id, seq),
        )

    def save_fetched(self, results: Sequence[FileResult]) -> None:
        """
        Save the results of different files.

        A result for a replaced row is ignored, and its file an orphan.
        """
        written = bulk.select(
            self._db,
            """
            WITH given (
                item_key, file_id, seq, status, error, has_failed, attempts, failure_kind, reason, size
            ) AS ({values})
            UPDATE files SET status = given.status, error = given.error, seq = NULL,
                failure_kind = given.failure_kind, reason = given.reason,
                attempts = iif(has_failed, files.attempts + given.attempts, 0),
                size = iif(files.size = 0, given.size, files.size)  -- the record may not have it
            FROM given WHERE files.item_key = given.item_key AND files.file_id = given.file_id
                AND (given.seq IS NULL OR files.seq = given.seq)
            RETURNING item_key, status, size
            """,
            [_fetched_row(result) for result in results],
        )
        for _, status, size in written:
            if status in {FileStatus.FAILED, FileStatus.WITHHELD}:
                self._queue.budget.release(size)
        self._drop_orphans([each.path for each in results if each.status is FileStatus.DONE])
        self._leave_to_the_withdrawn({item_key for item_key, status, _ in written if status == "pending"})
        if len(written) < len(results):
            bulk.write(
                self._db,
                "WITH given (path, item_key, file_id, size) AS ({values})"
                " INSERT INTO orphans (path, item_key, file_id, size) SELECT * FROM given WHERE NOT EXISTS ("
                "SELECT 1 FROM files WHERE files.item_key = given.item_key AND files.path = given.path"
                " AND files.status IN ('done', 'pending'))"
                " ON CONFLICT DO NOTHING",
                [
                    (each.path, each.item_key, each.file_id, each.size)
                    for each in results
                    if each.path and each.status is FileStatus.DONE
                ],
            )

    def _drop_orphans(self, paths: Sequence[str]) -> None:
        """Remove orphans at paths that now have the right file."""
        if self._db.execute("SELECT 1 FROM orphans LIMIT 1").fetchone():
            bulk.write(self._db, "DELETE FROM orphans WHERE path IN ({values})", [(path,) for path in paths])

    def pruned(self, paths: Sequence[str]) -> None:
        """Remove the rows of pruned files; files of withdrawn items become withheld."""
        gone = [(path,) for path in paths]
        bulk.write(self._db, "DELETE FROM orphans WHERE path IN ({values})", gone)
        bulk.write(
            self._db,
            "UPDATE files SET status = 'withheld', reason = 'withdrawn' WHERE status = 'done'"
            " AND item_key IN (SELECT item_key FROM items WHERE withdrawn) AND path IN ({values})",
            gone,
        )


def _is_kept(row: _Row, now: PlannedFile | None) -> bool:
    """Return whether a fetched file may still be the one that the new record plans for its path."""
    if now is None or now.path != row.path or now.status not in _TAKES_ROOM:
        return False
    # An md5 that was published later was compared with the file when the record was read.
    is_same = row.size == now.file.size and (now.file.md5 in {None, row.md5} or now.status is FileStatus.DONE)
    return row.status != FileStatus.DONE or is_same


def _fetched_row(result: FileResult) -> bulk.Row:
    # SQLite binds str and int directly; for their subclasses Python would look for an adapter.
    has_failed = result.status is FileStatus.FAILED
    attempts = result.attempts if has_failed else 0
    which = (result.item_key, result.file_id, result.seq)
    given = (str(result.status), result.error, int(has_failed), attempts, str(result.failure_kind))
    return (*which, *given, result.reason, result.size)
