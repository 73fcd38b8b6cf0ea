"""Whose private items a folder holds: those of two accounts would seem withdrawn by turns."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from harvester.errors import FatalError, UsageError


class Owners:
    """Of one folder."""

    def __init__(self, db: sqlite3.Connection, folder: Path) -> None:
        self._db = db
        self._folder = folder

    def recognise(self, whose: str, number: int | None, why: str) -> bool:
        """
        Note whose private items these are: `number` of an account or an institution, where none is noted.

        None: nobody can tell now, and `why`. Returns whether it is noted.

        Raises:
            UsageError: they are those of another one.
            FatalError: they are somebody's, and nobody can tell whether of this one.
        """
        before = self._noted(whose, number)
        if number is None and before is not None:
            raise FatalError(
                f"{self._folder}: holds the private items of {whose} {before}, and the token's account"
                f" could not be identified: {why}; run again once the api answers GET /account"
            )
        if number is not None and before != str(number):
            raise UsageError(
                f"{self._folder}: holds the private items of {whose} {before}; give those of {whose}"
                f" {number} a folder of their own with --output"
            )
        return before is not None

    def _noted(self, whose: str, number: int | None) -> str | None:
        if number is not None:
            self._db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT DO NOTHING", (whose, str(number))
            )
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (whose,)).fetchone()
        return None if row is None else str(row[0])
