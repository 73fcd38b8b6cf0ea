"""Totals: the content of a ledger in numbers; each entry, item and file counts in exactly one state."""

import sqlite3
from typing import Any

from harvester.ledger.database.connection import OPEN_WORK, STANDS_IN
from harvester.states import NOT_ASKED, FileStatus


class _Totals:
    """The content of table `totals`. ``file_outcomes``: withheld and failed files by their reason."""

    def __init__(self) -> None:
        self.items = self.records = 0
        self.work: dict[str, dict[str, int]] = {}
        self.files: dict[str, dict[str, int]] = {}
        self.file_outcomes: dict[str, int] = {}

    def add_files(self, status: str, why: str, number: int, size: int) -> None:
        count = self.files.setdefault(status, {"files": 0, "bytes": 0})
        count["files"] += number
        count["bytes"] += size
        has_reason = status in {FileStatus.FAILED, FileStatus.WITHHELD} or why == NOT_ASKED
        outcome = why if why and has_reason else status
        self.file_outcomes[outcome] = self.file_outcomes.get(outcome, 0) + number


def counts(db: sqlite3.Connection) -> dict[str, Any]:
    """
    Return the content of the folder in numbers.

    Its keys are ``items``, ``versions`` (items that are one version of another), ``records``,
    ``listings_open``, ``failures``; ``work``: task to state to number; ``files``: status to
    ``{"files": n, "bytes": n}``, and in the same form ``orphaned_files``, which no record lists any more, and
    ``unidentified_files``, which were here at a rebuild and no record has listed since; ``listings``: see
    `_listings`.

    ``outcomes`` counts every item and every file in exactly one state; the numbers add up to the totals.
    ``items``: done, pending, withdrawn, or the failure kind of its first failed task. ``files``: done,
    pending, skipped, link, the reason of a withheld file, or the failure kind of a failed one. ``withheld``:
    reason to number of items (a part of those that are done).
    """
    db.execute("BEGIN")  # one consistent snapshot, though a run may be writing
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
        f" AND (NOT private OR {STANDS_IN}) GROUP BY 1 ORDER BY 1"  # a private record may have the files
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
    """Return the counts of the triggers, so that no large table is scanned."""
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
    Return the accounts of all listing entries.

    ``entries`` = ``unique`` (different items) + ``duplicates`` + ``excluded`` (by the user's filters) +
    ``unresolved`` (names and entries without an item).
    """
    listings, entries, unique, excluded = db.execute(
        "SELECT count(*), ifnull(sum(entries), 0), ifnull(sum(unique_items), 0), ifnull(sum(excluded), 0)"
        " FROM listings WHERE NOT old"
    ).fetchone()
    if listings > 1:  # one item may be in several listings
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
    Return the number of items in each state, the first that applies of pending, failed, withdrawn, excluded
    and done.

    The partial index of open work is enough: all other items are done.
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
