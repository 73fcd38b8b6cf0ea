"""Totals: the content of a ledger in numbers; each entry, item and file counts in exactly one state."""

import sqlite3

from harvester.ledger.database.connection import OPEN_WORK, STANDS_IN
from harvester.states import NOT_ASKED, FileStatus
from harvester.summary import NO_FILES, FileTotals, FolderTotals, KeptStatistics, ListingTotals, Outcomes


class _Totals:
    """The content of table `totals`. ``file_outcomes``: withheld and failed files by their reason."""

    def __init__(self) -> None:
        self.items = self.records = 0
        self.work: dict[str, dict[str, int]] = {}
        self.files: dict[str, FileTotals] = {}
        self.file_outcomes: dict[str, int] = {}

    def add_files(self, status: str, why: str, number: int, size: int) -> None:
        before = self.files.get(status, NO_FILES)
        self.files[status] = FileTotals(before.files + number, before.bytes + size)
        has_reason = status in {FileStatus.FAILED, FileStatus.WITHHELD} or why == NOT_ASKED
        outcome = why if why and has_reason else status
        self.file_outcomes[outcome] = self.file_outcomes.get(outcome, 0) + number


def kept_statistics(db: sqlite3.Connection) -> KeptStatistics:
    """Return the statistics from before this run, or from before the interrupted runs that it resumes."""
    row = db.execute(
        """
        SELECT count(*), ifnull(min(done_at), '') FROM work
        WHERE task = 'stats' AND state = 'done' AND done_at < (
            SELECT min(started) FROM runs WHERE job = 'harvest' AND id > (
                SELECT ifnull(max(id), 0) FROM runs WHERE job = 'harvest' AND outcome = 'finished'
            )
        )
        """
    ).fetchone()
    return KeptStatistics(*row)


def counts(db: sqlite3.Connection, trash: FileTotals) -> FolderTotals:
    """Return the content of the folder in numbers; `trash`: that of its trash."""
    db.execute("BEGIN")  # one consistent snapshot, though a run may be writing
    try:
        return _counts(db, trash)
    finally:
        db.execute("ROLLBACK")


def _counts(db: sqlite3.Connection, trash: FileTotals) -> FolderTotals:
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
    return FolderTotals(
        items=total.items,
        versions=versions,
        records=total.records,
        listings_open=is_open,
        listings=listings,
        work=total.work,
        files=total.files,
        outcomes=Outcomes(items, total.file_outcomes, dict(withheld)),
        orphaned_files=FileTotals(*orphans),
        unidentified_files=FileTotals(*unidentified),
        failures=listing_failures
        + sum(states.get("failed", 0) for states in total.work.values())
        + total.files.get("failed", NO_FILES).files,
        trash=trash,
    )


def skipped(db: sqlite3.Connection) -> dict[str, int]:
    """Return the number of skipped files by reason, "" for the rules of the user."""
    rows = db.execute(
        "SELECT reason, sum(number) FROM totals WHERE what = 'files' AND state = 'skipped' AND number > 0"
        " GROUP BY reason"
    )
    return dict(rows.fetchall())


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


def _listings(db: sqlite3.Connection) -> ListingTotals:
    """Return the accounts of all listing entries."""
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
    return ListingTotals(
        entries=entries,
        unique=unique,
        duplicates=entries - excluded - unresolved - unique,
        excluded=excluded,
        unresolved=unresolved,
    )


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
