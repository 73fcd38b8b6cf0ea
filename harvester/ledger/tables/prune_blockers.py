"""Prune blockers: why nothing may be removed now, and which items have no better copy of their data."""

from __future__ import annotations

import sqlite3

from harvester.errors import FailureKind
from harvester.ledger.database.connection import OPEN_FILES, OPEN_WORK
from harvester.states import NOT_ASKED
from harvester.text.wording import counted

_MAY_PASS = f"failure_kind NOT IN ('{FailureKind.NOT_FOUND}', '{FailureKind.PERMANENT}')"
"""Of failures: a retry may succeed."""


def prune_blockers(db: sqlite3.Connection) -> list[str]:
    """Return why the last harvest may be incomplete; empty if it is not."""
    row = db.execute(
        "SELECT ifnull(outcome, 'killed') FROM runs WHERE job = 'harvest' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    blockers = [] if row is None or row[0] == "finished" else [f"it was {row[0]}"]
    pending, suspected, failed, listings, unread = db.execute(
        f"""
        SELECT (SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'pending' AND task = 'metadata'),
            (SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'failed' AND failure_kind = ?),
            (SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'failed' AND {_MAY_PASS})
                + (SELECT count(*) FROM files WHERE {OPEN_FILES} AND status = 'failed' AND {_MAY_PASS})
                + (SELECT count(*) FROM listing_failures WHERE task <> 'listing' AND {_MAY_PASS}),
            (SELECT count(*) FROM listing_failures WHERE task = 'listing'),
            (SELECT count(*) FROM listings WHERE NOT complete AND NOT old)
        """,
        (str(FailureKind.SUSPECTED),),
    ).fetchone()
    counts = (
        (pending, "record", "still pending"),
        (suspected, "item", "not found, and not yet marked as withdrawn"),
        (failed - suspected, "failure", "may pass (see failures.csv): run again"),
        (listings, "listing", "failed"),
        (unread, "listing", "not read to the end"),
    )
    return blockers + [f"{counted(number, noun)} {what}" for number, noun, what in counts if number]


def only_here(db: sqlite3.Connection) -> dict[int, str]:
    """
    Return the items, by figshare's id, whose stored data is the only copy, and why.

    Their record failed, or a file of it failed or is pending, so the replaced file is the only one.
    """
    rows = db.execute(
        f"""
        SELECT ifnull(versions.item_id, open.item_key), min(why) FROM (
            SELECT item_key, 'the record of its item failed: ' || error AS why FROM work
                WHERE {OPEN_WORK} AND state = 'failed' AND task = 'metadata'
            UNION ALL SELECT item_key, 'a file of its item failed: ' || error FROM files
                WHERE {OPEN_FILES} AND status = 'failed'
            UNION ALL SELECT item_key, 'a file of its item is still to come' FROM files
                WHERE {OPEN_FILES} AND (status = 'pending' OR reason = '{NOT_ASKED}')
        ) AS open LEFT JOIN versions ON versions.item_key = open.item_key GROUP BY 1
        """
    )
    return dict(rows.fetchall())
