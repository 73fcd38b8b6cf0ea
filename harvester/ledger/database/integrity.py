"""
Integrity check: finds the damaged table of a ledger, and what is wrong with it.

Fast checks (missing tables, unknown states) run whenever a ledger is opened. The full check reads every row,
so it runs only after an error.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from harvester.errors import StorageError
from harvester.ledger.database.causes import log_detail, meaning, primary_code
from harvester.ledger.database.schema import SCHEMA
from harvester.states import FileStatus, WorkState

REBUILD = (
    "it was not changed. Restore it from a copy, or rebuild it from the files here and from figshare: "
    "`harvester run --rebuild`, with the same sources as before"
)
_FILES = ", ".join(f"'{status}'" for status in FileStatus)
_STATES = ", ".join(f"'{state}'" for state in WorkState)
_TYPES = {"INTEGER": "('integer')", "TEXT": "('text')", "REAL": "('real', 'integer')"}
_OUTPUTS = ("files", "metadata.jsonl", "items.csv", "summary.json")
_LEADS_OUT = (
    "{0} <> '' AND ({0} NOT LIKE 'files/%' OR '/' || {0} || '/' LIKE '%/../%' OR instr({0}, char(0)))"
)
_NONSENSE = {
    "files": (
        ("status", f"status NOT IN ({_FILES})"),
        ("size", "size < 0"),
        ("path", _LEADS_OUT.format("path")),
    ),
    "orphans": (("size", "size < 0"), ("path", _LEADS_OUT.format("path"))),
    "renames": (("source", _LEADS_OUT.format("source")), ("target", _LEADS_OUT.format("target"))),
    "work": (("state", f"state NOT IN ({_STATES})"),),
    "records": (
        ("raw", "json_valid(raw) = 0 OR json_type(raw) <> 'object'"),
        ("file_list", "file_list IS NOT NULL AND json_valid(file_list) = 0"),
    ),
    "conditions": (("condition", "json_valid(condition) = 0"),),
    "listings": (("position", "position IS NOT NULL AND json_valid(position) = 0"),),
}
"""By table and column: SQL conditions for values that no version of this program writes."""
_CREATED = re.compile(r"CREATE (?:UNIQUE )?(TABLE|INDEX|TRIGGER) (\w+)")
_NO_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
}
_WORDS = f"""
    SELECT what || ': ' || state FROM totals WHERE number > 0 AND (
        (what = 'files' AND state NOT IN ({_FILES})) OR (what = 'work' AND state NOT IN ({_STATES}))
    ) LIMIT 1
"""


class LedgerDamaged(StorageError):
    """The ledger is damaged; it is not changed."""


UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
"""Errors from a damaged database; if a name is damaged, SQLite's message is no valid text."""


def damaged(path: Path, what: str) -> LedgerDamaged:
    """Return the error, with advice."""
    return LedgerDamaged(f"{path} is damaged: {what}; {REBUILD}")


def check_tables(db: sqlite3.Connection, path: Path) -> None:
    """
    Check quickly that all tables, indexes and triggers exist.

    Raises:
        LedgerDamaged: something is missing, or there are unknown states.
    """
    here = {f"{kind} {name}" for kind, name in db.execute("SELECT type, name FROM sqlite_schema")}
    if missing := sorted(names() - here, key=lambda name: (not name.startswith("table"), name)):
        raise damaged(path, f"{', '.join(missing[:3])} missing")
    if row := db.execute(_WORDS).fetchone():
        raise damaged(path, f"table {row[0]} is no state")


@cache
def names() -> frozenset[str]:
    """Return the names of this version's tables, indexes and triggers, each after its kind."""
    return frozenset(f"{kind.lower()} {name}" for kind, name in _CREATED.findall(SCHEMA))


def check_empty(path: Path) -> None:
    """
    Check that an empty file is a new ledger, and not the rest of a damaged one.

    Raises:
        LedgerDamaged: the folder contains a harvest.
    """
    sizes = [_size(path.with_name(f"{path.name}{end}")) for end in ("", "-wal", "-journal")]
    if sizes[0] == 0 and not any(sizes[1:]) and any((path.parent / name).exists() for name in _OUTPUTS):
        raise damaged(path, "it is empty, but the folder contains a harvest")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def is_sound(path: str) -> bool:
    """Return whether a path is below the folder of files."""
    return path.startswith("files/") and ".." not in path.split("/") and "\0" not in path


def check_owner(db: sqlite3.Connection) -> None:
    """
    Check that a database without a version is empty.

    Raises:
        LedgerDamaged: it belongs to another program.
    """
    if row := db.execute("SELECT type || ' ' || name FROM sqlite_schema LIMIT 1").fetchone():
        path = Path(db.execute("PRAGMA database_list").fetchone()[2])
        raise damaged(path, f"it is a database of another program ({row[0]})")


def diagnose_at(path: Path) -> str:
    """Open the ledger at `path` and `diagnose` it; return "" if nothing is found, or it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as db:
            return diagnose(db)
    except sqlite3.Error:
        return ""


def damage_in(folder: Path) -> LedgerDamaged | None:
    """Return the damage of the ledger in `folder`; None if nothing is found, or it cannot be read."""
    path = folder / "harvest.db"
    what = diagnose_at(path)
    return damaged(path, what) if what else None


def diagnose(db: sqlite3.Connection) -> str:
    """Read the whole ledger; return the first damaged table and what is wrong with it, "" if nothing is."""
    try:
        here = {f"{kind} {name}" for kind, name in db.execute("SELECT type, name FROM sqlite_schema")}
        if missing := sorted(names() - here):
            return f"{', '.join(missing[:3])} missing"
        tables = [name.removeprefix("table ") for name in names() if name.startswith("table ")]
        for table in sorted(tables):
            if what := _diagnose_table(db, table):
                return f"table {table}: {what}"
    except UNREADABLE as exc:
        if not _is_damage(exc):
            return ""
        what = meaning(exc)
        return what if primary_code(exc) == sqlite3.SQLITE_NOTADB else f"its list of tables: {what}"
    return ""


def _diagnose_table(db: sqlite3.Connection, table: str) -> str:
    try:
        row = db.execute(f"PRAGMA integrity_check('{table}')").fetchone()
        if row and row[0] != "ok":
            log_detail(f"table {table}: {row[0]}")
            return "its rows and their index do not fit each other"
        for column, nonsense in (*_of_another_type(db, table), *_NONSENSE.get(table, ())):
            if db.execute(f"SELECT 1 FROM {table} WHERE {nonsense} LIMIT 1").fetchone():
                return f"nonsense in its column {column}"
    except UNREADABLE as exc:
        return meaning(exc) if _is_damage(exc) else ""
    return ""


def _is_damage(error: Exception) -> bool:
    """Return whether an error is about the content of the file, and not about the disk or its locks."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _NO_DAMAGE


def _of_another_type(db: sqlite3.Connection, table: str) -> list[tuple[str, str]]:
    """Return SQL conditions, by column, for values of the wrong type."""
    rows = db.execute('SELECT name, type, "notnull" OR pk FROM pragma_table_info(?)', (table,)).fetchall()
    return [
        (name, f"typeof({name}) NOT IN {_TYPES[kind]}" + ("" if must_be else f" AND {name} IS NOT NULL"))
        for name, kind, must_be in rows
        if kind in _TYPES
    ]
