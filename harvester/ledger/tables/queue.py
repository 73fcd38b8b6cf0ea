"""
Work queue, kept on disk: which items and files are pending, and in which order.

``seq`` is a number that only grows. Work that becomes pending gets the next one. So "what is pending behind
seq n?" finds new work and requeued work alike, and finds none twice. An item that turns out to have changed
while it is pending gets another number: the result of a visit that was under way by then does not end it.
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
from harvester.models import (
    ANOTHER_VERSION,
    BEYOND_ROOM,
    REFUSED_TO_OWNER,
    ItemId,
    ItemKey,
    PendingFile,
    PendingItem,
    RemoteFile,
)

Ref: TypeAlias = tuple[ItemKey, int, str | None]
"""An item as a listing names it: its id in the ledger, whether it is private, its modified date."""

_IS_CONTRADICTED = (
    f"failure_kind = '{FailureKind.NOT_FOUND}' AND task = 'metadata' "
    "AND item_key IN (SELECT item_key FROM items WHERE NOT named)"
)
"""Of failed work: there is no such record, and a listing, or a list of versions, names it all the same."""


class WorkQueue:
    """
    The work queue of one ledger; all methods belong into the ledger's own thread.

    ``has_files``: whether this run fetches files at all.
    ``leaves_out``: whether there are items that are excluded by their records.
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
        """Hand out a number."""
        self._last += 1
        return self._last

    def is_old(self, seq: int | None) -> bool:
        """Tell whether an earlier run handed out a seq, and may have done what it was for."""
        return seq is not None and seq <= self._last_of_old

    def seq_for_file(self) -> int | None:
        """Hand out a seq to a pending file, where this run fetches files at all."""
        return self.next_seq() if self.has_files else None

    def admit(self, refs: Sequence[Ref], tasks: frozenset[str]) -> int:
        """Put items that are not known yet into the ledger and the line; return how many."""
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
                "WITH owed (task, before) AS ({values})"
                " INSERT INTO work (item_key, task, state) SELECT item_key, task, 'pending'"
                f" FROM items JOIN owed ON seq > before WHERE {HAS_TASK}",
                [(task, before) for task in sorted(tasks)],
            )
        return new

    def note_named(self, keys: Sequence[ItemKey]) -> None:
        """Note which items the user named; what is withheld of those is asked for once more, as its owner."""
        bulk.write(
            self._db,
            "UPDATE items SET named = 1, etag = iif(withheld <> '', '', etag)"
            " WHERE NOT named AND item_key IN ({values})",
            [(key,) for key in keys],
        )

    def requeue_due(self, now: str) -> None:
        """
        Owe the records that are due again though nothing says that they changed; `now`: ISO 8601.

        Call it before `form`, in a run that asks for records.
        """
        self._db.execute(
            "UPDATE work SET state = 'pending' WHERE task = 'metadata' AND state = 'done'"
            f" AND item_key IN (SELECT item_key FROM items WHERE {is_due(now)})"
        )
        self._db.execute(f"UPDATE items SET etag = '' WHERE {is_due(now)} AND etag <> ''")

    def enqueue_all(self, run_spec: RunSpec) -> tuple[int, int]:
        """
        Line up all that a run owes; return the numbers of items and files.

        What an earlier run left in line keeps its seq, so that little is written; what failed comes behind
        it: it must not be all that a run finds out first.
        """
        self.has_files, self._tasks = run_spec.with_files, run_spec.item_tasks
        self.leaves_out = bool(
            self._number("SELECT count(*) FROM totals WHERE state = 'excluded' AND number")
        )
        self._add_tasks(run_spec)
        self._last = self._last_turn()
        self._leave_what_is_not_owed()
        items = self._number("SELECT count(*) FROM items WHERE seq IS NOT NULL")
        items += (more := self._line_up_owed_items(tuple(run_spec.item_tasks)))
        self._last += more
        files = 0
        self.budget.open(0)
        if run_spec.with_files:
            self._apply_rules(run_spec)
            files = self._number(f"SELECT count(*) FROM files WHERE {OPEN_FILES} AND seq IS NOT NULL")
            files += (more := self._line_up_pending_files(order="attempts > 0, item_key, file_id"))
            self._last += more
            self._db.execute(
                f"UPDATE files SET error = '', attempts = 0, failure_kind = '', reason = ''"
                f" WHERE {OPEN_FILES} AND reason NOT IN (?, ?)"
                " AND (attempts > 0 OR error <> '' OR failure_kind <> '' OR reason <> '')",
                _settled(run_spec),
            )
        self._last_of_old = self._last
        return items, files

    def _last_turn(self) -> int:
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
        """Owe what is new among the tasks, what failed, and what is to be refreshed."""
        refresh = run_spec.refresh | {
            wish.task for wish in run_spec.task_params if self._note_params(wish, run_spec)
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
            if task in refresh:  # what is left out is so until its record says otherwise
                which = "" if task == "metadata" else "AND state <> 'excluded'"
            self._db.execute(
                "UPDATE work SET state = 'pending', error = '', attempts = 0, failure_kind = ''"
                f" WHERE task = ? {which}",
                (task,),
            )
        if "metadata" in refresh:
            self._db.execute("UPDATE items SET etag = '' WHERE etag <> ''")
            self._db.execute(  # so that whoever places them anew asks once more
                "UPDATE files SET reason = substr(reason, 1, length(reason) - length(?1))"
                " WHERE status = 'withheld' AND reason LIKE '%' || ?1",
                (REFUSED_TO_OWNER,),
            )

    def _note_params(self, wish: TaskParams, run_spec: RunSpec) -> bool:
        """Note the params of a task of this run; return whether they ask for something else than before."""
        if wish.task not in run_spec.item_tasks:
            return False
        before = self._db.execute("SELECT value FROM settings WHERE name = ?", (wish.task,)).fetchone()
        is_new, noted = wish.after(before[0] if before else None)
        self._db.execute(
            "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (wish.task, noted),
        )
        return is_new

    def _leave_what_is_not_owed(self) -> None:
        """Take out of the line what owes nothing to this run: an earlier one may have had other tasks."""
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

    def _line_up_owed_items(self, tasks: tuple[str, ...]) -> int:
        """Give the items with owed work that have none a seq; return how many."""
        return self._db.execute(
            f"""
            UPDATE items SET seq = ? + owed.place FROM (
                SELECT item_key, row_number() OVER (ORDER BY item_key) AS place
                FROM work JOIN items USING (item_key)
                WHERE {OPEN_WORK} AND state = 'pending' AND task IN ({bulk.qmarks(tasks)}) AND seq IS NULL
                GROUP BY item_key
            ) AS owed WHERE items.item_key = owed.item_key
            """,
            (self._last, *tasks),
        ).rowcount

    def _apply_rules(self, run_spec: RunSpec) -> None:
        """Let the rules for files decide anew on what is not here; what failed gets another chance."""
        self._db.create_function("accepts_file", 2, run_spec.accepts)
        status = f"iif(accepts_file({FULL_NAME}, size), 'pending', 'skipped')"
        self._db.execute(
            f"UPDATE files SET seq = NULL, status = {status}"
            f" WHERE {OPEN_FILES} AND reason NOT IN (?, ?) AND (status = 'failed' OR status <> {status})",
            _settled(run_spec),
        )
        self.budget.open(run_spec.max_total)

    def _line_up_pending_files(self, *, order: str) -> int:
        """Give the pending files that have none a seq; return how many."""
        return self._db.execute(
            f"""
            UPDATE files SET seq = ? + owed.place FROM (
                SELECT item_key, file_id, row_number() OVER (ORDER BY {order}) AS place
                FROM files WHERE {OPEN_FILES} AND seq IS NULL AND status = 'pending'
            ) AS owed WHERE files.item_key = owed.item_key AND files.file_id = owed.file_id
            """,
            (self._last,),
        ).rowcount

    def requeue_failed(self, failure_kinds: Sequence[str]) -> tuple[int, int]:
        """
        Put what failed with one of these kinds into the line again; return how many items and files.

        So is what is gone though a listing or a record names it: one of the two is wrong.
        Their errors stay until there is something better, and their attempts count on.
        """
        names, tasks = tuple(failure_kinds), tuple(self._tasks)
        self._db.execute(
            f"UPDATE work SET state = 'pending' WHERE {OPEN_WORK} AND state = 'failed'"
            f" AND (failure_kind IN ({bulk.qmarks(names)}) OR {_IS_CONTRADICTED})"
            f" AND task IN ({bulk.qmarks(tasks)})",
            (*names, *tasks),
        )
        items = self._line_up_owed_items(tasks)
        self._last += items
        files = 0
        if self.has_files:
            self._db.execute(
                f"UPDATE files SET status = 'pending' WHERE {OPEN_FILES} AND status = 'failed'"
                f" AND (failure_kind IN ({bulk.qmarks(names)}) OR failure_kind = '{FailureKind.NOT_FOUND}')",
                names,
            )
            self.budget.share_again()
            files = self._line_up_pending_files(order="item_key, file_id")
            self._last += files
        return items, files

    def items(self, after: int, most: int) -> list[PendingItem]:
        """Return the next items behind the seq `after`, with the tasks that they owe."""
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
        return [_owed_item(row) for row in sorted(rows)]

    def files(self, after: int, most: int) -> list[PendingFile]:
        """Return the next files behind the seq `after`, where this run fetches files at all."""
        if not self.has_files:  # an earlier run that did may have left some in line
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
        """Tell whether a file with this md5 is not here yet and may still be wanted, for any version."""
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


def _owed_item(row: Sequence[Any]) -> PendingItem:
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
        etag="" if withdrawn else etag,  # its files are to be looked at again
        withdrawn=bool(withdrawn),
        conditions=tuple(conditions.split("\n")) if conditions else (),
        named=bool(named),
        listed=bool(listed),
        stands_in=bool(stands_in),
        has_history=bool(known or has_history),
    )


def _settled(run_spec: RunSpec) -> tuple[str, str]:
    """Return why files are skipped that the rules for files have no say over."""
    return ANOTHER_VERSION, BEYOND_ROOM if run_spec.max_total else ANOTHER_VERSION


def remote_file(columns: Sequence[Any]) -> RemoteFile:
    """Read the columns of FILE_COLUMNS; links are never in line and never fetched."""
    file_id, name, folder, size, md5, url = columns
    return RemoteFile(file_id, name, folder, size, md5, url, is_link=False)
