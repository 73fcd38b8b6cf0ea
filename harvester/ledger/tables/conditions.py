"""
On which conditions items are wanted, where no listing could tell: their records will.

An item that something else names too is wanted whatever its record says. One whose record meets none of its
conditions is left out: nothing of it is kept but that. What a condition says is for `figshare.conditions`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping

from harvester.ledger.database import bulk
from harvester.models import ItemKey


class Conditions:
    """Writes rows, inside a transaction that the ledger has opened, in the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._are_any = bool(db.execute("SELECT EXISTS (SELECT 1 FROM conditions)").fetchone()[0])

    def note(self, wanted: Mapping[ItemKey, str], is_known: Collection[ItemKey]) -> list[ItemKey]:
        """
        Note on which condition a page wants its items, "" for none; return those left out that it takes.

        `is_known`: those of them that were named before; if that was on no condition, it stays so.
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
