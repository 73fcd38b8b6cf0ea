"""How far each listing has come, what it named, and what went wrong with it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TypeAlias

from harvester.ledger import many
from harvester.ledger.line import Line
from harvester.ledger.results import Added, Listed, Mishap
from harvester.models import ItemRef, Page

Ref: TypeAlias = tuple[int, int, str | None]
"""An item as a listing names it: its id, whether it is private, its modified date."""


class Listings:
    """Writes rows, inside a transaction that the ledger has opened, in the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection, line: Line) -> None:
        self._db = db
        self._line = line

    def begin(self, *, anew: bool) -> None:
        """Get ready for a run: what was read to its end is read again, where `anew`."""
        self._db.execute("DELETE FROM mishaps WHERE task = 'listing'")
        gone = self._db.execute("SELECT id FROM listings WHERE anew OR (complete AND ?)", (int(anew),))
        self._forget(gone.fetchall())

    def keep(self, keys: Sequence[str]) -> None:
        """Forget all but these listings."""
        wanted = set(keys)
        here = self._db.execute("SELECT id, key FROM listings").fetchall()
        self._forget([(listing_id,) for listing_id, key in here if key not in wanted])

    def _forget(self, gone: Sequence[many.Row]) -> None:
        """Forget listings by their ids, what they named and what went wrong with them."""
        if len(gone) == self._db.execute("SELECT count(*) FROM listings").fetchone()[0]:
            self._db.execute("DELETE FROM finds")  # at once, without a look at each row
        else:
            many.write(self._db, "DELETE FROM finds WHERE listing_id IN ({values})", gone)
        many.write(self._db, "DELETE FROM listings WHERE id IN ({values})", gone)
        self._db.execute("DELETE FROM mishaps WHERE listing NOT IN (SELECT key FROM listings)")

    def forget_names(self, which: str, values: tuple[str, ...]) -> tuple[str, ...]:
        """
        Forget what went wrong with some names, and return them: they are asked for once more.

        They count with those that they are asked for with. The lists that they stand in begin anew with the
        next run, should this one end before it has asked.
        """
        these = f"FROM mishaps WHERE task = 'resolve' AND {which}"
        self._db.execute(
            "UPDATE listings SET anew = 1, entries = entries - names.number"
            f" FROM (SELECT listing, count(*) AS number {these} GROUP BY listing) AS names"
            " WHERE key = names.listing",
            values,
        )
        names = self._db.execute(f"SELECT subject {these} ORDER BY rowid", values).fetchall()
        self._db.execute(f"DELETE {these}", values)
        return tuple(name for (name,) in names)

    def listed(self, key: str) -> Listed:
        """Tell how far a listing has come."""
        row = self._db.execute(
            "SELECT position, complete, entries - left_out, found FROM listings WHERE key = ?", (key,)
        ).fetchone()
        return Listed(row[0], bool(row[1]), *row[2:]) if row else Listed()

    def add_mishap(self, mishap: Mishap) -> None:
        """Record a listing that failed."""
        failure = mishap.failure
        self._db.execute(
            "INSERT OR REPLACE INTO mishaps (task, subject, error, attempts, verdict, listing)"
            " VALUES (?1, ?2, ?3, ?4, ?5, ?2)",
            (failure.task, failure.subject, failure.error, failure.attempts, str(failure.verdict)),
        )
        if mishap.begin_anew:
            self._db.execute("UPDATE listings SET anew = 1 WHERE key = ?", (failure.subject,))

    def add_page(self, key: str, page: Page, tasks: frozenset[str]) -> Added:
        """Add a page of a listing, and where the next one begins."""
        self._db.execute(
            "INSERT INTO listings (key, complete, entries, found, left_out) VALUES (?, 0, 0, 0, 0)"
            " ON CONFLICT DO NOTHING",
            (key,),
        )
        listing_id = self._db.execute("SELECT id FROM listings WHERE key = ?", (key,)).fetchone()[0]
        refs = _each_once(page.refs)
        owed = self._add_items(refs, tasks)
        found = many.write(
            self._db,
            "INSERT INTO finds (item_id, listing_id) {values} ON CONFLICT DO NOTHING",
            [(item_id, listing_id) for item_id, _, _ in refs],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO mishaps (task, subject, error, attempts, verdict, listing)"
            " VALUES ('resolve', ?, ?, 1, ?, ?)",
            [(name.name, name.reason, str(name.verdict), key) for name in page.unresolved],
        )
        entries = len(page.refs) + len(page.unresolved) + page.left_out
        self._db.execute(
            "UPDATE listings SET position = ?, complete = ?, entries = entries + ?, found = found + ?,"
            " left_out = left_out + ? WHERE id = ?",
            (page.position, int(page.position is None), entries, found, page.left_out, listing_id),
        )
        return Added(owed, self.listed(key))

    # -- the items of a page ----------------------------------------------------------------------

    def _add_items(self, refs: Sequence[Ref], tasks: frozenset[str]) -> int:
        """Owe what is new among these items, and the records of those that have changed; return how many."""
        before = self._line.last
        new = many.write(
            self._db,
            "INSERT INTO items (id, private, modified_date, turn) {values} ON CONFLICT DO NOTHING",
            [(*ref, self._line.next_turn()) for ref in refs],
        )
        if new:
            many.write(
                self._db,
                "WITH owed (task, before) AS ({values})"
                " INSERT INTO work (item_id, task, state) SELECT id, task, 'owed'"
                " FROM items JOIN owed ON turn > before",
                [(task, before) for task in sorted(tasks)],
            )
        return new if new == len(refs) else new + self._renew(refs, tasks)

    def _renew(self, refs: Sequence[Ref], tasks: frozenset[str]) -> int:
        """
        Note what a listing has to say of known items; return how many are owed again for it.

        Where no date was known, that of the record which is owed already is the one to compare with later.
        """
        changed = many.select(
            self._db,
            """
            WITH named (id, private, modified_date) AS ({values}),
            listed AS (
                SELECT *, EXISTS (  -- withdrawn, and listed all the same
                    SELECT 1 FROM work WHERE item_id = id AND task = 'metadata' AND state = 'withdrawn'
                ) AS is_back FROM named
            )
            SELECT listed.id, listed.private, listed.modified_date,
                items.modified_date < listed.modified_date OR items.private < listed.private OR is_back
            FROM listed JOIN items USING (id)
            WHERE is_back OR items.private < listed.private
                OR ifnull(items.modified_date, '') < listed.modified_date
            """,
            refs,
        )
        many.write(
            self._db,
            """
            WITH listed (id, private, modified_date) AS ({values})
            UPDATE items SET private = max(items.private, listed.private),  -- the account's record says more
                modified_date = iif(items.modified_date IS NULL AND EXISTS (
                    SELECT 1 FROM work WHERE item_id = items.id AND task = 'metadata' AND state = 'owed'
                ), NULL, max(
                    ifnull(items.modified_date, ''), ifnull(listed.modified_date, items.modified_date)
                ))
            FROM listed WHERE items.id = listed.id
            """,
            [row[:3] for row in changed],
        )
        renewed = {row[0] for row in changed if row[-1]} if "metadata" in tasks else set()
        return self._owe_records([item_id for item_id, _, _ in refs if item_id in renewed])

    def _owe_records(self, item_ids: Sequence[int]) -> int:
        """
        Ask for changed records again; return how many were not owed already.

        Those that were get another turn: somebody may have asked for the old record a moment ago.
        """
        owed = many.write(
            self._db,
            "UPDATE work SET state = 'owed', error = '', attempts = 0, verdict = '' WHERE task = 'metadata'"
            " AND state <> 'owed' AND item_id IN ({values})",
            [(item_id,) for item_id in item_ids],
        )
        many.write(
            self._db,
            "WITH owed (id, turn) AS ({values})"
            " UPDATE items SET turn = owed.turn FROM owed WHERE items.id = owed.id",
            [(item_id, self._line.next_turn()) for item_id in item_ids],
        )
        return owed


def _each_once(refs: Sequence[ItemRef]) -> list[Ref]:
    """Put together what a page says of an item that it names more than once."""
    rows: dict[int, Ref] = {}
    for ref in refs:
        row = (ref.id, int(ref.private), ref.modified_date)
        if (old := rows.get(ref.id)) is not None:
            row = (ref.id, max(old[1], row[1]), max(filter(None, (old[2], row[2])), default=None))
        rows[ref.id] = row
    return list(rows.values())
