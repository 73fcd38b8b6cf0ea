"""
Work queue on disk: which items and files are pending, and in which order.

``seq`` is a number that only grows. Work that becomes pending gets the next one. So the query for work after
seq n finds new and requeued work, and none twice. An item that changes while it is pending gets another seq,
so that the result of work in flight does not complete it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

from harvester.errors import FailureKind
from harvester.ledger.database import bulk
from harvester.ledger.database.connection import (
    FILE_COLUMNS,
    FULL_NAME,
    HAS_HISTORY,
    HAS_TASK,
    OF_ITEM,
    OPEN_FILES,
    OPEN_WORK,
    STANDS_IN,
    is_due,
)
from harvester.ledger.messages import RunSpec, TaskParams
from harvester.ledger.tables.budget import SizeBudget
from harvester.models import ItemId, ItemKey, PendingFile, PendingItem, RemoteFile
from harvester.states import ANOTHER_VERSION, BEYOND_ROOM, REFUSED_TO_OWNER

Ref: TypeAlias = tuple[ItemKey, int, str | None]
"""A listed item: its key, whether it is private, its modified date."""

_IS_CONTRADICTED = (
    f"failure_kind = '{FailureKind.NOT_FOUND}' AND task = 'metadata' "
    "AND item_key IN (SELECT item_key FROM items WHERE NOT named)"
)
"""Of failed work: the record was not found, but a listing, or a list of versions, contains it."""


class WorkQueue:
    """
    The work queue of one ledger; all methods run in the thread of the ledger.

    ``has_files``: whether this run fetches files at all.
    ``leaves_out``: whether some items are excluded by their records.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._last = 0
        self._last_of_old = 0
        self.has_files = False
        self._tasks: frozenset[str] = frozenset()
        self.budget = SizeBudget(db)
        self.leaves_out = False

    def next_seq(self) -> int:
        """Return a new seq."""
        self._last += 1
        return self._last

    def is_old(self, seq: int | None) -> bool:
        """Return whether a seq is from an earlier run, which may have done the work."""
        return seq is not None and seq <= self._last_of_old

    def seq_for_file(self) -> int | None:
        """Return a new seq for a pending file, None if this run does not fetch files."""
        return self.next_seq() if self.has_files else None

    def admit(self, refs: Sequence[Ref], tasks: frozenset[str]) -> int:
        """Add new items to the ledger and the queue; return how many."""
        before = self._last
        new = bulk.write(
            self._db,
            "INSERT INTO items (item_key, private, modified_date, listed_date, seq) {values}"
            " ON CONFLICT DO NOTHING",
            [(*ref, ref[2], self.next_seq()) for ref in refs],
        )
        if new:
            bulk.write(
                self._db,
                "WITH pending (task, before) AS ({values})"
                " INSERT INTO work (item_key, task, state) SELECT item_key, task, 'pending'"
                f" FROM items JOIN pending ON seq > before WHERE {HAS_TASK}",
                [(task, before) for task in sorted(tasks)],
            )
        return new

    def note_named(self, keys: Sequence[ItemKey]) -> None:
        """Mark items as named by the user; their withheld files are requested again, as their owner."""
        bulk.write(
            self._db,
            "UPDATE items SET named = 1, etag = iif(withheld <> '', '', etag)"
            " WHERE NOT named AND item_key IN ({values})",
            [(key,) for key in keys],
        )

    def requeue_due(self, now: str) -> None:
        """
        Make records pending that are due again without a listed change; `now`: ISO 8601.

        Call it before `enqueue_all`, in a run that requests records.
        """
        self._db.execute(
            "UPDATE work SET state = 'pending' WHERE task = 'metadata' AND state = 'done'"
            f" AND item_key IN (SELECT item_key FROM items WHERE {is_due(now)})"
        )
        self._db.execute(f"UPDATE items SET etag = '' WHERE {is_due(now)} AND etag <> ''")

    def requeue_old(self, task: str, before: str) -> None:
        """Make a task pending for the items for which it was done `before` a moment (ISO 8601)."""
        self._db.execute(
            "UPDATE work SET state = 'pending' WHERE task = ? AND state = 'done' AND done_at < ?",
            (task, before),
        )

    def enqueue_all(self, run_spec: RunSpec) -> tuple[int, int]:
        """
        Queue all pending work of a run; return the numbers of items and files.

        Work queued by an earlier run keeps its seq, so that few rows are written. Failed work is queued after
        it, so that a run does not begin with failures.
        """
        self.has_files, self._tasks = run_spec.with_files, run_spec.item_tasks
        self.leaves_out = bool(
            self._number("SELECT count(*) FROM totals WHERE state = 'excluded' AND number")
        )
        self._add_tasks(run_spec)
        self._last = self._last_seq()
        self._unqueue_items_without_work()
        items = self._number("SELECT count(*) FROM items WHERE seq IS NOT NULL")
        items += (more := self._queue_pending_items(tuple(run_spec.item_tasks)))
        self._last += more
        files = 0
        self.budget.open(0)
        if run_spec.with_files:
            self._apply_rules(run_spec)
            files = self._number(f"SELECT count(*) FROM files WHERE {OPEN_FILES} AND seq IS NOT NULL")
            files += (more := self._queue_pending_files(order="attempts > 0, item_key, file_id"))
            self._last += more
            self._db.execute(
                f"UPDATE files SET error = '', attempts = 0, failure_kind = '', reason = ''"
                f" WHERE {OPEN_FILES} AND reason NOT IN (?, ?)"
                " AND (attempts > 0 OR error <> '' OR failure_kind <> '' OR reason <> '')",
                _settled(run_spec),
            )
        self._last_of_old = self._last
        return items, files

    def _last_seq(self) -> int:
        return self._number(
            f"""
            SELECT max(
                ifnull((SELECT seq FROM items WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1), 0),
                ifnull((SELECT seq FROM files WHERE {OPEN_FILES} ORDER BY seq DESC LIMIT 1), 0)
            )
            """
        )

    def _number(self, sql: str, *values: object) -> int:
        number: int = self._db.execute(sql, values).fetchone()[0]
        return number

    def _add_tasks(self, run_spec: RunSpec) -> None:
        """Make new, failed and refreshed tasks pending."""
        refresh = run_spec.refresh | {
            params.task for params in run_spec.task_params if self._note_params(params, run_spec)
        }
        total = "SELECT ifnull(sum(number), 0) FROM totals WHERE what = ? AND task = ?"
        items = self._number(total, "items", "")
        versions = self._number("SELECT count(*) FROM versions JOIN items USING (item_key) WHERE NOT counts")
        for task in sorted(run_spec.item_tasks):
            if self._number(total, "work", task) < items - (0 if task == "metadata" else versions):
                self._db.execute(
                    "INSERT INTO work (item_key, task, state) SELECT item_key, task, 'pending'"
                    f" FROM items, (SELECT ? AS task) WHERE {HAS_TASK} AND NOT EXISTS ("
                    "SELECT 1 FROM work WHERE work.item_key = items.item_key AND state = 'excluded')"
                    " ON CONFLICT DO NOTHING",
                    (task,),
                )
            which = f"AND {OPEN_WORK} AND state = 'failed'"
            if task in refresh:  # excluded items stay so until their record changes
                which = "" if task == "metadata" else "AND state <> 'excluded'"
            self._db.execute(
                "UPDATE work SET state = 'pending', error = '', attempts = 0, failure_kind = ''"
                f" WHERE task = ? {which}",
                (task,),
            )
        if "metadata" in refresh:
            self._db.execute("UPDATE items SET etag = '' WHERE etag <> ''")
            self._db.execute(  # so that `save_placed` plans them again
                "UPDATE files SET reason = substr(reason, 1, length(reason) - length(?1))"
                " WHERE status = 'withheld' AND reason LIKE '%' || ?1",
                (REFUSED_TO_OWNER,),
            )

    def _note_params(self, params: TaskParams, run_spec: RunSpec) -> bool:
        """Save the parameters of a task of this run; return whether they have changed."""
        if params.task not in run_spec.item_tasks:
            return False
        before = self._db.execute("SELECT value FROM settings WHERE name = ?", (params.task,)).fetchone()
        is_new, noted = params.after(before[0] if before else None)
        self._db.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (params.task, noted),
        )
        return is_new

    def _unqueue_items_without_work(self) -> None:
        """
        Remove items from the queue that have no pending task of this run, but had
        one of an earlier run.
        """
        tasks = tuple(self._tasks)
        self._db.execute(
            f"""
            UPDATE items SET seq = NULL WHERE seq IS NOT NULL AND NOT EXISTS (
                SELECT 1 FROM work
                WHERE item_key = items.item_key AND task IN ({bulk.qmarks(tasks)}) AND state = 'pending'
            )
            """,
            tasks,
        )

    def _queue_pending_items(self, tasks: tuple[str, ...]) -> int:
        """Assign a seq to items with pending work that have none; return how many."""
        return self._db.execute(
            f"""
            UPDATE items SET seq = ? + pending.place FROM (
                SELECT item_key, row_number() OVER (ORDER BY item_key) AS place
                FROM work JOIN items USING (item_key)
                WHERE {OPEN_WORK} AND state = 'pending' AND task IN ({bulk.qmarks(tasks)}) AND seq IS NULL
                GROUP BY item_key
            ) AS pending WHERE items.item_key = pending.item_key
            """,
            (self._last, *tasks),
        ).rowcount

    def _apply_rules(self, run_spec: RunSpec) -> None:
        """Apply the file rules to all files that are not here; failed ones are pending again."""
        self._db.create_function("accepts_file", 2, run_spec.accepts)
        status = f"iif(accepts_file({FULL_NAME}, size), 'pending', 'skipped')"
        self._db.execute(
            f"UPDATE files SET seq = NULL, status = {status}"
            f" WHERE {OPEN_FILES} AND reason NOT IN (?, ?) AND (status = 'failed' OR status <> {status})",
            _settled(run_spec),
        )
        self.budget.open(run_spec.max_total)

    def _queue_pending_files(self, *, order: str) -> int:
        """Assign a seq to pending files that have none; return how many."""
        return self._db.execute(
            f"""
            UPDATE files SET seq = ? + pending.place FROM (
                SELECT item_key, file_id, row_number() OVER (ORDER BY {order}) AS place
                FROM files WHERE {OPEN_FILES} AND seq IS NULL AND status = 'pending'
            ) AS pending WHERE files.item_key = pending.item_key AND files.file_id = pending.file_id
            """,
            (self._last,),
        ).rowcount

    def requeue_failed(self, failure_kinds: Sequence[str]) -> tuple[int, int]:
        """
        Queue failures of these kinds again; return how many items and files.

        Items and files that were not found although a listing or a record contains them are queued too, as
        one of the two answers is wrong. Their errors stay until a retry succeeds, and their attempts add up.
        """
        names, tasks = tuple(failure_kinds), tuple(self._tasks)
        self._db.execute(
            f"UPDATE work SET state = 'pending' WHERE {OPEN_WORK} AND state = 'failed'"
            f" AND (failure_kind IN ({bulk.qmarks(names)}) OR {_IS_CONTRADICTED})"
            f" AND task IN ({bulk.qmarks(tasks)})",
            (*names, *tasks),
        )
        items = self._queue_pending_items(tasks)
        self._last += items
        files = 0
        if self.has_files:
            self._db.execute(
                f"UPDATE files SET status = 'pending' WHERE {OPEN_FILES} AND status = 'failed'"
                f" AND (failure_kind IN ({bulk.qmarks(names)}) OR failure_kind = '{FailureKind.NOT_FOUND}')",
                names,
            )
            self.budget.share_again()
            files = self._queue_pending_files(order="item_key, file_id")
            self._last += files
        return items, files

    def items(self, after: int, most: int) -> list[PendingItem]:
        """Return the next items after the seq `after`, with their pending tasks."""
        rows = bulk.fetch(
            self._db,
            f"""
            SELECT seq, items.item_key AS key, item_id, version, private, withdrawn, named,
                EXISTS (SELECT 1 FROM listing_items WHERE item_key = items.item_key AND own) AS listed,
                {STANDS_IN} AS stands_in, (
                    SELECT group_concat(task) FROM work WHERE item_key = items.item_key AND state = 'pending'
                ) AS tasks,
                EXISTS (SELECT 1 FROM records WHERE records.item_key = items.item_key) AS known, etag,
                (SELECT group_concat(condition, char(10)) FROM conditions WHERE item_key = items.item_key)
                    AS conditions, {HAS_HISTORY} AS has_history
            FROM items LEFT JOIN versions ON versions.item_key = items.item_key
            WHERE seq > ? ORDER BY seq LIMIT ?
            """,
            _ITEM_COLUMNS,
            (after, most),
        )
        return [_pending_item(row) for row in sorted(rows)]

    def files(self, after: int, most: int) -> list[PendingFile]:
        """Return the next files after the seq `after`; none if this run does not fetch files."""
        if not self.has_files:  # an earlier run may have queued some
            return []
        rows = self._db.execute(
            "SELECT files.seq, files.item_key, ifnull(versions.item_id, files.item_key), path,"
            f" private AND NOT {STANDS_IN}, withheld,"
            " EXISTS (SELECT 1 FROM orphans WHERE orphans.path = files.path),"
            " EXISTS (SELECT 1 FROM orphans WHERE orphans.item_key = files.item_key"
            " AND orphans.size = files.size),"
            f" {FILE_COLUMNS} FROM files JOIN items ON items.item_key = files.item_key"
            " LEFT JOIN versions ON versions.item_key = files.item_key"
            f" WHERE {OPEN_FILES} AND files.seq > ? ORDER BY files.seq LIMIT ?",
            (after, most),
        )
        return [
            PendingFile(
                seq,
                item_id,
                remote_file(file),
                path,
                bool(private),
                item_key=key,
                is_taken=bool(is_taken),
                may_be_aside=bool(may_be_aside),
                withheld=withheld,
            )
            for seq, key, item_id, path, private, withheld, is_taken, may_be_aside, *file in rows
        ]

    def may_be_pending(self, item_id: ItemId, file_id: int, md5: str | None) -> bool:
        """Return whether a file with this md5, of any version, is not here yet and may still be wanted."""
        return bool(
            self._number(
                f"SELECT count(*) FROM files WHERE {OF_ITEM} AND file_id = ?2 AND md5 IS ?3 AND {OPEN_FILES}",
                item_id,
                file_id,
                md5,
            )
        )


_ITEM_COLUMNS = (
    "seq", "key", "item_id", "version", "private", "withdrawn", "named", "listed", "stands_in",
    "tasks", "known", "etag", "conditions", "has_history",
)  # fmt: skip


def _pending_item(row: Sequence[Any]) -> PendingItem:
    """Read the columns of _ITEM_COLUMNS."""
    seq, key, item_id, version, private, withdrawn, named, listed, stands_in, *rest = row
    tasks, known, etag, conditions, has_history = rest
    return PendingItem(
        seq,
        item_id or key,
        bool(private),
        frozenset((tasks or "").split(",")),
        known=bool(known),
        item_key=key,
        version=version or 0,
        etag="" if withdrawn else etag,  # its files have to be checked again
        withdrawn=bool(withdrawn),
        conditions=tuple(conditions.split("\n")) if conditions else (),
        named=bool(named),
        listed=bool(listed),
        stands_in=bool(stands_in),
        has_history=bool(known or has_history),
    )


def _settled(run_spec: RunSpec) -> tuple[str, str]:
    """Return the reasons of skipped files that the file rules do not change."""
    return ANOTHER_VERSION, BEYOND_ROOM if run_spec.max_total else ANOTHER_VERSION


def remote_file(columns: Sequence[Any]) -> RemoteFile:
    """Return a file from FILE_COLUMNS; links are never queued or fetched."""
    file_id, name, folder, size, md5, url = columns
    return RemoteFile(file_id, name, folder, size, md5, url, is_link=False)
