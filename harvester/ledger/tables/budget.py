"""How many bytes of files may still come, where all of them together may have so many and no more."""

from __future__ import annotations

import sqlite3

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import FULL_NAME, OPEN_FILES
from harvester.models import BEYOND_ROOM


class SizeBudget:
    """
    The room of one harvest, given to files as they come: the first that fit.

    What there is no room for is skipped, and gets room when there is some: in a later run.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._left: int | None = None

    @property
    def is_limited(self) -> bool:
        return self._left is not None

    def open(self, max_total: int) -> None:
        """
        Share the room among what is owed; `max_total`: bytes that all files may have, 0 for any number.

        What an earlier run tried in vain comes last. SQLite knows the rules for files as ``wants``.
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
                f"SELECT size, item_id, file_id FROM files WHERE {OPEN_FILES} AND reason = ? AND size <= ?"
                f" AND wants({FULL_NAME}, size) ORDER BY item_id, file_id",
                (BEYOND_ROOM, self._left),
            )
            fit = [(item_id, file_id) for size, item_id, file_id in waiting if self.takes(size)]
            self._set("status = 'pending'", "", fit)

    def share_again(self) -> None:
        """Share what is left among files that had failed and are to be tried once more."""
        if self._left is not None:
            self._share("seq IS NULL")

    def _share(self, which: str) -> None:
        """Give room to pending files, as long as it lasts, and skip the others."""
        pending = self._db.execute(
            f"SELECT size, item_id, file_id FROM files WHERE {OPEN_FILES} AND status = 'pending' AND {which}"
            " ORDER BY attempts > 0, seq IS NULL, seq, item_id, file_id"
        )
        beyond = [(item_id, file_id) for size, item_id, file_id in pending if not self.takes(size)]
        self._set("status = 'skipped', seq = NULL", BEYOND_ROOM, beyond)

    def _set(self, what: str, reason: str, keys: list[bulk.Row]) -> None:
        bulk.write(
            self._db,
            # From a SELECT: else SQLite walks the whole table for each piece.
            f"UPDATE files SET {what}, failure_kind = '', reason = '{reason}'"
            " WHERE (item_id, file_id) IN (SELECT * FROM ({values}))",
            keys,
        )

    def takes(self, size: int) -> bool:
        """Give room to a file of so many bytes; False where there is none left."""
        if self._left is None:
            return True
        if size > self._left:
            return False
        self._left -= size
        return True

    def gives_back(self, size: int) -> None:
        """Get back the room that a file had; less than nothing where one is here for which there was none."""
        if self._left is not None:
            self._left += size

    def gives_back_all(self, keys: list[bulk.Row]) -> None:
        """Get back the room of files that are pending, by item and file id, as they will not come."""
        if self._left is None:
            return
        for (size,) in bulk.select(
            self._db,
            "SELECT size FROM files WHERE status = 'pending'"
            " AND (item_id, file_id) IN (SELECT * FROM ({values}))",
            keys,
        ):
            self._left += size
