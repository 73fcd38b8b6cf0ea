"""
Versions: each version of an item is an item of its own in the ledger, with a negative key.

So a version has its record, its files and its work like any item. Statistics belong to the item, not to its
versions: they are stored under the item's key. If only versions of it are listed, they are stored under one
of them, which ``counts``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from harvester.ledger.database import bulk
from harvester.models import ItemId, ItemKey


def keys(db: sqlite3.Connection, wanted: Sequence[tuple[ItemId, int]]) -> dict[tuple[ItemId, int], ItemKey]:
    """Return the keys of some versions (figshare's id, version), new or known."""
    if not wanted:
        return {}
    (lowest,) = db.execute("SELECT ifnull(min(item_key), 0) FROM versions").fetchone()
    each = sorted(set(wanted))
    bulk.write(
        db,
        "INSERT INTO versions (item_key, item_id, version) {values} ON CONFLICT DO NOTHING",
        [(lowest - place, *version) for place, version in enumerate(each, start=1)],
    )
    rows = bulk.select(
        db,
        "WITH given (item_id, version) AS ({values})"
        " SELECT item_id, version, item_key FROM given JOIN versions USING (item_id, version)",
        each,
    )
    return {(item_id, version): key for item_id, version, key in rows}


def known(db: sqlite3.Connection, item_id: ItemId) -> frozenset[int]:
    """Return the known versions of an item, by figshare's id, that are not withdrawn."""
    rows = db.execute(
        "SELECT version FROM versions JOIN items USING (item_key) WHERE item_id = ? AND NOT withdrawn",
        (item_id,),
    )
    return frozenset(version for (version,) in rows)


def let_count(db: sqlite3.Connection, named: Sequence[ItemKey]) -> None:
    """Let one version of each item carry its statistics, unless something does so already."""
    bulk.write(
        db,
        """
        WITH named (item_key) AS ({values})
        UPDATE versions SET counts = 1 WHERE item_key IN (
            SELECT max(versions.item_key) FROM named JOIN versions USING (item_key)
            WHERE NOT EXISTS (SELECT 1 FROM items WHERE items.item_key = versions.item_id) AND NOT EXISTS (
                SELECT 1 FROM versions AS other WHERE other.item_id = versions.item_id AND other.counts
            )
            GROUP BY versions.item_id
        )
        """,
        [(key,) for key in named],
    )


def that_count(db: sqlite3.Connection, keys: Sequence[ItemKey]) -> set[ItemKey]:
    """Return those of some versions, by their keys, that carry the statistics of their item."""
    rows = bulk.select(
        db, "SELECT item_key FROM versions WHERE counts AND item_key IN ({values})", [(key,) for key in keys]
    )
    return {key for (key,) in rows}


def hand_over(db: sqlite3.Connection, item_ids: Sequence[int]) -> None:
    """Let new items carry their statistics themselves, with the stored ones of their versions."""
    moved = bulk.select(
        db,
        "WITH named (item_id) AS ({values}) SELECT versions.item_id, versions.item_key FROM named"
        " JOIN versions ON versions.item_id = named.item_id AND counts",
        [(item_id,) for item_id in item_ids],
    )
    for statement in _HAND_OVER:
        db.executemany(statement, moved)


_HAND_OVER = (
    "DELETE FROM work WHERE item_key = ?1 AND task <> 'metadata'"
    " AND task IN (SELECT task FROM work WHERE item_key = ?2)",
    "UPDATE work SET item_key = ?1 WHERE item_key = ?2 AND task <> 'metadata'",
    # Not an update, whose trigger would add a snapshot.
    "INSERT INTO stats (item_key, views, downloads, asked_at, shares, asked)"
    " SELECT ?1, views, downloads, asked_at, shares, asked FROM stats WHERE item_key = ?2",
    "DELETE FROM stats WHERE ?1 AND item_key = ?2",
    "UPDATE snapshots SET item_key = ?1 WHERE item_key = ?2",
    "UPDATE usage SET item_key = ?1 WHERE item_key = ?2",
    "UPDATE versions SET counts = 0 WHERE ?1 AND item_key = ?2",
)


def forget(db: sqlite3.Connection, gone: Sequence[bulk.Row]) -> None:
    """Let other versions carry the statistics of versions that do not exist, by their keys."""
    others = bulk.select(
        db,
        "SELECT other.item_key FROM versions AS other JOIN items USING (item_key) WHERE other.item_id IN ("
        "SELECT item_id FROM versions WHERE counts AND item_key IN ({values}))",
        gone,
    )
    bulk.write(db, "UPDATE versions SET counts = 0 WHERE item_key IN ({values})", gone)
    let_count(db, [key for (key,) in others])
