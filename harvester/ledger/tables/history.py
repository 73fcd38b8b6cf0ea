"""
History: the ledger's data on items and files that are about to be processed again.

Tasks get it as a value with their item, so that they can run without a ledger.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from harvester.ledger.database.connection import FILE_COLUMNS, OF_ITEM
from harvester.ledger.tables import versions
from harvester.ledger.tables.queue import remote_file
from harvester.models import Harvested, History, ItemKey, PendingFile, PendingItem, RemoteFile, UsageSpan
from harvester.states import REFUSED_TO_OWNER
from harvester.system.concurrency import LARGE

COUNTERS = ("views", "downloads", "shares")
_ANY_SIZE = 1 << 40


class Histories:
    """Reads histories; `call` runs a function in the thread of the ledger."""

    def __init__(self, db: sqlite3.Connection, call: Callable[..., Awaitable[Any]]) -> None:
        self._db = db
        self._call = call

    async def of_item(
        self, item: PendingItem, span: UsageSpan | None, before_large: Callable[[], Awaitable[None]]
    ) -> History:
        """
        Return the data that the pending tasks of an item need.

        `before_large`: awaited before a large record is read into memory.
        """
        history: History = await self._call(self._of_item, item, span, LARGE)
        if history.harvested is None and item.known and "metadata" in item.tasks:
            await before_large()
            history = await self._call(self._of_item, item, span, _ANY_SIZE)
        return history

    def _of_item(self, item: PendingItem, span: UsageSpan | None, most_bytes: int) -> History:
        """Return a history, without the record if that has more than `most_bytes`."""
        harvested, known = None, frozenset[int]()
        if "metadata" in item.tasks:
            harvested = self._harvested(item.item_key, most_bytes) if item.known else None
            known = frozenset() if item.version else versions.known(self._db, item.item_id)
        totals = self._totals(item.item_key) if "stats" in item.tasks else {}
        usage = self._usage(item.item_key, span) if span and item.tasks & {"timeline", "breakdown"} else {}
        return History(harvested, known, totals, usage)

    def _harvested(self, key: ItemKey, most_bytes: int) -> Harvested | None:
        row = self._db.execute(
            "SELECT CAST(raw AS BLOB), CAST(file_list AS BLOB) FROM records WHERE item_key = ?1"
            " AND length(CAST(raw AS BLOB)) + ifnull(length(CAST(file_list AS BLOB)), 0) <= ?2",
            (key, most_bytes),
        ).fetchone()
        return Harvested(row[0], row[1], self._files_here(key), self._refused(key)) if row else None

    def _files_here(self, key: ItemKey) -> Mapping[int, tuple[RemoteFile, str]]:
        rows = self._db.execute(
            f"SELECT path, {FILE_COLUMNS} FROM files WHERE item_key = ? AND status = 'done'", (key,)
        )
        return {file[0]: (remote_file(file), path) for path, *file in rows}

    def _refused(self, key: ItemKey) -> Mapping[int, str]:
        rows = self._db.execute(
            "SELECT file_id, reason FROM files WHERE item_key = ? AND status = 'withheld' AND reason LIKE ?",
            (key, f"%{REFUSED_TO_OWNER}"),
        )
        return dict(rows.fetchall())

    def _totals(self, key: ItemKey) -> Mapping[str, int | None]:
        """Return the totals of an item by counter; empty if they were never requested."""
        rows = self._db.execute(f"SELECT {', '.join(COUNTERS)} FROM stats WHERE item_key = ?", (key,))
        row = rows.fetchone()
        return dict(zip(COUNTERS, row, strict=True)) if row else {}

    def _usage(self, key: ItemKey, span: UsageSpan) -> Mapping[tuple[str, str], int]:
        rows = self._db.execute(
            "SELECT iif(country = '', 'timeline', 'breakdown') AS task, counter, sum(number) FROM usage"
            " WHERE item_key = ? AND granularity = ? AND date BETWEEN ? AND ? GROUP BY task, counter",
            (key, span.granularity, span.first, span.last),
        )
        return {(task, counter): number for task, counter, number in rows}

    def duplicates(self, file: PendingFile) -> list[tuple[str, int]]:
        """
        Return path and size of files with the same bytes, here or planned, in other
        versions of the item.
        """
        # A size of 0 in the record may mean unknown: then only the md5 identifies the bytes.
        rows = self._db.execute(
            f"SELECT path, size FROM files WHERE {OF_ITEM} AND md5 = ?2 AND ?3 IN (0, size)"
            " AND item_key <> ?4"
            f" UNION ALL SELECT path, size FROM orphans WHERE {OF_ITEM} AND ?3 IN (0, size)",
            (file.item_id, file.file.md5, file.file.size, file.item_key),
        )
        return rows.fetchall()
