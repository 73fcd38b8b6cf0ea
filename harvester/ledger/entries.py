"""What a run learned, as rows: the SQL behind each kind of entry that the ledger takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from harvester.ledger.claim import iso
from harvester.ledger.line import Line, remote_file
from harvester.ledger.results import Added, FileResult, ItemResult, Listed
from harvester.ledger.schema import FILE_COLUMNS
from harvester.models import (
    Failure,
    FileStatus,
    Findings,
    ItemRef,
    Page,
    PlacedFile,
    Record,
    RemoteFile,
)


class Entries:
    """Writes rows, inside a transaction that the ledger has opened, in the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection, line: Line, clock: Callable[[], float]) -> None:
        self._db = db
        self._line = line
        self._clock = clock

    # -- listings ---------------------------------------------------------------------------------

    def listed(self, key: str) -> Listed:
        row = self._db.execute(
            "SELECT position, complete, entries - left_out, found FROM listings WHERE key = ?", (key,)
        ).fetchone()
        return Listed(row[0], bool(row[1]), *row[2:]) if row else Listed()

    def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> Added:
        """Add a page of a listing, and where the next one begins."""
        self._db.execute(
            "INSERT OR IGNORE INTO listings (key, complete, entries, found, left_out) VALUES (?, 0, 0, 0, 0)",
            (key,),
        )
        listing_id = self._db.execute("SELECT id FROM listings WHERE key = ?", (key,)).fetchone()[0]
        owed = sum(self._add_item(ref, tasks) for ref in page.refs)
        found = self._db.executemany(
            "INSERT OR IGNORE INTO finds VALUES (?, ?)", [(listing_id, ref.id) for ref in page.refs]
        ).rowcount
        self._db.executemany(
            "INSERT OR REPLACE INTO mishaps (task, subject, error, attempts, verdict, listing)"
            " VALUES ('resolve', ?, ?, 1, ?, ?)",
            [(name.name, name.reason, name.verdict, key) for name in page.unresolved],
        )
        self._db.execute(
            "UPDATE listings SET position = ?, complete = ?, entries = entries + ?, found = found + ?,"
            " left_out = left_out + ? WHERE id = ?",
            (
                page.position,
                page.position is None,
                len(page.refs) + len(page.unresolved) + page.left_out,
                max(0, found),
                page.left_out,
                listing_id,
            ),
        )
        return Added(owed, self.listed(key))

    def _add_item(self, ref: ItemRef, tasks: frozenset[str]) -> bool:
        known = self._db.execute(
            "SELECT private, modified_date FROM items WHERE id = ?", (ref.id,)
        ).fetchone()
        if known is None:
            self._db.execute(
                "INSERT INTO items (id, private, modified_date, turn) VALUES (?, ?, ?, ?)",
                (ref.id, ref.private, ref.modified_date, self._line.next_turn()),
            )
            self._db.executemany(
                "INSERT INTO work (item_id, task, state) VALUES (?, ?, 'owed')",
                [(ref.id, task) for task in sorted(tasks)],
            )
            return True
        is_private, modified_date = known
        is_newer = modified_date is not None and (ref.modified_date or "") > modified_date
        becomes_private = ref.private and not is_private  # the account's record says more: it wins
        is_back = bool(  # withdrawn, and listed all the same
            self._db.execute(
                "SELECT count(*) FROM work WHERE item_id = ? AND task = 'metadata' AND state = 'withdrawn'",
                (ref.id,),
            ).fetchone()[0]
        )
        self._db.execute(
            "UPDATE items SET private = max(private, ?),"
            " modified_date = nullif(max(ifnull(modified_date, ''), ifnull(?, '')), '') WHERE id = ?",
            (ref.private, ref.modified_date, ref.id),
        )
        return (is_newer or becomes_private or is_back) and "metadata" in tasks and self._owe_record(ref.id)

    def _owe_record(self, item_id: int) -> bool:
        """Ask for a changed record again; one that is owed already is in line."""
        owed = self._db.execute(
            "UPDATE work SET state = 'owed', error = '', attempts = 0, verdict = ''"
            " WHERE item_id = ? AND task = 'metadata' AND state <> 'owed'",
            (item_id,),
        ).rowcount
        if owed:
            self._db.execute("UPDATE items SET turn = ? WHERE id = ?", (self._line.next_turn(), item_id))
        return bool(owed)

    def add_mishap(self, failure: Failure, *, begin_anew: bool) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO mishaps (task, subject, error, attempts, verdict, listing)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?2)",
            (failure.task, failure.subject, failure.error, failure.attempts, failure.verdict),
        )
        if begin_anew:
            self._db.execute("UPDATE listings SET anew = 1 WHERE key = ?", (failure.subject,))

    # -- items ------------------------------------------------------------------------------------

    def save_item(self, result: ItemResult) -> None:
        errors = {failure.task: failure for failure in result.failures}
        for task, state in result.states.items():
            failure = errors.get(task)
            if failure is None:
                self._db.execute(
                    "UPDATE work SET state = ?, error = '', attempts = 0, verdict = ''"
                    " WHERE item_id = ? AND task = ?",
                    (state, result.item_id, task),
                )
            else:
                self._db.execute(
                    "UPDATE work SET state = ?, error = ?, attempts = attempts + ?, verdict = ?"
                    " WHERE item_id = ? AND task = ?",
                    (state, failure.error, failure.attempts, failure.verdict, result.item_id, task),
                )
        self._db.execute(
            "UPDATE items SET turn = NULL WHERE id = ? AND turn = ifnull(?, turn)",
            (result.item_id, result.turn),
        )
        for findings in result.findings:
            self._save_findings(result.item_id, findings)

    def _save_findings(self, item_id: int, findings: Findings) -> None:
        now = iso(self._clock())
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
        file_list = record.file_list.decode() if record.file_list is not None else None
        self._db.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
            (article.id, record.raw.decode(), file_list, now),
        )
        self._db.execute(
            "UPDATE items SET modified_date = max(ifnull(modified_date, ''), ?), withheld = ? WHERE id = ?",
            (article.modified_date, article.withheld, article.id),
        )

    def _save_files(self, item_id: int, files: Sequence[PlacedFile]) -> None:
        self._db.execute("DELETE FROM files WHERE item_id = ?", (item_id,))
        self._db.executemany(
            f"INSERT INTO files (item_id, path, status, verdict, turn, {FILE_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [self._file_row(item_id, placed) for placed in files],
        )

    def _file_row(self, item_id: int, placed: PlacedFile) -> tuple[object, ...]:
        file = placed.file
        turn = self._line.turn_for_file() if placed.status is FileStatus.PENDING else None
        owner = (item_id, placed.path, placed.status, placed.reason, turn)
        return (*owner, file.id, file.name, file.folder, file.size, file.md5, file.url)

    # -- files ------------------------------------------------------------------------------------

    def files_here(self, item_id: int) -> dict[int, tuple[RemoteFile, str]]:
        rows = self._db.execute(
            f"SELECT path, {FILE_COLUMNS} FROM files WHERE item_id = ? AND status = 'done'", (item_id,)
        )
        return {file[0]: (remote_file(file), path) for path, *file in rows}

    def save_file(self, result: FileResult) -> None:
        attempts = "attempts + ?" if result.status is FileStatus.FAILED else "0 * ?"
        self._db.execute(
            f"UPDATE files SET status = ?, error = ?, attempts = {attempts}, verdict = ?, turn = NULL"
            " WHERE item_id = ? AND file_id = ? AND (?7 IS NULL OR turn = ?7)",
            (
                result.status,
                result.error,
                result.attempts,
                result.verdict,
                result.item_id,
                result.file_id,
                result.turn,
            ),
        )
