"""Listing table: the cursor, the items, the failures and the high-watermark of each listing."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from harvester.errors import FailureKind
from harvester.ledger.database import bulk
from harvester.ledger.database.connection import OPEN_WORK
from harvester.ledger.messages import AddedItems, ListingFailure, ListingProgress
from harvester.ledger.tables import versions
from harvester.ledger.tables.listing_items import ListingItems
from harvester.ledger.tables.queue import WorkQueue
from harvester.models import ItemId, ItemKey, Page

MOST_INACTIVE = 10
"""Listings that the config no longer selects are kept up to this number, in case it selects them again."""


class ListingTable:
    """Writes rows, in a transaction of the ledger and in its thread."""

    def __init__(self, db: sqlite3.Connection, queue: WorkQueue, *, run_id: int, now: str) -> None:
        self._db = db
        self._intake = ListingItems(db, queue, run_id=run_id)
        self._run_id = run_id
        self._now = now

    # -- the set of listings -----------------------------------------------------------------------

    def begin(self, *, quick: bool) -> None:
        """Prepare for a run: listings that were read completely start again, except in a quick run."""
        self._db.execute("DELETE FROM listing_failures WHERE task = 'listing'")
        self._forget(self._ids("NOT old AND anew"))
        if not quick:
            self.begin_anew([key for (key,) in self._db.execute("SELECT key FROM listings WHERE NOT old")])

    def forget_gone(self) -> None:
        """
        Remove items that were never found and are no longer listed or named.

        Otherwise an id that was mistyped once would fail in every run in this folder.
        """
        these = f"""
            SELECT item_key FROM work WHERE {OPEN_WORK} AND state = 'failed' AND failure_kind = 'not_found'
                AND task = 'metadata' AND NOT EXISTS (SELECT 1 FROM records WHERE item_key = work.item_key)
                AND NOT EXISTS (
                    SELECT 1 FROM listing_items JOIN listings ON listings.id = listing_id
                    WHERE listing_items.item_key = work.item_key AND NOT old
                )
        """
        gone = self._db.execute(these).fetchall()
        bulk.write(self._db, "DELETE FROM work WHERE item_key IN ({values})", gone)
        bulk.write(self._db, "DELETE FROM stats WHERE item_key IN ({values})", gone)
        bulk.write(self._db, "DELETE FROM usage WHERE item_key IN ({values})", gone)
        bulk.write(self._db, "DELETE FROM items WHERE item_key IN ({values})", gone)
        versions.forget(self._db, gone)

    def begin_anew(self, keys: Sequence[str]) -> None:
        """
        Restart listings that an earlier harvest has read; the old rows show which items vanish.

        A listing that the last harvest did not complete continues; one that was abandoned earlier restarts.
        """
        (last,) = self._db.execute(
            "SELECT ifnull(max(id), -1) FROM runs WHERE job = 'harvest' AND outcome = 'finished'"
        ).fetchone()
        wanted = set(keys)
        self._forget(
            [
                (listing_id,)
                for listing_id, key in self._db.execute(
                    "SELECT id, key FROM listings WHERE NOT old AND NOT complete AND run_id < ?", (last,)
                ).fetchall()
                if key in wanted
            ]
        )
        read = self._db.execute(
            "SELECT id, key FROM listings WHERE NOT old AND complete AND run_id <= ?", (last,)
        ).fetchall()
        self._mark_old([listing for listing in read if listing[1] in wanted])

    def keep(self, keys: Sequence[str]) -> None:
        """
        Remove all listings but these.

        The last few complete ones are kept: when they are selected again, they show which items have
        vanished.
        """
        wanted = set(keys)
        here = self._db.execute("SELECT id, key, complete FROM listings WHERE NOT old").fetchall()
        others = [listing for listing in here if listing[1] not in wanted]
        self._forget([(listing_id,) for listing_id, _, complete in others if not complete])
        self._db.executemany(
            "DELETE FROM listing_failures WHERE subject = ?", [(key,) for _, key, _ in others]
        )
        self._mark_old([(listing_id, key) for listing_id, key, complete in others if complete])
        inactive = self._db.execute("SELECT id, key FROM listings WHERE old ORDER BY id DESC").fetchall()
        beyond = [(listing_id,) for listing_id, key in inactive if key not in wanted][MOST_INACTIVE:]
        self._forget(beyond)

    def _mark_old(self, listings: Sequence[bulk.Row]) -> None:
        """Mark listings, by id and key, as old, and remove the older rows with the same keys."""
        keys = [(key,) for _, key in listings]
        before = bulk.select(self._db, "SELECT id FROM listings WHERE old AND key IN ({values})", keys)
        self._forget(before)
        bulk.write(
            self._db,
            "UPDATE listings SET old = 1 WHERE id IN ({values})",
            [(listing_id,) for listing_id, _ in listings],
        )
        self._forget_names()

    def _ids(self, which: str) -> list[bulk.Row]:
        return self._db.execute(f"SELECT id FROM listings WHERE {which}").fetchall()

    def _forget(self, gone: Sequence[bulk.Row]) -> None:
        """Remove listings by their ids, with their items and their unresolved names."""
        if not gone:
            return
        if len(gone) == self._db.execute("SELECT count(*) FROM listings").fetchone()[0]:
            self._db.execute("DELETE FROM listing_items")  # one fast statement for all rows
        else:
            bulk.write(self._db, "DELETE FROM listing_items WHERE listing_id IN ({values})", gone)
        bulk.write(self._db, "DELETE FROM listings WHERE id IN ({values})", gone)
        self._forget_names()

    def _forget_names(self) -> None:
        self._db.execute(
            "DELETE FROM listing_failures WHERE task = 'resolve'"
            " AND listing NOT IN (SELECT key FROM listings WHERE NOT old)"
        )

    # -- incremental listing -------------------------------------------------------

    def watermark(self, key: str) -> str:
        """Return the high-watermark: everything modified before is here; "" if it is unknown."""
        row = self._db.execute(
            "SELECT watermark FROM listings WHERE key = ? AND complete AND NOT old", (key,)
        ).fetchone()
        return str(row[0]) if row else ""

    def advance_watermarks(self) -> None:
        """
        Advance the high-watermarks after a run without errors: everything modified before a listing began is
        here.

        The beginning is the date of its first answer. If that is unknown, it is at most the newest date of
        its items, as later modifications have later dates.
        """
        self._db.execute(
            """
            UPDATE listings SET watermark = iif(by_clock, min(begun, ifnull((  -- clocks are ahead at times
                SELECT max(modified_date) FROM listing_items JOIN items USING (item_key)
                WHERE listing_id = listings.id
            ), begun)), begun) WHERE complete AND NOT old
            """
        )

    def merge(self, parts: Mapping[str, str]) -> None:
        """Merge incremental listings into the complete ones; `parts`: key of the part to key of the whole."""
        read = {
            key: (listing_id, entries, excluded, begun, by_clock)
            for listing_id, key, entries, excluded, begun, by_clock in self._db.execute(
                "SELECT id, key, entries, excluded, begun, by_clock FROM listings WHERE complete AND NOT old"
            )
        }
        pairs = [(read[part], read[whole]) for part, whole in parts.items() if part in read and whole in read]
        if not pairs:
            return
        gone = [(part[0],) for part, _ in pairs]
        before = self._item_counts(gone)
        bulk.write(
            self._db,
            "WITH pairs (part, whole) AS ({values}) UPDATE OR IGNORE listing_items"
            " SET listing_id = (SELECT whole FROM pairs WHERE part = listing_id)"
            " WHERE listing_id IN (SELECT part FROM pairs)",
            [(part[0], whole[0]) for part, whole in pairs],
        )
        known = self._item_counts(gone)
        self._db.executemany(
            "UPDATE listings SET entries = entries + ?,"
            " unique_items = unique_items + ?, excluded = excluded + ?, begun = ?, by_clock = ? WHERE id = ?",
            [
                (part[1], before.get(part[0], 0) - known.get(part[0], 0), *part[2:], whole[0])
                for part, whole in pairs
            ],
        )
        self._db.executemany(
            "UPDATE OR REPLACE listing_failures SET listing = ? WHERE listing = ?",
            [(whole, part) for part, whole in parts.items()],
        )
        self._forget(gone)

    def _item_counts(self, listings: Sequence[bulk.Row]) -> dict[int, int]:
        """Return the number of items of some listings."""
        rows = bulk.select(
            self._db,
            "SELECT listing_id, count(*) FROM listing_items WHERE listing_id IN ({values}) GROUP BY 1",
            listings,
        )
        return dict(rows)

    def requeue_vanished(self) -> list[ItemKey]:
        """Queue the items that complete listings no longer contain; return the keys of new entries."""
        old = self._db.execute(
            "SELECT id FROM listings AS before WHERE old AND EXISTS ("
            "SELECT 1 FROM listings WHERE key = before.key AND NOT old AND complete)"
        ).fetchall()
        vanished = bulk.select(
            self._db,
            f"""
            SELECT DISTINCT item_key FROM listing_items JOIN items USING (item_key)
            WHERE listing_id IN ({{values}}) AND NOT withdrawn AND NOT EXISTS (  -- requested in this run
                SELECT 1 FROM work WHERE work.item_key = items.item_key AND task = 'metadata'
                    AND state = 'failed' AND failure_kind = '{FailureKind.SUSPECTED}'
            ) AND NOT EXISTS (
                SELECT 1 FROM listing_items AS now WHERE now.item_key = listing_items.item_key
                    AND now.listing_id IN (SELECT id FROM listings WHERE NOT old)
            )
            """,
            old,
        )
        self._forget(old)
        return self._intake.requeue_records(sorted({item_key for (item_key,) in vanished}))

    # -- names ------------------------------------------------------------------------------------

    def forget_failures(self, failure_kinds: Sequence[str]) -> tuple[int, tuple[str, ...]]:
        """
        Remove failures of these kinds; return the number of listings, and the names.

        The names are requested again, and count as entries of that listing. If this run ends before, the next
        run restarts the lists that contain them.
        """
        values = tuple(failure_kinds)
        which = f"failure_kind IN ({bulk.qmarks(values)})"
        listings = self._db.execute(
            f"DELETE FROM listing_failures WHERE task = 'listing' AND {which}", values
        ).rowcount
        these = f"FROM listing_failures WHERE task = 'resolve' AND {which}"
        self._db.execute(
            "UPDATE listings SET anew = 1, entries = entries - names.number"
            f" FROM (SELECT listing, count(*) AS number {these} GROUP BY listing) AS names"
            " WHERE key = names.listing AND NOT old",
            values,
        )
        names = self._db.execute(f"SELECT subject {these} ORDER BY rowid", values).fetchall()
        self._db.execute(f"DELETE {these}", values)
        return listings, tuple(name for (name,) in names)

    # -- page by page -----------------------------------------------------------------------------

    def progress(self, key: str) -> ListingProgress:
        """Return the progress of a listing."""
        row = self._db.execute(
            "SELECT position, complete, entries - excluded, unique_items FROM listings"
            " WHERE key = ? AND NOT old",
            (key,),
        ).fetchone()
        return ListingProgress(row[0], bool(row[1]), *row[2:]) if row else ListingProgress()

    def empty(self) -> dict[str, int]:
        """Return the complete listings without items, by their keys, with the number of excluded entries."""
        rows = self._db.execute(
            "SELECT key, excluded FROM listings WHERE NOT old AND complete AND entries = excluded"
        )
        return dict(rows.fetchall())

    def add_failure(self, failed: ListingFailure) -> None:
        """Record a listing that failed."""
        failure = failed.failure
        self._db.execute(
            "INSERT OR REPLACE INTO listing_failures (task, subject, error, attempts, failure_kind, listing)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?2)",
            (failure.task, failure.subject, failure.error, failure.attempts, str(failure.failure_kind)),
        )
        if failed.begin_anew:
            self._db.execute("UPDATE listings SET anew = 1 WHERE key = ? AND NOT old", (failure.subject,))

    def _with_harvested(self, page: Page) -> Page:
        """Return a page on which unresolved names of harvested items became these items."""
        refs, rest = list(page.refs), []
        for each in page.unresolved:
            if each.if_harvested is not None and self._was_harvested(each.if_harvested.id):
                refs.append(each.if_harvested)
            else:
                rest.append(each)
        return replace(page, refs=tuple(refs), unresolved=tuple(rest))

    def _was_harvested(self, item_id: ItemId) -> bool:
        """Return whether an item, or a version of it, was harvested."""
        found = self._db.execute(
            "SELECT 1 FROM"
            " (SELECT ?1 AS item_key UNION SELECT item_key FROM versions WHERE item_id = ?1) AS these"
            " WHERE EXISTS (SELECT 1 FROM records WHERE item_key = these.item_key)"
            " OR EXISTS ("
            "SELECT 1 FROM work WHERE item_key = these.item_key AND state IN ('done', 'withdrawn'))",
            (item_id,),
        )
        return found.fetchone() is not None

    def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> AddedItems:
        """Save a page of a listing, with the cursor of the next one."""
        page = self._with_harvested(page)
        self._db.execute(
            "INSERT INTO listings (key, old, complete, entries, unique_items, excluded, run_id, begun,"
            " by_clock, watermark) SELECT ?1, 0, 0, 0, 0, 0, ?2, ?3, ?4,"
            " ifnull((SELECT watermark FROM listings WHERE key = ?1 AND old), '')"
            " WHERE TRUE ON CONFLICT DO NOTHING",
            (key, self._run_id, page.served_at or self._now, int(not page.served_at)),
        )
        (listing_id,) = self._db.execute(
            "SELECT id FROM listings WHERE key = ? AND NOT old", (key,)
        ).fetchone()
        named, new, requeued = self._intake.take(page.refs, tasks, listing_id, page.served_at or self._now)
        found = bulk.write(
            self._db,
            "INSERT INTO listing_items (item_key, listing_id, own) {values} ON CONFLICT DO NOTHING",
            [(item_key, listing_id, private) for item_key, private in named],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO listing_failures (task, subject, error, attempts, failure_kind, listing)"
            " VALUES ('resolve', ?, ?, 1, ?, ?)",
            [(name.name, name.reason, str(name.failure_kind), key) for name in page.unresolved],
        )
        entries = len(page.refs) + len(page.unresolved) + page.excluded
        self._db.execute(
            "UPDATE listings SET position = ?, complete = ?, entries = entries + ?,"
            " unique_items = unique_items + ?, excluded = excluded + ? WHERE id = ?",
            (page.cursor, int(page.cursor is None), entries, found, page.excluded, listing_id),
        )
        return AddedItems(new + len(requeued), self.progress(key), page.unresolved, tuple(requeued))
