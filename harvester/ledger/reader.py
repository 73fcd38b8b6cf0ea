"""Ledger reader: a read-only view for exports, `status` and `verify`, during a run or after it."""

from __future__ import annotations

import heapq
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harvester.errors import UsageError
from harvester.ledger.database import lease_row
from harvester.ledger.database.bulk import qmarks
from harvester.ledger.database.connection import NAME, OPEN_WORK, database_errors, exists
from harvester.ledger.database.heartbeat import Sign, seems_at_work
from harvester.ledger.database.integrity import damaged, is_sound
from harvester.ledger.database.lease_file import find_lease
from harvester.ledger.database.read_only import View
from harvester.ledger.rows import ChangeRow, FileRow, ItemRow
from harvester.ledger.tables import totals
from harvester.ledger.tables.prune_blockers import only_here, prune_blockers
from harvester.states import FileStatus
from harvester.summary import NO_FILES, FileTotals, FolderTotals, KeptStatistics, LastRun
from harvester.text.redaction import REDACTOR

if TYPE_CHECKING:
    from harvester.models import Failure

CHUNK_ROWS = 500
_RECORD = """
    CAST(raw AS BLOB), CAST(file_list AS BLOB),
    (SELECT count(*) FROM files WHERE files.item_key = records.item_key),
    (SELECT CAST(total(size) AS INTEGER) FROM files WHERE files.item_key = records.item_key)
"""
_OF_VERSION = ("versions.item_id", "version")
_JOIN_VERSIONS = "LEFT JOIN versions USING (item_key)"
_ID_AND_VERSION = "ifnull(item_id, item_key), ifnull(version, 0)"
"""figshare's id and the version (0 for the current one) of a key; with `_JOIN_VERSIONS`."""
_LAST_FINISHED = """(
    SELECT ifnull(max(id), 0) FROM runs WHERE job = 'harvest' AND outcome = 'finished'
        AND id < (SELECT max(id) FROM runs WHERE job = 'harvest')
)"""
"""The last finished harvest before the newest one."""
CHUNK_BYTES = 8_000_000


class Reader:
    """
    A read-only view of one folder's ledger, usable during a run.

    `checkpoint`: called every few hundred rows; it may raise to cancel a long read.

    Raises:
        UsageError: the folder contains no harvest.
    """

    def __init__(self, folder: Path, *, checkpoint: Callable[[], None] = lambda: None) -> None:
        self.path = folder / NAME
        if not exists(folder):
            raise UsageError(f"{folder}: not a harvest folder ({NAME} is not there)")
        with database_errors(self.path):
            self._view = View(self.path)
        self._db = self._view.db
        self._checkpoint = checkpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._view.close()

    def items(self) -> Iterator[ItemRow]:
        """Every item with a record, by id, each followed by its requested versions."""
        items = self._rows(
            f"SELECT item_key, 0, {_RECORD} FROM records",
            by=("item_key",),
            only="item_key >= 0",
            weigh=_weight,
        )
        for row in heapq.merge(
            items, self._of_versions("records", _RECORD, weigh=_weight), key=_id_and_version
        ):
            found = ItemRow(*row)
            if not found.raw.lstrip().startswith(b"{"):
                raise damaged(self.path, f"table records: that of item {found.id} is no record")
            yield found

    def versions(self) -> Iterator[ItemRow]:
        """Every requested version of an item with a record."""
        return (ItemRow(*row) for row in self._of_versions("records", _RECORD, weigh=_weight))

    def _of_versions(
        self,
        table: str,
        what: str,
        *,
        by: tuple[str, ...] = (),
        only: str = "",
        values: tuple[object, ...] = (),
        weigh: Callable[[tuple[Any, ...]], int] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Read the rows of requested versions, which begin with id, version and `by`."""
        return self._rows(
            f"SELECT {', '.join((*_OF_VERSION, *by))}, {what} FROM versions JOIN {table} ON"
            f" {table}.item_key = versions.item_key",
            by=(*_OF_VERSION, *by),
            only=only,
            values=values,
            weigh=weigh,
        )

    def totals(self) -> Iterator[tuple[int, int | None, int | None]]:
        """Item id, views and downloads of every item whose statistics were requested, by id."""
        return self._counted("stats", "views, downloads")

    def shares(self) -> Iterator[tuple[int, int]]:
        """Item id and shares of every item whose shares are known, by id."""
        return self._counted("stats", "shares", only="shares IS NOT NULL")

    def history(self) -> Iterator[tuple[int, str, int | None, int | None, int | None]]:
        """Item id, time, views, downloads and shares of each request, by id and time."""
        before = self._counted("snapshots", "views, downloads, shares", by=("asked_at",))
        counters = (f"iif(instr(asked, '{name}'), {name}, NULL)" for name in ("views", "downloads", "shares"))
        now = self._counted("stats", f"asked_at, {', '.join(counters)}")
        return heapq.merge(before, now, key=lambda row: row[:2])

    def usage_counts(self, *, by_country: bool) -> Iterator[tuple[int, str, str, str, str, int]]:
        """Item id, counter, granularity, country, date and number of each period, in this order."""
        return self._counted(
            "usage",
            "number",
            by=("counter", "granularity", "country", "date"),
            only="country > ''" if by_country else "country = ''",
        )

    def _counted(
        self, table: str, what: str, *, by: tuple[str, ...] = (), only: str = "TRUE"
    ) -> Iterator[tuple[Any, ...]]:
        """
        Read statistics by figshare's ids and `by`.

        They may be stored under an item or one of its versions.
        """
        items = self._rows(
            f"SELECT {', '.join(('item_key', *by))}, {what} FROM {table}",
            by=("item_key", *by),
            only=f"item_key >= 0 AND {only}",
        )
        versions = self._of_versions(table, what, by=by, only=only)
        key = len(by) + 1
        carried = ((item_id, *row) for item_id, _, *row in versions)
        return heapq.merge(items, carried, key=lambda row: row[:key])

    def files(self, status: FileStatus | None = None) -> Iterator[FileRow]:
        """Every file, or those of one status, by item, version and file id."""
        what = (
            "name, iif(status = 'link', '', path), size, md5, status, reason, failure_kind, url,"
            " iif(files.item_key < 0,"
            " (SELECT version FROM versions WHERE versions.item_key = files.item_key),"
            " (SELECT record_version FROM items WHERE items.item_key = files.item_key)), files.item_key"
        )
        is_wanted = "status = ?" if status else "TRUE"
        values = (status,) if status else ()
        items = self._rows(
            f"SELECT item_key, 0, file_id, {what} FROM files",
            by=("item_key", "file_id"),
            only=f"item_key >= 0 AND {is_wanted}",
            values=values,
            at=(0, 2),
        )
        versions = self._of_versions("files", what, by=("file_id",), only=is_wanted, values=values)
        for item_id, _, file_id, *row in heapq.merge(items, versions, key=lambda row: row[:3]):
            found = FileRow(item_id, file_id, *row)
            if found.size < 0 or (found.path and not is_sound(found.path)):
                raise damaged(self.path, f"table files: nonsense in size or path of file {file_id}")
            yield found

    def items_with_files(self) -> Iterator[tuple[ItemRow, list[FileRow]]]:
        """Return each of `items` with all files that its record lists, by file id."""
        groups = groupby(
            self.files(), key=lambda file: (file.item_id, file.version if file.item_key < 0 else 0)
        )
        owner, files = next(groups, ((0, 0), ()))
        for item in self.items():
            while owner < (item.id, item.version) and files:
                owner, files = next(groups, ((0, 0), ()))
            yield item, list(files) if owner == (item.id, item.version) else []

    def changes(self) -> Iterator[ChangeRow]:
        """New, changed, withdrawn and returned items since the last finished run, by id."""
        with database_errors(self.path):
            rows = self._db.execute(
                f"""
            SELECT ifnull(versions.item_id, changes.item_key) AS id, ifnull(version, 0) AS version,
                change, fields, files
            FROM changes LEFT JOIN versions ON versions.item_key = changes.item_key
            WHERE run_id > {_LAST_FINISHED} ORDER BY 1, 2, run_id
            """
            )
            for row in rows:
                yield ChangeRow(*row)

    def changes_in_all(self) -> dict[str, int]:
        """Return the number of `changes` of each kind."""
        with database_errors(self.path):
            rows = self._db.execute(
                f"SELECT change, count(*) FROM changes WHERE run_id > {_LAST_FINISHED} GROUP BY 1 ORDER BY 1"
            )
            return dict(rows.fetchall())

    def moving(self) -> frozenset[str]:
        """Return the old and new paths of files in unfinished renames."""
        with database_errors(self.path):
            rows = self._db.execute("SELECT source FROM renames UNION SELECT target FROM renames").fetchall()
        return frozenset(path for (path,) in rows)

    def removable(self) -> Iterator[tuple[str, int, str, str]]:
        """
        Path, size in bytes and reason of orphaned files.

        Also why a file has to stay, "" if it may be removed: see `prune_blockers.only_here`.
        """
        with database_errors(self.path):
            rows, kept = self._removable(), only_here(self._db)
        return ((path, size, why, kept.get(item_id, "")) for path, size, why, item_id in rows)

    def prune_blockers(self) -> list[str]:
        """Return why nothing may be removed now; see `prune_blockers.prune_blockers`."""
        with database_errors(self.path):
            return prune_blockers(self._db)

    def prune_was_cut_off(self) -> bool:
        """Return whether a prune was killed before it recorded its moves, and none has finished since."""
        row = self._row(
            "SELECT EXISTS (SELECT 1 FROM runs WHERE job = 'prune' AND outcome IS NOT 'finished' AND id > ("
            "SELECT ifnull(max(id), 0) FROM runs WHERE job = 'prune' AND outcome = 'finished'))"
        )
        return bool(row and row[0])

    def _row(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        with database_errors(self.path):
            found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        return found

    def _removable(self) -> list[tuple[Any, ...]]:
        return self._db.execute(
            """
            SELECT path, size, why, ifnull(versions.item_id, gone.item_key) FROM (
                SELECT path, size, 'no record names it any more' AS why, item_key FROM orphans
                    WHERE NOT unidentified AND path NOT IN (SELECT path FROM files WHERE status = 'done')
                UNION ALL
                SELECT path, size, 'its item was withdrawn', item_key
                    FROM files JOIN items USING (item_key) WHERE withdrawn AND status = 'done'
            ) AS gone LEFT JOIN versions ON versions.item_key = gone.item_key ORDER BY 1
            """
        ).fetchall()

    def failures(self) -> Iterator[Failure]:
        """
        All failures: listings and names, then items, then files.

        Errors that an earlier version stored may contain a secret, which is redacted here.
        """
        from harvester.models import Failure  # noqa: PLC0415 - `status` needs no msgspec

        listing_failures = self._rows(  # in order of their occurrence
            "SELECT rowid, task, subject, error, failure_kind, attempts FROM listing_failures", by=("rowid",)
        )
        for _, task, subject, error, failure_kind, attempts in listing_failures:
            yield Failure(task, REDACTOR.text(error), failure_kind, subject=subject, attempts=attempts)
        work = self._rows(
            f"SELECT item_key, task, error, failure_kind, attempts, reported_as, {_ID_AND_VERSION} FROM work"
            f" {_JOIN_VERSIONS}",
            by=("item_key", "task"),
            only=f"{OPEN_WORK} AND state = 'failed'",
        )
        for _, task, error, failure_kind, attempts, reported_as, item_id, version in work:
            text = REDACTOR.text(error)
            yield Failure(
                reported_as or task, text, failure_kind, item_id, attempts=attempts, version=version
            )
        files = self._rows(
            f"SELECT item_key, file_id, error, failure_kind, attempts, {_ID_AND_VERSION} FROM files"
            f" {_JOIN_VERSIONS}",
            by=("item_key", "file_id"),
            only="status = 'failed'",
        )
        for _, file_id, error, failure_kind, attempts, item_id, version in files:
            text = REDACTOR.text(error)
            yield Failure("files", text, failure_kind, item_id, file_id, attempts=attempts, version=version)

    def kept_statistics(self) -> KeptStatistics:
        """Return how many items have statistics of finished runs, and the oldest date."""
        with database_errors(self.path):
            return totals.kept_statistics(self._db)

    def skipped(self) -> dict[str, int]:
        """Return the number of skipped files by reason, "" for the rules of the user."""
        with database_errors(self.path):
            return totals.skipped(self._db)

    def counts(self, *, trash: FileTotals = NO_FILES) -> FolderTotals:
        """Return the content of the folder in numbers; `trash`: that of its trash."""
        with database_errors(self.path):
            return totals.counts(self._db, trash)

    def last_run(self, now: float | None = None) -> LastRun | None:
        """Return when the newest harvest started and ended, its outcome, and the process that runs it now."""
        with database_errors(self.path):
            row = self._db.execute(
                "SELECT started, ended, outcome, id = (SELECT max(id) FROM runs) FROM runs"
                " WHERE job = 'harvest' ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            started, ended, outcome, is_newest = row  # no other job has held the folder since
            at_work = self._at_work(time.time() if now is None else now) if is_newest else None
        state = "running" if at_work else outcome or "killed"
        return LastRun(started, ended, state, at_work)

    def _at_work(self, now: float) -> str | None:
        """Return the process that seems to be active on this folder, None if there is none."""

        def look() -> Sign | None:
            sign = lease_row.last_sign(self._db)
            claimed = find_lease(self.path.parent)  # if there is one, it is renewed more often
            return sign and Sign(sign.process, f"{sign.beat} {claimed}")

        sign = look()
        if sign is None:
            return None
        (beat,) = self._db.execute("SELECT beat FROM runs WHERE id = (SELECT max(id) FROM runs)").fetchone()
        return str(sign.process) if seems_at_work(sign, now - beat, look) else None

    def _rows(
        self,
        select: str,
        *,
        by: tuple[str, ...],
        only: str = "",
        values: tuple[object, ...] = (),
        at: tuple[int, ...] | None = None,
        weigh: Callable[[tuple[Any, ...]], int] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """
        Read a table in the order of its key `by`, whose columns are `at`, by default the first ones.

        A few hundred rows are read at a time, because without a write-ahead log a long read blocks all
        writers. With `weigh` a chunk also ends after `CHUNK_BYTES`.
        """
        after: tuple[object, ...] = ()
        while True:
            beyond = f"({', '.join(by)}) > ({qmarks(by)})" if after else ""
            where = " AND ".join(filter(None, (only, beyond)))
            sql = f"{select} {'WHERE ' + where if where else ''} ORDER BY {', '.join(by)} LIMIT {CHUNK_ROWS}"
            with database_errors(self.path):
                rows, is_last = _chunk(self._db.execute(sql, (*values, *after)), weigh)
            self._checkpoint()
            yield from rows
            if is_last:
                return
            after = tuple(rows[-1][place] for place in at or range(len(by)))
            del rows  # frees large rows before the next chunk


def _chunk(
    cursor: sqlite3.Cursor, weigh: Callable[[tuple[Any, ...]], int] | None
) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the next chunk of rows, and whether it was the last."""
    if weigh is None:
        rows = cursor.fetchall()
        return rows, len(rows) < CHUNK_ROWS
    rows, size = [], 0
    with closing(cursor):  # ends its transaction
        for row in cursor:
            rows.append(row)
            size += weigh(row)
            if size >= CHUNK_BYTES:
                return rows, False
    return rows, len(rows) < CHUNK_ROWS


def _id_and_version(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:2]


def _weight(row: tuple[Any, ...]) -> int:
    """Return the bytes of an item's record and file list."""
    return len(row[2]) + (len(row[3]) if row[3] else 0)
