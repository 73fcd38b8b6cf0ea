"""Quota: the bytes of files that may still be fetched under `files.max_total`."""

from __future__ import annotations

import sqlite3

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import FULL_NAME, OPEN_FILES
from harvester.states import BEYOND_ROOM


class SizeBudget:
    """
    The quota of one harvest, reserved for files in the order of the queue: the first ones that fit.

    A file that does not fit is skipped; a later run tries it again.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._left: int | None = None

    @property
    def left(self) -> int | None:
        """The remaining bytes, None if there is no limit."""
        return self._left

    @property
    def is_limited(self) -> bool:
        return self._left is not None

    def open(self, max_total: int) -> None:
        """
        Distribute the quota among pending files; `max_total`: bytes of all files at most, 0 for no limit.

        Files that failed in an earlier run are last. The SQL function ``accepts_file`` applies the file
        rules.
        """
        self._left = None
        if not max_total:
            return
        (here,) = self._db.execute(
            "SELECT total(bytes) + (SELECT total(size) FROM orphans) FROM totals"
            " WHERE what = 'files' AND state = 'done'"
        ).fetchone()
        self._left = max_total - int(here)
        self._share("TRUE")
        if self._left > 0:
            waiting = self._db.execute(
                f"SELECT size, item_key, file_id FROM files WHERE {OPEN_FILES} AND reason = ? AND size <= ?"
                f" AND accepts_file({FULL_NAME}, size) ORDER BY item_key, file_id",
                (BEYOND_ROOM, self._left),
            )
            fit = [(item_key, file_id) for size, item_key, file_id in waiting if self.try_reserve(size)]
            self._set("status = 'pending'", "", fit)

    def share_again(self) -> None:
        """Distribute the rest of the quota among failed files that are tried again."""
        if self._left is not None:
            self._share("seq IS NULL")

    def _share(self, which: str) -> None:
        """Reserve the quota for pending files in order, and skip the files that do not fit."""
        pending = self._db.execute(
            f"SELECT size, item_key, file_id FROM files WHERE {OPEN_FILES} AND status = 'pending' AND {which}"
            " ORDER BY attempts > 0, seq IS NULL, seq, item_key, file_id"
        )
        beyond = [(item_key, file_id) for size, item_key, file_id in pending if not self.try_reserve(size)]
        self._set("status = 'skipped', seq = NULL", BEYOND_ROOM, beyond)

    def _set(self, what: str, reason: str, keys: list[bulk.Row]) -> None:
        bulk.write(
            self._db,
            # From a SELECT: else SQLite scans the whole table for each batch.
            f"UPDATE files SET {what}, failure_kind = '', reason = '{reason}'"
            " WHERE (item_key, file_id) IN (SELECT * FROM ({values}))",
            keys,
        )

    def try_reserve(self, size: int) -> bool:
        """Reserve `size` bytes for a file; return False if they are not available."""
        if self._left is None:
            return True
        if size > self._left:
            return False
        self._left -= size
        return True

    def release(self, size: int) -> None:
        """Return the bytes of a file to the quota; a negative number takes them in any case."""
        if self._left is not None:
            self._left += size

    def release_all(self, keys: list[bulk.Row]) -> None:
        """Return the bytes of pending files, by item and file id, that will not be fetched."""
        if self._left is None:
            return
        for (size,) in bulk.select(
            self._db,
            "SELECT size FROM files WHERE status = 'pending'"
            " AND (item_key, file_id) IN (SELECT * FROM ({values}))",
            keys,
        ):
            self._left += size
