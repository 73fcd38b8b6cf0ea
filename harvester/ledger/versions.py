"""
Versions of items: each is an item of its own in the ledger, with an id that is none of figshare's.

So one version has its record, its files and its work as any item has, and whoever does not ask for versions
never meets them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from harvester.ledger import many


def keys(db: sqlite3.Connection, wanted: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return the ids in the ledger of some versions (figshare's id, version), new or not."""
    if not wanted:
        return {}
    (lowest,) = db.execute("SELECT ifnull(min(id), 0) FROM versions").fetchone()
    each = sorted(set(wanted))
    many.write(
        db,
        "INSERT INTO versions (id, item_id, version) {values} ON CONFLICT DO NOTHING",
        [(lowest - place, *version) for place, version in enumerate(each, start=1)],
    )
    rows = many.select(
        db,
        "WITH told (item_id, version) AS ({values})"
        " SELECT item_id, version, id FROM told JOIN versions USING (item_id, version)",
        each,
    )
    return {(item_id, version): key for item_id, version, key in rows}


def known(db: sqlite3.Connection, item_id: int) -> frozenset[int]:
    """Return the versions of an item, by figshare's id, that were asked for before and are not withdrawn."""
    rows = db.execute(
        "SELECT version FROM versions JOIN items USING (id) WHERE item_id = ? AND NOT withdrawn", (item_id,)
    )
    return frozenset(version for (version,) in rows)
