"""Owners: the account or institution of a folder's private items; with two, items would seem withdrawn."""

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
        Save the owner of the private items, unless one is saved: `number` of the account or the institution.

        `number` is None if figshare does not identify the owner now; `why`: the reason. Returns whether an
        owner was saved before.

        Raises:
            UsageError: the items belong to another owner.
            FatalError: they have an owner, and it is unknown whether it is this one.
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
