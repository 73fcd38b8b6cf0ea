"""Forecast: counts the pending work in the queue for a plan, on a copy of the ledger's state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import OPEN_FILES, STANDS_IN
from harvester.ledger.tables.queue import WorkQueue
from harvester.models import ItemKey

_OF_FIGSHARE = "ifnull(versions.item_id, files.item_key)"
_COMES_FROM_ANOTHER_VERSION = f"""EXISTS (
    SELECT 1 FROM files AS other WHERE other.item_key IN (
        SELECT {_OF_FIGSHARE}
        UNION ALL SELECT item_key FROM versions AS each WHERE each.item_id = {_OF_FIGSHARE}
    ) AND other.item_key <> files.item_key AND (other.md5, other.size) = (files.md5, files.size)
        AND (other.status = 'done' OR other.status = 'pending' AND other.seq < files.seq)
)"""
"""Of files: another version of the item has a file with the same bytes, here or earlier in the queue."""


class PendingFiles(NamedTuple):
    """The number of pending files, their bytes, and how many of them use the account's endpoint."""

    files: int
    bytes: int
    private: int


class Extent(NamedTuple):
    """All items of a ledger; the files that are here, and their bytes; the bytes of pending files."""

    items: int
    files: int
    bytes: int
    pending_bytes: int


class Forecast:
    """Only reads, in the thread of the ledger."""

    def __init__(self, db: sqlite3.Connection, queue: WorkQueue) -> None:
        self._db = db
        self._queue = queue

    @property
    def bytes_left(self) -> int | None:
        """The bytes that are left of `max_total`, None where there is no limit."""
        return self._queue.budget.left

    def count_listed(self, keys: Sequence[str]) -> int:
        """Return how many different items these listings have named."""
        number: int = self._db.execute(
            "SELECT count(DISTINCT item_key) FROM listing_items WHERE listing_id IN ("
            f"SELECT id FROM listings WHERE NOT old AND key IN ({bulk.qmarks(keys)}))",
            keys,
        ).fetchone()[0]
        return number

    def listing_failures(self) -> list[tuple[str, str]]:
        """Return each failed listing and each name of no item, with the error, in order."""
        return self._db.execute("SELECT subject, error FROM listing_failures ORDER BY rowid").fetchall()

    def pending_files(self, latest_only: bool) -> PendingFiles:
        """
        Add up the pending files; without those whose bytes come from another version of their item.

        `latest_only`: the run fetches files of current versions only.
        """
        row = self._db.execute(
            f"""
            SELECT count(*), CAST(total(size) AS INTEGER), ifnull(sum(private AND NOT {STANDS_IN}), 0)
            FROM files JOIN items ON items.item_key = files.item_key
                LEFT JOIN versions ON versions.item_key = files.item_key
            WHERE {OPEN_FILES} AND files.seq > 0 AND NOT (
                md5 IS NOT NULL AND (files.item_key < 0 OR NOT ?) AND {_COMES_FROM_ANOTHER_VERSION}
            )
            """,
            (latest_only,),
        ).fetchone()
        return PendingFiles(*row)

    def pending_of(self, key: ItemKey) -> set[tuple[int, str | None, int]]:
        """Return id, md5 and size of each pending file of an item."""
        rows = self._db.execute(
            "SELECT file_id, md5, size FROM files WHERE item_key = ? AND status = 'pending'", (key,)
        )
        return set(rows)

    def extent(self) -> Extent:
        """Return how much is here and how much is pending, from the counts of the triggers."""
        row = self._db.execute(
            """
            SELECT ifnull(sum(number) FILTER (WHERE what = 'items'), 0),
                ifnull(sum(number) FILTER (WHERE what = 'files' AND state = 'done'), 0),
                ifnull(sum(bytes) FILTER (WHERE what = 'files' AND state = 'done'), 0),
                ifnull(sum(bytes) FILTER (WHERE what = 'files' AND state = 'pending'), 0)
            FROM totals
            """
        ).fetchone()
        return Extent(*row)
