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

    def next_turn(self) -> int:
        """Hand out a turn."""
        self._last += 1
        return self._last

    def turn_for_file(self) -> int | None:
        """Hand out a turn to a pending file, where this run fetches files at all."""
        return self.next_turn() if self._has_files else None

    def form(self, opening: Opening) -> tuple[int, int]:
        """Line up all that a run owes; return the numbers of items and files."""
        self._has_files = opening.with_files
        self._owe_tasks(opening)
        self._line_up_items(opening.item_tasks)
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

    def _line_up_items(self, tasks: frozenset[str]) -> None:
        marks = ", ".join("?" * len(tasks))
        self._db.execute("UPDATE items SET turn = NULL WHERE turn IS NOT NULL")
        self._db.execute(
            f"""
            UPDATE items SET turn = owed.place FROM (
                SELECT item_id, row_number() OVER (ORDER BY item_id) AS place FROM work
                WHERE state = 'owed' AND task IN ({marks}) GROUP BY item_id
            ) AS owed WHERE items.id = owed.item_id
            """,
            tuple(tasks),
        )

    def _line_up_files(self, opening: Opening) -> None:
        db = self._db
        db.create_function("wants", 2, opening.wants)
        full_name = "CASE folder WHEN '' THEN name ELSE folder || '/' || name END"
        db.execute(
            f"""
            UPDATE files SET error = '', attempts = 0, verdict = '', turn = NULL,
                status = iif(wants({full_name}, size), 'pending', 'skipped')
            WHERE status IN ('pending', 'failed', 'skipped')
            """
        )
        if opening.with_files:
            db.execute(
                """
                UPDATE files SET turn = owed.place FROM (
                    SELECT item_id, file_id, row_number() OVER (ORDER BY item_id, file_id) AS place
                    FROM files WHERE status = 'pending'
                ) AS owed WHERE files.item_id = owed.item_id AND files.file_id = owed.file_id
                """
            )

    def form_again(self, verdicts: Sequence[str]) -> tuple[int, int]:
        """
        Put what failed with one of these verdicts into the line again; return how many items and files.

        Their errors stay until there is something better, and their attempts count on.
        """
        marks = ", ".join("?" * len(verdicts))
        items = [
            item_id
            for (item_id,) in self._db.execute(
                f"UPDATE work SET state = 'owed' WHERE state = 'failed' AND verdict IN ({marks})"
                " RETURNING item_id",
                verdicts,
            )
        ]
        files = self._db.execute(
            f"UPDATE files SET status = 'pending' WHERE status = 'failed' AND verdict IN ({marks})"
            " RETURNING item_id, file_id",
            verdicts,
        ).fetchall()
        unique = sorted(set(items))
        self._db.executemany(
            "UPDATE items SET turn = ? WHERE id = ?", [(self.next_turn(), item_id) for item_id in unique]
        )
        self._db.executemany(
            "UPDATE files SET turn = ? WHERE item_id = ? AND file_id = ?",
            [(self.turn_for_file(), *file) for file in sorted(files)],
        )
        return len(unique), len(files)

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


def remote_file(columns: Sequence[Any]) -> RemoteFile:
    """Read the columns of FILE_COLUMNS; links are never in line and never fetched."""
    file_id, name, folder, size, md5, url = columns
    return RemoteFile(file_id, name, folder, size, md5, url, is_link=False)
