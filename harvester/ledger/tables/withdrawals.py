"""
Suspected withdrawals: harvested items whose records were not found, until the run decides about them.

During a run each is a failure of the kind "suspected", and nothing else changes. So a killed run leaves no
item withdrawn, and the next run requests them again. The end of the run decides about all of them together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from harvester.errors import FailureKind
from harvester.ledger.database.connection import OPEN_WORK, STANDS_IN
from harvester.models import ItemKey, ItemRef

_SUSPECTED = (
    f"{OPEN_WORK} AND state = 'failed' AND failure_kind = '{FailureKind.SUSPECTED}' AND task = 'metadata'"
)
_IS_LISTED = """item_key IN (
    SELECT item_key FROM items WHERE NOT named AND EXISTS (
        SELECT 1 FROM listing_items JOIN listings ON listings.id = listing_id
        WHERE listing_items.item_key = items.item_key AND NOT old
    )
)"""
"""Of work: a listing of this run contains the item, and the user has not just named it."""
_OF_FIGSHARE = "ifnull(versions.item_id, {0})"
"""figshare's id of an item or version in the ledger."""


class Suspected(NamedTuple):
    """
    The number of suspected items, and of all harvested items; versions count as their item.

    ``entries``: the number of suspected items and versions in the ledger.
    """

    items: int
    harvested: int
    entries: int


class Withdrawals:
    """Reads and resolves suspected withdrawals; `withdraw` marks accepted ones."""

    def __init__(
        self,
        db: sqlite3.Connection,
        withdraw: Callable[[Sequence[ItemKey]], None],
    ) -> None:
        self._db = db
        self._withdraw = withdraw

    def suspected(self) -> Suspected:
        """Return the numbers of suspected items."""
        items, entries = self._db.execute(
            f"SELECT count(DISTINCT {_OF_FIGSHARE.format('work.item_key')}), count(*)"
            f" FROM work LEFT JOIN versions ON versions.item_key = work.item_key WHERE {_SUSPECTED}"
        ).fetchone()
        harvested = 0
        if items:
            is_here = "EXISTS (SELECT 1 FROM records WHERE records.item_key = versions.{0})"
            (harvested,) = self._db.execute(
                "SELECT (SELECT sum(number) FROM totals WHERE what = 'records')"
                f" - (SELECT count(*) FROM versions WHERE {is_here.format('item_key')})"
                " + (SELECT count(DISTINCT item_id) FROM versions"
                f" WHERE {is_here.format('item_key')} AND NOT {is_here.format('item_id')})"
            ).fetchone()
        return Suspected(items, harvested, entries)

    def unsuspected(self, most: int, with_private: bool) -> list[ItemRef]:
        """Return some harvested items that should exist, those first that this run has requested."""
        # A lookup in the table of records for each of a million items would be slow.
        is_here = "EXISTS (SELECT 1 FROM records WHERE records.item_key = items.item_key)"
        return self._select("state = 'done'", most, with_private) or self._select(
            f"{OPEN_WORK} AND state IN ('failed', 'pending') AND {is_here}", most, with_private
        )

    def _select(self, which: str, most: int, with_private: bool) -> list[ItemRef]:
        own = f"private AND NOT {STANDS_IN}"
        rows = self._db.execute(
            f"""
            SELECT {_OF_FIGSHARE.format("items.item_key")} AS figshare_id, ifnull(version, 0), {own}
            FROM items JOIN work ON work.item_key = items.item_key AND task = 'metadata'
                LEFT JOIN versions ON versions.item_key = items.item_key
            WHERE {which} AND NOT withdrawn AND ({int(with_private)} OR NOT ({own}))
                AND figshare_id NOT IN (
                    SELECT {_OF_FIGSHARE.format("work.item_key")} FROM work
                    LEFT JOIN versions ON versions.item_key = work.item_key WHERE {_SUSPECTED}
                )
            ORDER BY asked_in DESC, items.item_key < 0, items.item_key LIMIT ?
            """,
            (most,),
        )
        return [ItemRef(item_id, bool(private), version=version) for item_id, version, private in rows]

    def doubt_listed(self, why: str) -> int:
        """Turn suspected items that are still listed into temporary failures; return how many."""
        return self._doubt(why, _IS_LISTED)

    def believe(self) -> None:
        """Mark all suspected items as withdrawn."""
        rows = self._db.execute(f"SELECT item_key FROM work WHERE {_SUSPECTED} ORDER BY 1").fetchall()
        self._withdraw([key for (key,) in rows])

    def doubt(self, why: str) -> None:
        """Turn all suspected items into temporary failures with this error."""
        self._doubt(why, "TRUE")

    def _doubt(self, why: str, which: str) -> int:
        return self._db.execute(
            f"UPDATE work SET failure_kind = ?, error = ? WHERE {_SUSPECTED} AND {which}",
            (str(FailureKind.TRANSIENT), why),
        ).rowcount
