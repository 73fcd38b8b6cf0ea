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

    def add_files(self, status: str, failure_kind: str, number: int, size: int) -> None:
        count = self.files.setdefault(status, {"files": 0, "bytes": 0})
        count["files"] += number
        count["bytes"] += size
        is_told = status in {FileStatus.FAILED, FileStatus.WITHHELD} or failure_kind == NOT_ASKED
        outcome = failure_kind if failure_kind and is_told else status
        self.file_outcomes[outcome] = self.file_outcomes.get(outcome, 0) + number


def counts(db: sqlite3.Connection) -> dict[str, Any]:
    """
    Count what the folder holds.

    Returns ``items``, ``versions`` (those of the items that are one version of another), ``records``,
    ``listings_open``, ``failures``; ``work``: task to state to number; ``files``: status to
    ``{"files": n, "bytes": n}``, as ``leftovers`` of what no record names any more and ``found`` of what was
    here when the ledger was made anew and no record has named since; ``listings``: see
    `_listings`.

    ``outcomes`` puts every item and every file into exactly one state; the numbers add up to all
    there are. ``items``: done, pending, withdrawn, or the verdict on the first of its tasks that
    failed. ``files``: done, pending, skipped, link, the reason why it is withheld, or the verdict on
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
    mishaps = _one(db, "SELECT count(*) FROM mishaps")
    withheld = db.execute(
        "SELECT withheld, count(*) FROM items WHERE withheld <> ''"
        f" AND (NOT private OR {STANDS_IN}) GROUP BY 1 ORDER BY 1"  # its owner may have the files
    ).fetchall()
    is_open = _one(db, "SELECT count(*) FROM listings WHERE NOT complete AND NOT old")
    versions = _one(db, "SELECT count(*) FROM versions JOIN items USING (id)")
    leftovers = db.execute(
        "SELECT count(*), CAST(min(total(size), 9e18) AS INTEGER) FROM leftovers WHERE NOT found"
    ).fetchone()
    found = db.execute(
        "SELECT count(*), CAST(min(total(size), 9e18) AS INTEGER) FROM leftovers WHERE found"
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
        "leftovers": {"files": leftovers[0], "bytes": leftovers[1]},
        "found": {"files": found[0], "bytes": found[1]},
        "failures": mishaps
        + sum(states.get("failed", 0) for states in total.work.values())
        + total.files.get("failed", {"files": 0})["files"],
    }


def _totals(db: sqlite3.Connection) -> _Totals:
    """Read what the triggers have counted, so that no table is walked, however large it is."""
    total = _Totals()
    rows = db.execute(
        "SELECT what, task, state, verdict, number, bytes FROM totals WHERE number > 0"
        " ORDER BY what, task, state, verdict"
    )
    for what, task, state, failure_kind, number, size in rows:
        if what == "files":
            total.add_files(state, failure_kind, number, size)
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

    ``asked`` = ``found`` (different items) + ``repeated`` + ``left_out`` (not taken by the user's
    filters) + ``unresolved`` (names and entries that lead to no item).
    """
    listings, entries, found, excluded = db.execute(
        "SELECT count(*), ifnull(sum(entries), 0), ifnull(sum(found), 0), ifnull(sum(left_out), 0)"
        " FROM listings WHERE NOT old"
    ).fetchone()
    if listings > 1:  # one item may stand in several
        found = _one(
            db,
            "SELECT count(*) FROM (SELECT DISTINCT item_id FROM finds"
            " WHERE listing_id NOT IN (SELECT id FROM listings WHERE old))",
        )
    unresolved = _one(db, "SELECT count(*) FROM mishaps WHERE task = 'resolve'")
    return {
        "asked": entries,
        "found": found,
        "repeated": entries - excluded - unresolved - found,
        "left_out": excluded,
        "unresolved": unresolved,
    }


def _item_outcomes(db: sqlite3.Connection, total: _Totals) -> dict[str, int]:
    """
    Put every item into exactly one state, the first of pending, failed, withdrawn, left out and done.

    Read in the index of what is not done; all other items are done.
    """
    pending = _one(
        db, f"SELECT count(*) FROM (SELECT DISTINCT item_id FROM work WHERE {OPEN_WORK} AND state = 'owed')"
    )
    failed = db.execute(
        f"""
        SELECT verdict, count(*) FROM work WHERE {OPEN_WORK} AND state = 'failed' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_id = work.item_id
                AND (other.state = 'owed' OR (other.state = 'failed' AND other.task < work.task))
        ) GROUP BY verdict
        """
    ).fetchall()
    withdrawn = _one(
        db,
        f"""
        SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'withdrawn' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_id = work.item_id AND (
                other.state IN ('owed', 'failed')
                OR (other.state = 'withdrawn' AND other.task < work.task)
            )
        )
        """,
    )
    excluded = _one(
        db,
        f"""
        SELECT count(DISTINCT item_id) FROM work WHERE {OPEN_WORK} AND state = 'left out' AND NOT EXISTS (
            SELECT 1 FROM work AS other WHERE other.item_id = work.item_id
                AND other.state IN ('owed', 'failed', 'withdrawn')
        )
        """,
    )
    outcomes = {"pending": pending, "withdrawn": withdrawn, "left out": excluded, **dict(failed)}
    outcomes["done"] = total.items - sum(outcomes.values())
    return {outcome: number for outcome, number in sorted(outcomes.items()) if number}


def _one(db: sqlite3.Connection, sql: str) -> int:
    return db.execute(sql).fetchone()[0]  # type: ignore[no-any-return]  # a count
