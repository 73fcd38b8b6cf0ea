"""
State copy: a copy of a ledger's state, on which the code of a run decides for a plan; the ledger is not
changed.

Temporary tables have the names of the ledger's tables, so that SQLite finds them first. It keeps them in a
cache of limited size and in a temporary file. Records are too large to copy: they are read from the ledger.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.ledger.database import lease_row
from harvester.ledger.database.connection import at_once, database_errors, exists, migrate
from harvester.ledger.database.read_only import View

CACHE_KIB = 16_000
_KINDS = ("table", "index", "trigger")  # rows are copied before anything counts them
_LEFT_EMPTY = ("changes", "snapshots", "stats", "usage")
"""Tables that a run does not read before it processes items."""


class StateCopy:
    """
    A modifiable copy of the state of the ledger at `path`, if there is one; it replaces a `Lease`.

    Raises what `View` raises.
    """

    drawback = ""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        with database_errors(path):
            if exists(path.parent):
                view = View(path)
                self.db, self.release = view.db, view.close
                try:
                    _hide_tables(self.db)
                except BaseException:
                    view.close()
                    raise
            else:
                self.db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
                self.release = self.db.close
                migrate(self.db)
            self.run_id = lease_row.take(self.db, clock(), "harvest")

    def confirm(self) -> None:
        """Do nothing: no other process has the copy."""

    def end(self, outcome: str) -> None:
        """Do nothing: no run is recorded."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction."""
        with at_once(self.db):
            yield


def _hide_tables(db: sqlite3.Connection) -> None:
    """Create temporary tables like all others except records, and copy the rows that decisions need."""
    db.execute(f"PRAGMA temp.cache_size = -{CACHE_KIB}")
    with at_once(db):
        made = db.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> 'records'"
        ).fetchall()
        for kind, name, sql in sorted(made, key=lambda each: _KINDS.index(each[0])):
            db.execute(_temporary(sql))
            if kind == "table" and name not in _LEFT_EMPTY:
                db.execute(f"INSERT INTO temp.{name} SELECT * FROM main.{name}")


def _temporary(sql: str) -> str:
    """Return the statement that creates a table, index or trigger as a temporary one."""
    return re.sub(r"^CREATE (?:(TABLE|TRIGGER)|((?:UNIQUE )?INDEX)) ", _begin, sql)


def _begin(found: re.Match[str]) -> str:
    kind, index = found.groups()
    return f"CREATE {index} temp." if index else f"CREATE TEMP {kind} "
