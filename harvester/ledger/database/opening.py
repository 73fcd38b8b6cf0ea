"""
Database opening for a run: uses as much of SQLite's locking as the file system supports.

A write-ahead log is best: readers and the one writer do not wait for each other. It needs shared memory with
its own locks, and some network file systems can lock only the database. SQLite reports that with various
errors ("locking protocol", "disk I/O error" of a lock or of shared memory). Then a rollback journal is used.
If the database cannot be locked either, SQLite runs without locks. Without a log, `lease_file.LeaseFile`
excludes a second run as well, as locks that fail in one way cannot be trusted.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from harvester.errors import StorageError
from harvester.ledger.database.connection import at_once, connect, is_about_locks
from harvester.ledger.database.heartbeat import Watch
from harvester.ledger.database.lease_file import LeaseFile, locks_work

NO_LOG = "no write-ahead log on this file system: slower"
NO_LOCKS = "no file locks on this file system: slower, and `status` may need a second try"


class _Way(NamedTuple):
    """A way to open it; ``drawback``: its disadvantage, "" for the first way."""

    locks: bool
    log: bool
    drawback: str


_WAYS = (
    _Way(locks=True, log=True, drawback=""),
    _Way(locks=True, log=False, drawback=NO_LOG),
    _Way(locks=False, log=False, drawback=NO_LOCKS),
)


class Opened(NamedTuple):
    """A database open for writing; ``drawback``: what the file system does not support, "" for nothing."""

    db: sqlite3.Connection
    drawback: str
    lease_file: LeaseFile | None


def open_to_write(path: Path, watch: Watch) -> Opened:
    """
    Open or create the database at `path`; `watch` judges other runs.

    Raises:
        FolderLocked: another run without a log is active here.
        StorageError, UsageError: as `connection.connect`.
        sqlite3.Error: it cannot be opened in any way.
    """
    # A switch to a log would break a run that works without one, so its lease is judged first.
    with _map_lease_errors(path.parent):
        is_left = LeaseFile(path.parent, watch).find_stale() is not None
    first = int(is_left) if locks_work(path.parent) else 2
    ways = _WAYS[first:]
    for way in ways:
        try:
            return _open(path, way, watch)
        except sqlite3.OperationalError as exc:
            if way is ways[-1] or not is_about_locks(exc):
                raise
    raise AssertionError("the last way returns or raises")


def _open(path: Path, way: _Way, watch: Watch) -> Opened:
    with ExitStack() as undo:
        lease_file = None
        if not way.log:
            lease_file = _take_lease(path.parent, watch)
            undo.callback(lease_file.drop)
        db = connect(path, read_only=False, locks=way.locks, alone=not way.log)
        undo.callback(db.close)
        has_log = _choose_journal(db, way)
        with at_once(db):  # a lock error shows now
            pass
        undo.pop_all()
    return Opened(db, way.drawback if has_log is way.log else NO_LOG, lease_file)


def open_beside(path: Path) -> sqlite3.Connection:
    """Open a second connection to a database with a write-ahead log, for small writes that need no fsync."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0.5, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    return db


def _take_lease(folder: Path, watch: Watch) -> LeaseFile:
    lease_file = LeaseFile(folder, watch)
    with _map_lease_errors(folder):
        lease_file.take()
    return lease_file


@contextmanager
def _map_lease_errors(folder: Path) -> Iterator[None]:
    """Map disk errors of the lease file, with advice."""
    try:
        yield
    except OSError as exc:
        cause = f"{exc.filename or folder}: {exc.strerror}"
        raise StorageError(f"{cause}; check the output folder and run again") from exc


def _choose_journal(db: sqlite3.Connection, way: _Way) -> bool:
    """Enable a write-ahead log if this way has one; return whether it is enabled."""
    if way.log and db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
        return True
    db.execute("PRAGMA journal_mode = DELETE")
    if way.locks:
        db.execute("PRAGMA locking_mode = NORMAL")  # from the next statement on others may read
    return False
