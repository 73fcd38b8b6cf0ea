"""What becomes of files, as rows: placed by a record, fetched, superseded, removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import FILE_COLUMNS, OPEN_FILES
from harvester.ledger.messages import FileResult
from harvester.ledger.tables.queue import WorkQueue
from harvester.models import BEYOND_ROOM, NOT_ASKED, FileStatus, ItemKey, PlannedFile

_TAKES_ROOM = (FileStatus.PENDING, FileStatus.DONE)


class _Row(NamedTuple):
    """A row of a file, as it was before the record that names it was read again."""

    path: str
    size: int
    md5: str | None
    status: str
    seq: int | None


class FileTable:
    """
    Writes rows, inside a transaction that the ledger has opened, in the ledger's own thread.

    `is_here`: tells whether anything is at a path below the output folder.
    """

    def __init__(self, db: sqlite3.Connection, queue: WorkQueue, is_here: Callable[[str], bool]) -> None:
        self._db = db
        self._queue = queue
        self._is_here = is_here

    def save_placed(self, placed: Sequence[tuple[ItemKey, Iterable[PlannedFile]]]) -> None:
        """Put the files that records name in the place of those that they named before."""
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
        Make the row of a file of a record that was read.

        Whoever placed it looked at what is here when the record came. One that has come since stays, and one
        that is in hand keeps its seq: neither is fetched again.
        """
        file, status, reason = placed.file, placed.status, placed.reason
        is_same = old is not None and old[:3] == (placed.path, file.size, file.md5)
        if is_same and old is not None and old.status == FileStatus.DONE and status is not FileStatus.LINK:
            status, reason = FileStatus.DONE, ""
        if status is FileStatus.PENDING and not self._queue.has_files:
            # An earlier run may have asked for it: then it still is to come.
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
        Remember what was fetched and is named no more; nothing is removed unless the user says so.

        One whose path another file has by now goes out of its way before that comes, or when the run ends.
        """
        named = {(item_key, file.file.id): file for item_key, files in placed for file in files}
        left = [
            (row.path, item_key, file_id, row.size)
            for (item_key, file_id), row in before.items()
            if not _is_kept(row, named.get((item_key, file_id)))
            # What is pending may have got its place from a run that was killed before it could say so.
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
        """Remember the items some of whose files are not where their records ask for them."""
        bulk.write(self._db, "INSERT INTO unplaced {values} ON CONFLICT DO NOTHING", [(key,) for key in keys])

    def _may_have_come(self, row: _Row) -> bool:
        return row.status == "pending" and self._queue.is_old(row.seq) and self._is_here(row.path)

    def _leave_to_the_withdrawn(self, keys: set[ItemKey]) -> None:
        """Do not owe again what is damaged of items that are no longer public: nobody has it."""
        gone = bulk.select(
            self._db,
            "SELECT item_key FROM items WHERE withdrawn AND item_key IN ({values})",
            [(key,) for key in keys],
        )
        self.withhold([item_key for (item_key,) in gone])

    def withhold(self, keys: Sequence[ItemKey]) -> None:
        """Owe no file of items that are no longer public."""
        if self._queue.budget.is_limited:
            owed = "SELECT item_key, file_id FROM files WHERE status = 'pending' AND item_key IN ({values})"
            self._queue.budget.release_all(bulk.select(self._db, owed, [(key,) for key in keys]))
        bulk.write(
            self._db,
            "UPDATE files SET status = 'withheld', reason = 'withdrawn', failure_kind = '', error = '',"
            f" attempts = 0, seq = NULL WHERE {OPEN_FILES} AND item_key IN ({{values}})",
            [(key,) for key in keys],
        )

    def put_off(self, key: ItemKey, file_id: int, seq: int) -> None:
        """Put a file behind all others in line; one that has another seq by now keeps it."""
        self._db.execute(
            "UPDATE files SET seq = ? WHERE item_key = ? AND file_id = ? AND seq = ? AND status = 'pending'",
            (self._queue.next_seq(), key, file_id, seq),
        )

    def save_fetched(self, results: Sequence[FileResult]) -> None:
        """Save what became of different files; one whose row is another by now is known to be of no use."""
        written = bulk.select(
            self._db,
            """
            WITH told (
                item_key, file_id, seq, status, error, has_failed, attempts, failure_kind, reason, size
            ) AS ({values})
            UPDATE files SET status = told.status, error = told.error, seq = NULL,
                failure_kind = told.failure_kind, reason = told.reason,
                attempts = iif(has_failed, files.attempts + told.attempts, 0),
                size = iif(files.size = 0, told.size, files.size)  -- the record may not tell it
            FROM told WHERE files.item_key = told.item_key AND files.file_id = told.file_id
                AND (told.seq IS NULL OR files.seq = told.seq)
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
                "WITH told (path, item_key, file_id, size) AS ({values})"
                " INSERT INTO orphans (path, item_key, file_id, size) SELECT * FROM told WHERE NOT EXISTS ("
                "SELECT 1 FROM files WHERE files.item_key = told.item_key AND files.path = told.path"
                " AND files.status IN ('done', 'pending'))"
                " ON CONFLICT DO NOTHING",
                [
                    (each.path, each.item_key, each.file_id, each.size)
                    for each in results
                    if each.path and each.status is FileStatus.DONE
                ],
            )

    def _drop_orphans(self, paths: Sequence[str]) -> None:
        """Forget that something else lay where a file was found in its place or has come."""
        if self._db.execute("SELECT 1 FROM orphans LIMIT 1").fetchone():
            bulk.write(self._db, "DELETE FROM orphans WHERE path IN ({values})", [(path,) for path in paths])

    def pruned(self, paths: Sequence[str]) -> None:
        """Forget files that were removed; those of withdrawn items are no longer here."""
        gone = [(path,) for path in paths]
        bulk.write(self._db, "DELETE FROM orphans WHERE path IN ({values})", gone)
        bulk.write(
            self._db,
            "UPDATE files SET status = 'withheld', reason = 'withdrawn' WHERE status = 'done'"
            " AND item_key IN (SELECT item_key FROM items WHERE withdrawn) AND path IN ({values})",
            gone,
        )


def _is_kept(row: _Row, now: PlannedFile | None) -> bool:
    """Tell whether what lies at a file's path may still be what its record asks for there."""
    if now is None or now.path != row.path or now.status not in _TAKES_ROOM:
        return False
    # A sum that is told later was compared with what is here when the record was read.
    is_same = row.size == now.file.size and (now.file.md5 in {None, row.md5} or now.status is FileStatus.DONE)
    return row.status != FileStatus.DONE or is_same


def _fetched_row(result: FileResult) -> bulk.Row:
    # SQLite takes a str and an int as they are; for what is derived from them Python looks for an adapter.
    has_failed = result.status is FileStatus.FAILED
    attempts = result.attempts if has_failed else 0
    which = (result.item_key, result.file_id, result.seq)
    told = (str(result.status), result.error, int(has_failed), attempts, str(result.failure_kind))
    return (*which, *told, result.reason, result.size)
