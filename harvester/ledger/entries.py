"""What a run learned of items and files, as rows: the SQL behind each kind of result."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from harvester.ledger import many
from harvester.ledger.claim import iso
from harvester.ledger.line import Line, remote_file
from harvester.ledger.results import FileResult, ItemResult
from harvester.ledger.schema import FILE_COLUMNS
from harvester.models import PlacedFile, Record, RemoteFile
from harvester.states import FileStatus

Before: TypeAlias = dict[tuple[int, int], tuple[tuple[str, int, str | None], str, int | None]]
"""Of files by item and file id: their path, size and md5, their status, their turn."""


class Entries:
    """Writes rows, inside a transaction that the ledger has opened, in the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection, line: Line, clock: Callable[[], float]) -> None:
        self._db = db
        self._line = line
        self._clock = clock

    # -- items ------------------------------------------------------------------------------------

    def save_items(self, results: Sequence[ItemResult]) -> None:
        """Save what visits to different items gave; what one has to say of a record may be out of date."""
        results = self._up_to_date(results)
        many.write(
            self._db,
            """
            WITH told (item_id, task, state, error, has_failed, attempts, verdict) AS ({values})
            UPDATE work SET state = told.state, error = told.error, verdict = told.verdict,
                attempts = iif(has_failed, work.attempts + told.attempts, 0)
            FROM told WHERE work.item_id = told.item_id AND work.task = told.task
            """,
            [row for result in results for row in _work_rows(result)],
        )
        many.write(
            self._db,
            """
            WITH told (id, turn, modified_date, withheld) AS ({values})
            UPDATE items SET turn = iif(items.turn = ifnull(told.turn, items.turn), NULL, items.turn),
                modified_date = ifnull(
                    max(ifnull(items.modified_date, ''), told.modified_date), items.modified_date
                ),
                withheld = ifnull(told.withheld, items.withheld)
            FROM told WHERE items.id = told.id
            """,
            [_item_row(result) for result in results],
        )
        now = iso(self._clock())
        self._save_records((record for result in results if (record := _record(result))), now)
        self._save_totals(results, now)
        self._save_files(
            [
                (result.item_id, found.files)
                for result in results
                for found in result.findings
                if found.files is not None
            ]
        )

    def _up_to_date(self, results: Sequence[ItemResult]) -> list[ItemResult]:
        """Leave out the records of items that have got another turn since: they are asked for once more."""
        rows = many.select(
            self._db,
            "WITH told (id, turn) AS ({values})"
            " SELECT id FROM told CROSS JOIN items USING (id) WHERE items.turn IS NOT told.turn",
            [(result.item_id, result.turn) for result in results if result.turn is not None],
        )
        outdated = {item_id for (item_id,) in rows}
        return [_without_record(result) if result.item_id in outdated else result for result in results]

    def _save_records(self, records: Iterable[Record], now: str) -> None:
        many.write(
            self._db,
            # Bytes that are known to be text: to make Python texts of them and bytes again takes longer.
            """
            WITH told (item_id, raw, file_list, fetched_at) AS ({values})
            INSERT INTO records (item_id, raw, file_list, fetched_at)
            SELECT item_id, CAST(raw AS TEXT), CAST(file_list AS TEXT), fetched_at FROM told
            WHERE TRUE ON CONFLICT DO UPDATE
            SET raw = excluded.raw, file_list = excluded.file_list, fetched_at = excluded.fetched_at
            """,
            (_record_row(record, now) for record in records),
            weigh=lambda row: len(row[1]) + len(row[2] or ""),
        )

    def _save_totals(self, results: Sequence[ItemResult], now: str) -> None:
        many.write(
            self._db,
            "INSERT INTO stats (item_id, views, downloads, asked_at) {values} ON CONFLICT DO UPDATE"
            " SET views = excluded.views, downloads = excluded.downloads, asked_at = excluded.asked_at",
            [
                (result.item_id, found.totals.views, found.totals.downloads, now)
                for result in results
                for found in result.findings
                if found.totals is not None
            ],
        )

    def _save_files(self, placed: Sequence[tuple[int, Iterable[PlacedFile]]]) -> None:
        rows = many.select(
            self._db,
            "DELETE FROM files WHERE item_id IN ({values})"
            " RETURNING item_id, file_id, path, size, md5, status, turn",
            [(item_id,) for item_id, _ in placed],
        )
        before: Before = {(row[0], row[1]): (row[2:5], row[5], row[6]) for row in rows}
        many.write(
            self._db,
            f"INSERT INTO files (item_id, path, status, verdict, turn, {FILE_COLUMNS}) {{values}}",
            [self._file_row(item_id, file, before) for item_id, files in placed for file in files],
        )

    def _file_row(self, item_id: int, placed: PlacedFile, before: Before) -> many.Row:
        """
        Make the row of a file of a record that was read.

        Whoever placed it looked at what is here when the record came. One that has come since stays, and one
        that is in hand keeps its turn: neither is fetched again.
        """
        file, status, reason = placed.file, placed.status, placed.reason
        is_same, old_status, turn = False, "", None
        if (old := before.get((item_id, file.id))) is not None:
            was, old_status, turn = old
            is_same = was == (placed.path, file.size, file.md5)
        if is_same and old_status == FileStatus.DONE and status is not FileStatus.LINK:
            status, reason = FileStatus.DONE, ""
        if status is not FileStatus.PENDING:
            turn = None
        elif not is_same or turn is None:
            turn = self._line.turn_for_file()
        owner = (item_id, placed.path, str(status), reason, turn)
        return (*owner, file.id, file.name, file.folder, file.size, file.md5, file.url)

    # -- files ------------------------------------------------------------------------------------

    def files_here(self, item_id: int) -> dict[int, tuple[RemoteFile, str]]:
        """Return the files of an item that were fetched before: file id to the file and its path."""
        rows = self._db.execute(
            f"SELECT path, {FILE_COLUMNS} FROM files WHERE item_id = ? AND status = 'done'", (item_id,)
        )
        return {file[0]: (remote_file(file), path) for path, *file in rows}

    def save_files(self, results: Iterable[FileResult]) -> None:
        """Save what became of different files."""
        many.write(
            self._db,
            """
            WITH told (item_id, file_id, turn, status, error, has_failed, attempts, verdict) AS ({values})
            UPDATE files SET status = told.status, error = told.error, verdict = told.verdict, turn = NULL,
                attempts = iif(has_failed, files.attempts + told.attempts, 0)
            FROM told WHERE files.item_id = told.item_id AND files.file_id = told.file_id
                AND (told.turn IS NULL OR files.turn = told.turn)
            """,
            [_fetched_row(result) for result in results],
        )


# SQLite takes a str and an int as they are; for what is derived from them Python looks for an adapter first.


def _work_rows(result: ItemResult) -> list[many.Row]:
    failures = {failure.task: failure for failure in result.failures}
    rows: list[many.Row] = []
    for task, state in result.states.items():
        told: many.Row = ("", 0, 0, "")
        if (failure := failures.get(task)) is not None:  # attempts add up until it succeeds
            told = (failure.error, 1, failure.attempts, str(failure.verdict))
        rows.append((result.item_id, task, str(state), *told))
    return rows


def _item_row(result: ItemResult) -> many.Row:
    record = _record(result)
    if record is None:
        return (result.item_id, result.turn, None, None)
    return (result.item_id, result.turn, record.article.modified_date, record.article.withheld)


def _without_record(result: ItemResult) -> ItemResult:
    """Leave of a visit what it did not learn of the record."""
    return replace(
        result,
        states={task: state for task, state in result.states.items() if task != "metadata"},
        failures=tuple([failure for failure in result.failures if failure.task != "metadata"]),
        findings=tuple([found for found in result.findings if found.record is None]),
    )


def _record(result: ItemResult) -> Record | None:
    return next((found.record for found in result.findings if found.record is not None), None)


def _record_row(record: Record, now: str) -> many.Row:
    return (record.article.id, record.raw, record.file_list, now)


def _fetched_row(result: FileResult) -> many.Row:
    has_failed = result.status is FileStatus.FAILED
    attempts = result.attempts if has_failed else 0
    which = (result.item_id, result.file_id, result.turn)
    return (*which, str(result.status), result.error, int(has_failed), attempts, str(result.verdict))
