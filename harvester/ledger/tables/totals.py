"""What a ledger holds, in numbers: each entry, item and file in exactly one place."""

import sqlite3
from typing import Any

from harvester.ledger.database.connection import OPEN_WORK, STANDS_IN
from harvester.models import NOT_ASKED, FileStatus


class _Totals:
    """The table `totals`. ``file_outcomes``: by the reason why a file is withheld or has failed."""

    def __init__(self) -> None:
        self.items = self.records = 0
        self.work: dict[str, dict[str, int]] = {}
        self.files: dict[str, dict[str, int]] = {}
        self.file_outcomes: dict[str, int] = {}

    def add_files(self, status: str, why: str, number: int, size: int) -> None:
        count = self.files.setdefault(status, {"files": 0, "bytes": 0})
        count["files"] += number
        count["bytes"] += size
        is_told = status in {FileStatus.FAILED, FileStatus.WITHHELD} or why == NOT_ASKED
        outcome = why if why and is_told else status
        self.file_outcomes[outcome] = self.file_outcomes.get(outcome, 0) + number


def counts(db: sqlite3.Connection) -> dict[str, Any]:
    """
    Count what the folder holds.

    Returns ``items``, ``versions`` (those of the items that are one version of another), ``records``,
    ``listings_open``, ``failures``; ``work``: task to state to number; ``files``: status to
    ``{"files": n, "bytes": n}``, as ``orphaned_files`` of what no record names any more and
    ``unidentified_files`` of what was here when the ledger was made anew and no record has named since;
    ``listings``: see `_listings`.

    ``outcomes`` puts every item and every file into exactly one state; the numbers add up to all
    there are. ``items``: done, pending, withdrawn, or the failure kind of the first of its tasks that
    failed. ``files``: done, pending, skipped, link, the reason why it is withheld, or the failure kind of
    it. ``withheld``: reason to number of items (a part of those that are done).
    """
    db.execute("BEGIN")  # all that is read is of one moment, though a run writes on
    try:
        return _counts(db)
    finally:
        db.execute("ROLLBACK")


def _counts(db: sqlite3.Connection) -> dict[str, Any]:
    total = _totals(db)
    listings, items = _listings(db), _item_outcomes(db, total)
    listing_failures = _one(db, "SELECT count(*) FROM listing_failures")
    withheld = db.execute(
        "SELECT withheld, count(*) FROM items WHERE withheld <> ''"
        f" AND (NOT private OR {STANDS_IN}) GROUP BY 1 ORDER BY 1"  # its owner may have the files
    ).fetchall()
    is_open = _one(db, "SELECT count(*) FROM listings WHERE NOT complete AND NOT old")
    versions = _one(db, "SELECT count(*) FROM versions JOIN items USING (item_key)")
    orphans = db.execute(
        "SELECT count(*), CAST(min(total(size), 9e18) AS INTEGER) FROM orphans WHERE NOT unidentified"
    ).fetchone()
    unidentified = db.execute(
        "SELECT count(*), CAST(min(total(size), 9e18) AS INTEGER) FROM orphans WHERE unidentified"
    ).fetchone()
    return {
        "items": total.items,
        "versions": versions,
        "records": total.records,
        "listings_open": is_open,
        "listings": listings,
        "work": total.work,
        "files": total.files,
        "outcomes": {"items": items, "files": total.file_outcomes, "withheld": dict(withheld)},
        "orphaned_files": {"files": orphans[0], "bytes": orphans[1]},
        "unidentified_files": {"files": unidentified[0], "bytes": unidentified[1]},
        "failures": listing_failures
        + sum(states.get("failed", 0) for states in total.work.values())
        + total.files.get("failed", {"files": 0})["files"],
    }


def _totals(db: sqlite3.Connection) -> _Totals:
    """Read what the triggers have counted, so that no table is walked, however large it is."""
    total = _Totals()
    rows = db.execute(
        "SELECT what, task, state, failure_kind, reason, number, bytes FROM totals WHERE number > 0"
        " ORDER BY what, task, state, failure_kind, reason"
    )
    for what, task, state, failure_kind, reason, number, size in rows:
        if what == "files":
            total.add_files(state, failure_kind or reason, number, size)
        elif what == "work":
            total.work.setdefault(task, {})[state] = number
        elif what == "items":
            total.items = number
        else:
            total.records = number
    return total


def _listings(db: sqlite3.Connection) -> dict[str, int]:
    """
    Account for every entry that the listings gave.

    ``entries`` = ``unique`` (different items) + ``duplicates`` + ``excluded`` (not taken by the
    user's filters) + ``unresolved`` (names and entries that lead to no item).
    """
    listings, entries, unique, excluded = db.execute(
        "SELECT count(*), ifnull(sum(entries), 0), ifnull(sum(unique_items), 0), ifnull(sum(excluded), 0)"
        " FROM listings WHERE NOT old"
    ).fetchone()
    if listings > 1:  # one item may stand in several
        unique = _one(
            db,
            "SELECT count(*) FROM (SELECT DISTINCT item_key FROM listing_items"
            " WHERE listing_id NOT IN (SELECT id FROM listings WHERE old))",
        )
    unresolved = _one(db, "SELECT count(*) FROM listing_failures WHERE task = 'resolve'")
    return {
        "entries": entries,
        "unique": unique,
        "duplicates": entries - excluded - unresolved - unique,
        "excluded": excluded,
        "unresolved": unresolved,
    }


def _item_outcomes(db: sqlite3.Connection, total: _Totals) -> dict[str, int]:
    """
    Put every item into exactly one state, the first of pending, failed, withdrawn, excluded and done.

    Read in the index of what is not done; all other items are done.
    """
    pending = _one(
        db,
        f"SELECT count(*) FROM (SELECT DISTINCT item_key FROM work WHERE {OPEN_WORK} AND state = 'pending')",
    )
    failed = db.execute(
        f"""
        SELECT failure_kind, count(*) FROM work WHERE {OPEN_WORK} AND state = 'failed' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_key = work.item_key
                AND (other.state = 'pending' OR (other.state = 'failed' AND other.task < work.task))
        ) GROUP BY failure_kind
        """
    ).fetchall()
    withdrawn = _one(
        db,
        f"""
        SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'withdrawn' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_key = work.item_key AND (
                other.state IN ('pending', 'failed')
                OR (other.state = 'withdrawn' AND other.task < work.task)
            )
        )
        """,
    )
    excluded = _one(
        db,
        f"""
        SELECT count(DISTINCT item_key) FROM work WHERE {OPEN_WORK} AND state = 'excluded' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_key = work.item_key
                AND other.state IN ('pending', 'failed', 'withdrawn')
        )
        """,
    )
    outcomes = {"pending": pending, "withdrawn": withdrawn, "excluded": excluded, **dict(failed)}
    outcomes["done"] = total.items - sum(outcomes.values())
    return {outcome: number for outcome, number in sorted(outcomes.items()) if number}


def _one(db: sqlite3.Connection, sql: str) -> int:
    return db.execute(sql).fetchone()[0]  # type: ignore[no-any-return]  # a count
