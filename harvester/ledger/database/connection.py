"""Database connection: opens and migrates the database, and maps SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.errors import StorageError, UsageError
from harvester.ledger.database.causes import meaning, primary_code
from harvester.ledger.database.integrity import check_empty, check_owner, damaged, diagnose_at
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.ledger.database.schema import SCHEMA
from harvester.system import resource_limits
from harvester.system.failpoints import failpoint

NAME = "harvest.db"
SQLITE_VERSION = sqlite3.sqlite_version
STATEMENTS_KEPT = 32
"""Prepared statements in the cache; those of `bulk.py` are large, one for each number of rows."""
FILE_COLUMNS = "file_id, name, folder, size, md5, url"
"""In the order of the first fields of `RemoteFile`."""

OF_ITEM = "item_key IN (SELECT ?1 UNION ALL SELECT item_key FROM versions WHERE versions.item_id = ?1)"
"""Rows of the item with figshare's id ?1, and of each of its versions."""
COUNTS = """(
    items.item_key >= 0 OR EXISTS (SELECT 1 FROM versions WHERE versions.item_key = items.item_key AND counts)
)"""
"""Of items: statistics are requested for this key, the item's own or that of one of its versions."""
HAS_TASK = f"(task = 'metadata' OR {COUNTS})"
"""Of items and tasks: a version of an item has a record and files, but no statistics."""
FULL_NAME = "CASE folder WHEN '' THEN name ELSE folder || '/' || name END"
"""Of a file: the name that file rules are matched against."""
STANDS_IN = "due_after = '0'"
"""Of items: a public record is stored in place of a private one."""
HAS_HISTORY = """(
    EXISTS (SELECT 1 FROM stats WHERE stats.item_key = items.item_key)
    OR EXISTS (SELECT 1 FROM usage WHERE usage.item_key = items.item_key)
    OR EXISTS (SELECT 1 FROM versions WHERE versions.item_id = items.item_key)
)"""
"""Of items: the ledger has more data on it than a record."""
OPEN_WORK = "state <> 'done'"
"""The condition of the partial index `work_open`; see `OPEN_FILES`."""
OPEN_FILES = "status IN ('pending', 'failed', 'skipped')"
"""The condition of the partial index `files_open`; SQLite uses it if a query contains exactly this text."""


def is_due(now: str) -> str:
    """Return the SQL condition that the record of an item is due again now, see `items.due_after`."""
    return f"(due_after <> '' AND due_after <= '{now}')"


def exists(folder: Path) -> bool:
    """
    Return whether `folder` contains a ledger, or something else of its name.

    Raises:
        StorageError: this user may not look into the folder.
    """
    try:
        (folder / NAME).lstat()
    except PermissionError as exc:
        advice = "give this user the right to read it and run again"
        raise StorageError(f"{folder}: {exc.strerror}; {advice}") from exc
    except (OSError, ValueError):
        return False
    return True


def may_write(folder: Path) -> bool:
    """Return whether this user may write to the harvest in `folder`; False on a read-only disk."""
    return all(os.access(path, os.W_OK) for path in (folder, folder / NAME))


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the identity (device, inode) of the file at `path`, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


LOCKS_FAIL = "its locks cannot be had on this file system; run again, or choose a folder on a local disk"
_ADVICE = {
    sqlite3.SQLITE_FULL: "make room and run again",
    sqlite3.SQLITE_READONLY: "give this user the right to write there and run again",
    sqlite3.SQLITE_CANTOPEN: "give this user the right to write there, on a disk that can be written, and "
    "run again",
    sqlite3.SQLITE_AUTH: "give this user the right to read and write there and run again",
    sqlite3.SQLITE_BUSY: "another program holds it: wait for it and run again",
    sqlite3.SQLITE_LOCKED: "another program holds it: wait for it and run again",
    sqlite3.SQLITE_NOLFS: "choose a disk that takes files of this size",
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}
_OF_LOCKS = {
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_BLOCKED,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
}


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Map SQLite's errors to `StorageError`, with the path, the cause and advice."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        code = primary_code(exc)
        if code in _DAMAGED or "decode to UTF-8" in str(exc):
            raise damaged(path, diagnose_at(path) or meaning(exc)) from exc
        if not isinstance(exc, sqlite3.OperationalError):
            raise
        if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR} and resource_limits.are_used_up():
            raise resource_limits.shortage(str(path)) from exc
        if is_about_locks(exc):
            raise StorageError(f"{path}: {LOCKS_FAIL}") from exc
        advice = _ADVICE.get(code, "check the disk and run again")
        raise StorageError(f"{path}: {meaning(exc)}; {advice}") from exc


def is_about_locks(error: sqlite3.Error) -> bool:
    """Return whether an error means that file locks or shared memory do not work."""
    is_refused = primary_code(error) in {sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_PERM}
    return is_refused or getattr(error, "sqlite_errorcode", 0) in _OF_LOCKS


def connect(
    path: Path, *, read_only: bool, locks: bool, alone: bool = False, unchanging: bool = False
) -> sqlite3.Connection:
    """
    Open the database at `path`.

    `locks`: whether the file system supports them; see `lease_file.py`.
    `alone`: no other process has it open, so a write-ahead log needs no shared memory.
    `unchanging`: no process writes, and no log is pending.

    Raises:
        UsageError: a newer version wrote it.
        StorageError: there is a link or another file in place of the database or one of its companion files.
    """
    _refuse_what_was_planted(path)
    check_empty(path)
    if not read_only:
        return _open(path, "mode=rwc", locks=locks, alone=alone)
    try:
        return _open(path, "mode=ro&immutable=1" if unchanging else "mode=ro", locks=locks)
    except sqlite3.OperationalError as exc:
        if locks and is_about_locks(exc):
            return connect(path, read_only=True, locks=False, unchanging=unchanging)
        raise


def _refuse_what_was_planted(path: Path) -> None:
    """
    Reject files that lead out of the output folder, or block on open.

    Raises:
        StorageError: one of these files is a link, has a second hard link, or is no regular file.
    """
    for end in ("", "-wal", "-shm", "-journal"):
        place = path.with_name(f"{path.name}{end}")
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            raise StorageError(f"{place}: a link, which might lead out of the output folder; remove it")
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{place}: is not a regular file; inspect and remove it")
        if found.st_nlink > 1:
            raise StorageError(
                f"{place}: has a second name (a hard link), through which others are written to; put a copy "
                "in its place"
            )


def _open(path: Path, options: str, *, locks: bool, alone: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}" + ("" if locks else "&vfs=unix-none"),
        uri=True,
        timeout=30.0,
        cached_statements=STATEMENTS_KEPT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if alone or not locks:  # a write-ahead log needs shared memory, unless this is the only process
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(connection)
        if version == 0:
            check_owner(connection)
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
    """Return whether the tables are those of an earlier version."""
    return _version(connection) < len(MIGRATIONS)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, *, check: Callable[[], None] = lambda: None) -> None:
    """
    Create the tables, or migrate them to the current version, in one transaction.

    `check`: called before existing tables are changed; it raises if they must not be. The write lock is held
    then, so that no other process can start to use them.
    """
    if not needs_migration(connection):
        return
    with at_once(connection):
        version = _version(connection)  # another process may have been faster
        if 0 < version < len(MIGRATIONS):
            check()
        for script in MIGRATIONS[version:] if version else [SCHEMA]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        failpoint("migration: before its commit")


def _statements(script: str) -> Iterator[str]:
    """Split a script into statements; sqlite3's `executescript` would commit the open transaction."""
    statement = ""
    for part in script.split(";")[:-1]:
        statement += part + ";"
        if sqlite3.complete_statement(statement):  # False if the semicolon is in a comment
            yield statement
            statement = ""


@contextmanager
def at_once(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a write transaction: all or nothing, and no other process writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
