"""Item table: saves the results of items. `files.py` saves their files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from harvester.ledger.database import bulk
from harvester.ledger.database.lease_row import iso
from harvester.ledger.messages import ItemResult
from harvester.ledger.tables import statistics, versions
from harvester.ledger.tables.dates import latest_from, settled_by
from harvester.ledger.tables.files import FileTable
from harvester.ledger.tables.queue import WorkQueue
from harvester.models import Change, ItemId, ItemKey, Record
from harvester.states import Changed, WorkState
from harvester.text.fields import join_values, split_values

_LARGE = 8_000_000
"""Bytes of a record that is written in chunks, not bound to a statement."""
_CHUNK = 1 << 20


class ItemTable:
    """Writes rows, in a transaction of the ledger and in its thread."""

    def __init__(
        self,
        db: sqlite3.Connection,
        queue: WorkQueue,
        files: FileTable,
        clock: Callable[[], float],
        *,
        run_id: int,
    ) -> None:
        self._db = db
        self._queue = queue
        self._files = files
        self._clock = clock
        self._run_id = run_id

    def save_items(self, results: Sequence[ItemResult]) -> None:
        """Save the results of different items; the record of a result may be outdated."""
        results = self._up_to_date(results)
        now = iso(self._clock())
        self._save_states(results, now)
        self._save_records(results, now)
        counted = self._that_count(results)
        statistics.save_totals(self._db, counted, now)
        statistics.save_usage(self._db, counted)
        self._save_changes(results)
        self._files.save_placed(
            [
                (result.item_key, found.files)
                for result in results
                for found in result.findings
                if found.files is not None
            ]
        )
        self._files.note_unplaced(
            [result.item_key for result in results for found in result.findings if found.is_unplaced]
        )
        self._withdraw([result.item_key for result in results if _is_withdrawn(result)])
        self._add_versions(results)
        self._take_in(results)

    def _that_count(self, results: Sequence[ItemResult]) -> list[ItemResult]:
        """Return the results without versions whose item carries its statistics itself meanwhile."""
        carriers = versions.that_count(self._db, [each.item_key for each in results if each.item_key < 0])
        return [each for each in results if each.item_key >= 0 or each.item_key in carriers]

    def _save_states(self, results: Sequence[ItemResult], now: str) -> None:
        bulk.write(
            self._db,
            """
            WITH given (
                item_key, task, state, error, has_failed, attempts, failure_kind, reported_as, done_at
            ) AS ({values})
            UPDATE work SET state = given.state, error = given.error, failure_kind = given.failure_kind,
                reported_as = given.reported_as,
                done_at = iif(given.done_at = '', work.done_at, given.done_at),
                attempts = iif(has_failed, work.attempts + given.attempts, 0)
            FROM given WHERE work.item_key = given.item_key AND work.task = given.task
            """,
            [row for result in results for row in _work_rows(result, now)],
        )
        bulk.write(
            self._db,
            """
            WITH given (
                item_key, seq, modified_date, at, settled, withheld, withdrawn, etag, asked_in, version, own,
                due_after
            ) AS ({values})
            UPDATE items SET seq = iif(items.seq = ifnull(given.seq, items.seq), NULL, items.seq),
                -- A record without a date has that of its listing; no date is later than the answer.
                modified_date = ifnull(
                    min(
                        iif(given.modified_date = '', ifnull(listed_date, ''), given.modified_date), given.at
                    ),
                    items.modified_date
                ),
                settled = ifnull(given.settled, items.settled),
                withheld = ifnull(given.withheld, items.withheld),
                withdrawn = ifnull(given.withdrawn, items.withdrawn),
                etag = ifnull(given.etag, items.etag), asked_in = ifnull(given.asked_in, items.asked_in),
                record_version = ifnull(given.version, items.record_version),
                private = max(items.private, ifnull(given.own, 0)),
                due_after = iif(items.private > given.own, '0', ifnull(given.due_after, items.due_after))
            FROM given WHERE items.item_key = given.item_key
            """,
            [self._item_row(result) for result in results],
        )

    def _up_to_date(self, results: Sequence[ItemResult]) -> list[ItemResult]:
        """
        Return the results without records of items that have another seq by now, as these are requested
        again.
        """
        rows = bulk.select(
            self._db,
            "WITH given (item_key, seq) AS ({values})"
            " SELECT item_key FROM given CROSS JOIN items USING (item_key) WHERE items.seq IS NOT given.seq",
            [(result.item_key, result.seq) for result in results if result.seq is not None],
        )
        outdated = {item_key for (item_key,) in rows}
        return [_without_record(result) if result.item_key in outdated else result for result in results]

    def _item_row(self, result: ItemResult) -> bulk.Row:
        is_known = result.states.get("metadata") in {WorkState.DONE, WorkState.EXCLUDED}
        asked_in = self._run_id if is_known else None
        record = _record(result)
        dates: tuple[str | None, str | None, str | None]
        if record is None:
            withdrawn = 1 if _is_withdrawn(result) else None
            settled = settled_by(iso(self._clock())) if asked_in else None
            dates = (None, None, settled)
            return (result.item_key, result.seq, *dates, None, withdrawn, None, asked_in, None, None, None)
        article, at = record.article, record.served_at or iso(self._clock())
        # An impossible date is ignored: any later listing of the item then requests its record.
        is_odd = article.modified_date > latest_from(at)
        dates = ("", "", None) if is_odd else (article.modified_date, at, settled_by(at))
        version = 0 if article.draft_of else article.version  # an unpublished edit has no number yet
        of_record = (article.withheld, 0, record.etag, asked_in, version)
        own = (int(record.private), article.embargo_until)
        return (result.item_key, result.seq, *dates, *of_record, *own)

    def _save_records(self, results: Sequence[ItemResult], now: str) -> None:
        records = [(result.item_key, record) for result in results if (record := _record(result))]
        bulk.write(
            self._db,
            # Bytes are bound and cast to TEXT: a conversion to str and back would be slower.
            """
            WITH given (item_key, raw, file_list, fetched_at, api_version) AS ({values})
            INSERT INTO records (item_key, raw, file_list, fetched_at, api_version)
            SELECT item_key, CAST(raw AS TEXT), CAST(file_list AS TEXT), fetched_at, api_version FROM given
            WHERE TRUE ON CONFLICT DO UPDATE
            SET raw = excluded.raw, file_list = excluded.file_list, fetched_at = excluded.fetched_at,
                api_version = excluded.api_version
            """,
            (
                (key, each.raw if len(each.raw) <= _LARGE else b"", each.file_list, now, each.api_version)
                for key, each in records
            ),
            weigh=lambda row: len(row[1]) + len(row[2] or ""),
        )
        for item_key, record in records:
            if len(record.raw) > _LARGE:
                self._write_large(item_key, record.raw)

    def _write_large(self, key: ItemKey, raw: bytes) -> None:
        """Write a record in chunks: bound to a statement it would be in memory five times."""
        self._db.execute(
            "UPDATE records SET raw = CAST(zeroblob(?) AS TEXT) WHERE item_key = ?", (len(raw), key)
        )
        with self._db.blobopen("records", "raw", key) as blob, memoryview(raw) as view:
            for begin in range(0, len(raw), _CHUNK):
                blob.write(view[begin : begin + _CHUNK])

    def _save_changes(self, results: Sequence[ItemResult]) -> None:
        """Save the changes of items."""
        self._note_changes(
            {
                result.item_key: found.change
                for result in results
                for found in result.findings
                if found.change is not None
            }
        )

    def note_renamed(self, moved: Mapping[ItemKey, tuple[str, ...]]) -> None:
        """Save the renames of files, as text by item key, as changes."""
        self._note_changes({key: Change(Changed.MOVED, files=words) for key, words in moved.items()})

    def _note_changes(self, changes: dict[ItemKey, Change]) -> None:
        """Merge changes with those that this run has saved before."""
        rows = bulk.select(
            self._db,
            "SELECT item_key, change, fields, files FROM changes"
            f" WHERE run_id = {self._run_id} AND item_key IN ({{values}})",
            [(item_key,) for item_key in changes],
        )
        for item_key, what, fields, files in rows:
            changes[item_key] = _both(Change(what, _words(fields), _words(files)), changes[item_key])
        bulk.write(
            self._db,
            "INSERT OR REPLACE INTO changes (run_id, item_key, change, fields, files) {values}",
            [
                (self._run_id, item_key, str(each.what), join_values(each.fields), join_values(each.files))
                for item_key, each in changes.items()
            ],
        )

    def withdraw(self, keys: Sequence[ItemKey]) -> None:
        """Mark items as withdrawn."""
        gone = [(key,) for key in keys]
        bulk.write(self._db, "UPDATE items SET withdrawn = 1 WHERE item_key IN ({values})", gone)
        bulk.write(
            self._db,
            "UPDATE work SET state = 'withdrawn', error = '', attempts = 0, failure_kind = ''"
            " WHERE task = 'metadata' AND item_key IN ({values})",
            gone,
        )
        self._withdraw(keys)
        self._note_changes({key: Change(Changed.WITHDRAWN) for key in keys})

    def _withdraw(self, keys: Sequence[ItemKey]) -> None:
        """Remove the pending work of withdrawn items and of their versions."""
        gone = [(key,) for key in keys]
        versions = bulk.select(self._db, "SELECT item_key FROM versions WHERE item_id IN ({values})", gone)
        bulk.write(
            self._db, "UPDATE items SET withdrawn = 1, seq = NULL WHERE item_key IN ({values})", versions
        )
        bulk.write(
            self._db,
            "UPDATE work SET state = 'withdrawn', error = '', attempts = 0, failure_kind = ''"
            " WHERE item_key IN ({values})",
            versions,
        )
        self._files.withhold([*keys, *(key for (key,) in versions)])

    def _take_in(self, results: Sequence[ItemResult]) -> None:
        """Queue the tasks of items that were excluded before and whose new record is wanted."""
        if self._queue.leaves_out:
            rows = bulk.select(
                self._db,
                "UPDATE work SET state = 'pending' WHERE state <> 'done' AND state = 'excluded'"
                " AND item_key IN ({values}) RETURNING item_key",
                [(result.item_key,) for result in results if _record(result) is not None],
            )
            bulk.write(
                self._db,
                "WITH pending (item_key, seq) AS ({values}) UPDATE items SET seq = pending.seq"
                " FROM pending WHERE items.item_key = pending.item_key",
                [(item_key, self._queue.next_seq()) for item_key in sorted({row[0] for row in rows})],
            )
        if any(WorkState.EXCLUDED in result.states.values() for result in results):
            self._queue.leaves_out = True

    def _add_versions(self, results: Sequence[ItemResult]) -> None:
        """Queue additional versions."""
        wanted = [
            (ItemId(result.item_key), version)  # only an item itself has them, and its key is its id
            for result in results
            for found in result.findings
            for version in found.versions
        ]
        keys = list(versions.keys(self._db, wanted).values())
        self._queue.admit([(key, 0, None) for key in keys], frozenset({"metadata"}))
        back = bulk.write(
            self._db,
            "UPDATE work SET state = 'pending' WHERE state = 'withdrawn' AND item_key IN ({values})",
            [(key,) for key in keys],
        )
        if back:
            bulk.write(
                self._db,
                "WITH pending (item_key, seq) AS ({values}) UPDATE items SET seq = pending.seq"
                " FROM pending WHERE items.item_key = pending.item_key AND withdrawn",
                [(key, self._queue.next_seq()) for key in keys],
            )


# SQLite binds str and int directly; for their subclasses Python would look for an adapter first.


def _both(before: Change, now: Change) -> Change:
    """Return the union of two changes of an item within one run."""
    what = before.what if now.what == Changed.MOVED else now.what
    if before.what == Changed.NEW and what != Changed.WITHDRAWN:
        return before  # a new item stays new
    if before.what == Changed.WITHDRAWN and what == Changed.RETURNED:
        what = Changed.CHANGED
    fields = tuple(sorted({*before.fields, *now.fields}))
    return Change(what, fields, tuple(dict.fromkeys((*before.files, *now.files))))


def _words(text: str) -> tuple[str, ...]:
    return tuple(split_values(text))


def _work_rows(result: ItemResult, now: str) -> list[bulk.Row]:
    failures = {failure.task: failure for failure in result.failures}
    rows: list[bulk.Row] = []
    for task, state in result.states.items():
        outcome: bulk.Row = ("", 0, 0, "", "")
        if (failure := failures.get(task)) is not None:  # attempts add up until it succeeds
            outcome = (failure.error, 1, failure.attempts, str(failure.failure_kind), failure.reported_as)
        done_at = now if state is WorkState.DONE else ""
        rows.append((result.item_key, task, str(state), *outcome, done_at))
    return rows


def _is_withdrawn(result: ItemResult) -> bool:
    return WorkState.WITHDRAWN in result.states.values()


def _without_record(result: ItemResult) -> ItemResult:
    """Return a result without the parts that come from the record."""
    return replace(
        result,
        states={task: state for task, state in result.states.items() if task != "metadata"},
        failures=tuple([failure for failure in result.failures if failure.task != "metadata"]),
        findings=tuple([found for found in result.findings if found.record is None and found.change is None]),
    )


def _record(result: ItemResult) -> Record | None:
    return next((found.record for found in result.findings if found.record is not None), None)
