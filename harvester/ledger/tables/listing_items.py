"""Listing items: saves the items of a listing page, and queues new and changed ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from harvester.ledger.database import bulk
from harvester.ledger.tables import versions
from harvester.ledger.tables.conditions import Conditions
from harvester.ledger.tables.dates import latest_from, to_the_second
from harvester.ledger.tables.queue import Ref, WorkQueue
from harvester.models import ItemKey, ItemRef, key_of


class ListingItems:
    """Writes rows, in a transaction of the ledger and in its thread."""

    def __init__(self, db: sqlite3.Connection, queue: WorkQueue, *, run_id: int) -> None:
        self._db = db
        self._queue = queue
        self._conditions = Conditions(db)
        self._run_id = run_id

    def take(
        self, named: Sequence[ItemRef], tasks: frozenset[str], listing_id: int, served_at: str
    ) -> tuple[list[tuple[ItemKey, int]], int, list[ItemKey]]:
        """
        Save the items of a listing page; a date that is impossible at `served_at` is ignored.

        Returns their keys, each once with whether it is private; the number of new items; and the keys of
        known items that are queued again.
        """
        refs, conditions = self._each_once(named, latest_from(served_at))
        new, requeued = self._add_items(refs, tasks, conditions, self._undoubted(refs, listing_id))
        of_user = [(ref.id, ref.version) for ref in named if ref.named]
        keys = versions.keys(self._db, [each for each in of_user if each[1]])
        self._queue.note_named([keys.get(each, key_of(each[0])) for each in of_user])
        return [(key, private) for key, private, _ in refs], new, requeued

    def _undoubted(self, refs: Sequence[Ref], listing_id: int) -> set[ItemKey]:
        """Return the items without a date that another listing of this run has listed."""
        rows = bulk.select(
            self._db,
            "SELECT item_key FROM listing_items JOIN listings ON listings.id = listing_id"
            f" WHERE NOT old AND run_id = {self._run_id} AND listing_id <> {listing_id}"
            " AND item_key IN ({values})",
            [(key,) for key, _, modified_date in refs if modified_date is None],
        )
        return {item_key for (item_key,) in rows}

    def _add_items(
        self,
        refs: Sequence[Ref],
        tasks: frozenset[str],
        conditions: Mapping[ItemKey, str],
        undoubted: set[ItemKey],
    ) -> tuple[int, list[ItemKey]]:
        """Queue new items, and the records of changed ones; return the number of new ones, and the others."""
        restricted = [(key,) for key, condition in conditions.items() if condition]
        known = bulk.select(self._db, "SELECT item_key FROM items WHERE item_key IN ({values})", restricted)
        versions.let_count(self._db, [key for key, _, _ in refs if key < 0])
        new = self._queue.admit(refs, tasks)
        if new:
            versions.hand_over(self._db, [key for key, _, _ in refs if key >= 0])
        wanted = self._conditions.note(conditions, {item_key for (item_key,) in known})
        requeued = self.requeue_records(wanted, enqueue="metadata" in tasks) if wanted else []
        if new != len(refs):
            requeued += self._renew([ref for ref in refs if ref[0] not in undoubted], tasks)
        return new, requeued

    def _renew(self, refs: Sequence[Ref], tasks: frozenset[str]) -> list[ItemKey]:
        """
        Save the listed dates of known items; return the keys of those that are queued again.

        Once the record is here, its date counts. An item that is listed with a later date than ever before
        has changed. An item whose record is older than recently listed dates, or that is listed without a
        date, is requested once a run with its ETag. If no date was known, the date of the pending record is
        the one to compare with later.
        """
        changed = self._changed(refs)
        bulk.write(
            self._db,
            """
            WITH listed (item_key, private, modified_date) AS ({values})
            UPDATE items SET private = max(items.private, listed.private),  -- the account's record has more
                listed_date = max(ifnull(listed_date, ''), ifnull(listed.modified_date, '')),
                modified_date = iif(EXISTS (
                    SELECT 1 FROM records WHERE item_key = items.item_key
                ) OR items.modified_date IS NULL AND EXISTS (
                    SELECT 1 FROM work
                    WHERE item_key = items.item_key AND task = 'metadata' AND state = 'pending'
                ), items.modified_date, max(
                    ifnull(items.modified_date, ''), ifnull(listed.modified_date, items.modified_date)
                ))
            FROM listed WHERE items.item_key = listed.item_key
            """,
            [row[:3] for row in changed],
        )
        bulk.write(
            self._db,
            "UPDATE items SET etag = '' WHERE item_key IN ({values})",
            [(item_key,) for item_key, _, _, is_newer, _ in changed if is_newer],
        )
        renewed = {row[0] for row in changed if row[3] or row[4]}
        return self.requeue_records(
            [item_key for item_key, _, _ in refs if item_key in renewed], enqueue="metadata" in tasks
        )

    def _changed(self, refs: Sequence[Ref]) -> list[bulk.Row]:
        """
        Return the items that may have changed: whether the date is newer, and
        whether to request the record.
        """
        here, before = to_the_second("items.modified_date"), to_the_second("items.listed_date")
        settled = f"max({here}, {to_the_second('items.settled')})"
        listed = to_the_second("listed.modified_date")
        return bulk.select(
            self._db,
            f"""
            WITH named (item_key, private, modified_date) AS ({{values}}),
            listed AS (
                SELECT *, EXISTS (  -- withdrawn, but listed
                    SELECT 1 FROM work WHERE work.item_key = named.item_key AND task = 'metadata'
                        AND state = 'withdrawn'
                ) AS is_back FROM named
            )
            SELECT listed.item_key, listed.private, listed.modified_date,
                (items.modified_date IS NOT NULL AND {listed} > max({here}, {before}))
                    OR items.private < listed.private AS is_newer,
                is_back OR listed.modified_date IS NULL
                    OR (items.modified_date IS NOT NULL AND {listed} > min({settled}, max({here}, {before})))
            FROM listed JOIN items USING (item_key)
            WHERE is_back OR items.private < listed.private OR {listed} > max({here}, {before})
                OR (listed.modified_date IS NULL OR {listed} > {settled})
                    AND asked_in < {self._run_id} AND EXISTS (
                        SELECT 1 FROM work WHERE work.item_key = items.item_key AND task = 'metadata'
                            AND state IN ('done', 'excluded')
                    )
            """,
            refs,
        )

    def requeue_records(self, keys: Sequence[ItemKey], *, enqueue: bool = True) -> list[ItemKey]:
        """
        Queue changed records again; return the keys of items that were not in the queue.

        Pending ones get another seq, as the old record may be in flight. `enqueue`: False in a run that
        requests no records: then they stay pending for a later run.
        """
        bulk.write(
            self._db,
            "UPDATE work SET state = 'pending', error = '', attempts = 0, failure_kind = ''"
            " WHERE task = 'metadata' AND state <> 'pending' AND item_key IN ({values})",
            [(key,) for key in keys],
        )
        if not enqueue:
            return []
        rows = [(key,) for key in keys]
        select = "SELECT item_key FROM items WHERE seq IS NULL AND item_key IN ({values})"
        added = bulk.select(self._db, select, rows)
        bulk.write(
            self._db,
            "WITH pending (item_key, seq) AS ({values})"
            " UPDATE items SET seq = pending.seq FROM pending WHERE items.item_key = pending.item_key",
            [(key, self._queue.next_seq()) for key in keys],
        )
        return [key for (key,) in added]

    def _each_once(self, refs: Sequence[ItemRef], latest: str) -> tuple[list[Ref], dict[ItemKey, str]]:
        """Return the items of a page, each once by its key, and their conditions."""
        keys = versions.keys(self._db, [(ref.id, ref.version) for ref in refs if ref.version])
        rows: dict[ItemKey, Ref] = {}
        conditions: dict[ItemKey, str] = {}
        for ref in refs:
            key = keys[ref.id, ref.version] if ref.version else key_of(ref.id)
            row: Ref = (
                key,
                int(ref.private),
                None if (ref.modified_date or "") > latest else ref.modified_date,
            )
            if (old := rows.get(key)) is not None:
                row = (key, max(old[1], row[1]), max(filter(None, (old[2], row[2])), default=None))
            rows[key] = row
            conditions[key] = ref.condition if conditions.get(key, ref.condition) else ""
        return list(rows.values()), conditions
