"""
Filter conditions: which conditions the record of an item must meet, if its listing could not filter by them.

An item that is also listed without a condition is always wanted. An item whose record meets none of its
conditions is excluded; only that state is stored. `figshare.client_side_filters` evaluates conditions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from harvester.ledger.database import bulk
from harvester.models import ItemKey


class Conditions:
    """Writes rows, in a transaction of the ledger and in its thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._are_any = bool(db.execute("SELECT EXISTS (SELECT 1 FROM conditions)").fetchone()[0])

    def note(self, wanted: Mapping[ItemKey, str], is_known: Collection[ItemKey]) -> list[ItemKey]:
        """
        Save the conditions on the items of a page, "" for none; return excluded items that are wanted now.

        `is_known`: items that were listed before; if that was without a condition, it stays so.
        """
        if not self._are_any and not any(wanted.values()):
            return []
        before: dict[int, set[str]] = {}
        for item_key, condition in bulk.select(
            self._db,
            "SELECT item_key, condition FROM conditions WHERE item_key IN ({values})",
            [(item_key,) for item_key in wanted],
        ):
            before.setdefault(item_key, set()).add(condition)
        freed = [
            (item_key,) for item_key, condition in wanted.items() if not condition and item_key in before
        ]
        added = [
            (item_key, condition)
            for item_key, condition in wanted.items()
            if condition and (item_key not in is_known or condition not in before.get(item_key, {condition}))
        ]
        bulk.write(self._db, "DELETE FROM conditions WHERE item_key IN ({values})", freed)
        bulk.write(self._db, "INSERT INTO conditions {values} ON CONFLICT DO NOTHING", added)
        self._are_any = self._are_any or bool(added)
        rows = bulk.select(
            self._db,
            "SELECT DISTINCT item_key FROM work WHERE state <> 'done' AND state = 'excluded'"
            " AND item_key IN ({values})",
            [*freed, *((item_key,) for item_key, _ in added)],
        )
        return [item_key for (item_key,) in rows]
