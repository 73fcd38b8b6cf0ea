"""How the database is opened and brought up to date, and what SQLite's errors mean for a harvest."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.errors import DiskTrouble, UsageError
from harvester.ledger.migrations import MIGRATIONS

NAME = "harvest.db"
STATEMENTS_KEPT = 32
"""Prepared ones: those for many rows (`many.py`) are large, and each number of rows is another one."""
FILE_COLUMNS = "file_id, name, folder, size, md5, url"
"""In the order of the first fields of `RemoteFile`."""

OF_ITEM = "item_id IN (SELECT ?1 UNION ALL SELECT id FROM versions WHERE versions.item_id = ?1)"
"""Rows of the item with figshare's id ?1, and of each of its versions."""
HAS_TASK = "(id >= 0 OR task = 'metadata')"
"""Of items and tasks: one version of an item has a record and files, and no statistics of its own."""
FULL_NAME = "CASE folder WHEN '' THEN name ELSE folder || '/' || name END"
"""Of a file: what rules for files are matched with."""
STANDS_IN = "due_after = '0'"
"""Of items: the public record that is here stands in for a private one."""
OPEN_WORK = "state <> 'done'"
"""What the index `work_open` holds; as `OPEN_FILES`."""
OPEN_FILES = "status IN ('pending', 'failed', 'skipped')"
"""What the index `files_open` holds; SQLite uses it where a query says so in these very words."""


def is_due(now: str) -> str:
    """Say in SQL that the record of an item is due again at this moment, see `items.due_after`."""
    return f"(due_after <> '' AND due_after <= '{now}')"


def exists(folder: Path) -> bool:
    """Tell whether `folder` holds a harvest that can be seen from here."""
    try:
        return (folder / NAME).is_file()
    except OSError:
        return False


def file_identity(path: Path) -> tuple[int, int] | None:
    """Tell which file is at `path` now, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite says of a disk or a file that is of no use."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DiskTrouble(
                f"{path}: damaged, and left as it is ({exc}); restore it from a copy, or begin a "
                "new harvest in another folder"
            ) from exc
        if code in {
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_BUSY,
        }:
            raise DiskTrouble(f"{path}: {exc}; check the disk and run again") from exc
        raise


def connect(path: Path, *, read_only: bool, locks: bool) -> sqlite3.Connection:
    """
    Open the database at `path`; refuse one that a newer version wrote.

    `locks`: whether the file system has any; see `lockless.py`.

    Raises:
        DiskTrouble: a link is in the place of the database.
    """
    for name in (NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal"):
        if (link := path.with_name(name)).is_symlink():
            raise DiskTrouble(f"{link}: a link, which might lead out of the output folder; remove it")
    if not read_only:
        return _open(path, "mode=rwc", locks=locks)
    try:
        return _open(path, "mode=ro", locks=locks)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN or path.with_name(f"{NAME}-wal").exists():
            raise
        # A reader makes small files beside the database. Where it must not, nobody else is writing now.
        return _open(path, "mode=ro&immutable=1", locks=locks)


def _open(path: Path, options: str, *, locks: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}" + ("" if locks else "&vfs=unix-none"),
        uri=True,
        timeout=30.0,
        cached_statements=STATEMENTS_KEPT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not locks:  # a write-ahead log from elsewhere needs shared memory, unless one is alone
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise UsageError(
                f"{path}: written by a newer harvester (ledger version {version}, this one knows "
                f"{len(MIGRATIONS)}): upgrade to read it"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def needs_migration(connection: sqlite3.Connection) -> bool:
    """Tell whether the tables are those of an earlier version."""
    return _version(connection) < len(MIGRATIONS)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, *, check: Callable[[], None] = lambda: None) -> None:
    """
    Bring the tables up to date, all or nothing.

    `check` is called where tables would be changed that are there already, and raises where they must not
    be. It is called with the write lock held: nobody can begin to use them in between.
    """
    if not needs_migration(connection):
        return
    with at_once(connection):
        version = _version(connection)  # another may have been faster
        if 0 < version < len(MIGRATIONS):
            check()
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """Split a script; sqlite3's own `executescript` would end the transaction it is called in."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):  # not so where the semicolon is a comment's
            yield statement
            statement = ""


@contextmanager
def at_once(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that is done in the block, or nothing; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
