"""
The line of what is owed: who is in it, in which order, and who comes next.

A turn is a number that only grows. Whatever becomes owed gets the next one, so "what is owed behind turn
n?" finds new work and work that became owed again alike, and finds none twice.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from harvester.ledger.results import Opening
from harvester.ledger.schema import FILE_COLUMNS
from harvester.models import OwedFile, OwedItem, RemoteFile


class Line:
    """The line of one ledger; all methods belong into the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._last = 0
        self._has_files = False
        self._tasks: frozenset[str] = frozenset()

    def next_turn(self) -> int:
        """Hand out a turn."""
        self._last += 1
        return self._last

    def turn_for_file(self) -> int | None:
        """Hand out a turn to a pending file, where this run fetches files at all."""
        return self.next_turn() if self._has_files else None

    def form(self, opening: Opening) -> tuple[int, int]:
        """Line up all that a run owes; return the numbers of items and files."""
        self._has_files, self._tasks = opening.with_files, opening.item_tasks
        self._owe_tasks(opening)
        self._last = 0
        self._db.execute("UPDATE items SET turn = NULL WHERE turn IS NOT NULL")
        self._line_up_owed_items(tuple(opening.item_tasks))
        self._line_up_files(opening)
        items, files, self._last = self._db.execute(
            """
            SELECT (SELECT count(turn) FROM items), (SELECT count(turn) FROM files),
                max(ifnull((SELECT max(turn) FROM items), 0), ifnull((SELECT max(turn) FROM files), 0))
            """
        ).fetchone()
        return items, files

    def _owe_tasks(self, opening: Opening) -> None:
        """Owe what is new among the tasks, what failed, and what is to be refreshed."""
        for task in sorted(opening.item_tasks):
            self._db.execute(
                "INSERT OR IGNORE INTO work (item_id, task, state) SELECT id, ?, 'owed' FROM items", (task,)
            )
            which = "" if task in opening.refresh else "AND state = 'failed'"
            self._db.execute(
                f"UPDATE work SET state = 'owed', error = '', attempts = 0, verdict = ''"
                f" WHERE task = ? {which}",
                (task,),
            )

    def _line_up_owed_items(self, tasks: tuple[str, ...]) -> int:
        """Give the items with owed work that have none a turn; return how many."""
        return self._db.execute(
            f"""
            UPDATE items SET turn = ? + owed.place FROM (
                SELECT item_id, row_number() OVER (ORDER BY item_id) AS place
                FROM work JOIN items ON items.id = item_id
                WHERE state = 'owed' AND task IN ({_marks(tasks)}) AND turn IS NULL GROUP BY item_id
            ) AS owed WHERE items.id = owed.item_id
            """,
            (self._last, *tasks),
        ).rowcount

    def _line_up_files(self, opening: Opening) -> None:
        db = self._db
        db.create_function("wants", 2, opening.wants)
        full_name = "CASE folder WHEN '' THEN name ELSE folder || '/' || name END"
        db.execute(
            f"""
            UPDATE files SET turn = NULL, status = iif(wants({full_name}, size), 'pending', 'skipped')
            WHERE status IN ('pending', 'failed', 'skipped')
            """
        )
        if opening.with_files:
            # What failed in an earlier run comes last: it must not be all that a run finds out first.
            self._line_up_pending_files(order="attempts > 0, item_id, file_id")
        db.execute(
            "UPDATE files SET error = '', attempts = 0, verdict = '' WHERE status IN ('pending', 'skipped')"
        )

    def _line_up_pending_files(self, *, order: str) -> int:
        """Give the pending files that have none a turn; return how many."""
        return self._db.execute(
            f"""
            UPDATE files SET turn = ? + owed.place FROM (
                SELECT item_id, file_id, row_number() OVER (ORDER BY {order}) AS place
                FROM files WHERE status = 'pending' AND turn IS NULL
            ) AS owed WHERE files.item_id = owed.item_id AND files.file_id = owed.file_id
            """,
            (self._last,),
        ).rowcount

    def form_again(self, verdicts: Sequence[str]) -> tuple[int, int]:
        """
        Put what failed with one of these verdicts into the line again; return how many items and files.

        Their errors stay until there is something better, and their attempts count on.
        """
        names, tasks = tuple(verdicts), tuple(self._tasks)
        self._db.execute(
            f"UPDATE work SET state = 'owed' WHERE state = 'failed' AND verdict IN ({_marks(names)})"
            f" AND task IN ({_marks(tasks)})",
            (*names, *tasks),
        )
        items = self._line_up_owed_items(tasks)
        self._last += items
        files = 0
        if self._has_files:
            self._db.execute(
                "UPDATE files SET status = 'pending' WHERE status = 'failed'"
                f" AND verdict IN ({_marks(names)})",
                names,
            )
            files = self._line_up_pending_files(order="item_id, file_id")
            self._last += files
        return items, files

    def items(self, after: int, most: int) -> list[OwedItem]:
        """Return the next items behind the turn `after`, with the tasks that they owe."""
        rows = self._db.execute(
            """
            SELECT turn, id, private,
                (SELECT group_concat(task) FROM work WHERE item_id = id AND state = 'owed'),
                EXISTS (SELECT 1 FROM records WHERE item_id = id)
            FROM items WHERE turn > ? ORDER BY turn LIMIT ?
            """,
            (after, most),
        )
        return [
            OwedItem(turn, item_id, bool(private), frozenset((tasks or "").split(",")), bool(known))
            for turn, item_id, private, tasks, known in rows
        ]

    def files(self, after: int, most: int) -> list[OwedFile]:
        """Return the next files behind the turn `after`."""
        rows = self._db.execute(
            f"SELECT files.turn, item_id, path, private, {FILE_COLUMNS}"
            " FROM files JOIN items ON items.id = item_id"
            " WHERE files.turn > ? ORDER BY files.turn LIMIT ?",
            (after, most),
        )
        return [
            OwedFile(turn, item_id, remote_file(file), path, bool(private))
            for turn, item_id, path, private, *file in rows
        ]

    def may_owe(self, item_id: int, file_id: int, md5: str | None) -> bool:
        """Tell whether a file with this md5 is not here yet and may still be wanted."""
        return bool(
            self._db.execute(
                "SELECT count(*) FROM files WHERE item_id = ? AND file_id = ? AND md5 IS ?"
                " AND status IN ('pending', 'failed', 'skipped')",
                (item_id, file_id, md5),
            ).fetchone()[0]
        )


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def remote_file(columns: Sequence[Any]) -> RemoteFile:
    """Read the columns of FILE_COLUMNS; links are never in line and never fetched."""
    file_id, name, folder, size, md5, url = columns
    return RemoteFile(file_id, name, folder, size, md5, url, is_link=False)
