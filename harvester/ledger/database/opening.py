"""
How a run opens the database: with as much of SQLite's locking as its file system bears.

A write-ahead log is best: readers and the one writer do not wait for each other. It needs shared memory with
locks of its own, and some network file systems lock the database and not that. SQLite tells it in many words
("locking protocol", "disk I/O error" of a lock or of shared memory). Then a rollback journal does, and where
the database cannot be locked either, SQLite is told that it is alone. Without a log, `lease_file.LeaseFile`
keeps two runs apart besides, as locks that fail in one way cannot be trusted in another.
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
    """A way to open it; ``drawback``: what is worse than with the one before, "" for the first."""

    locks: bool
    log: bool
    drawback: str


_WAYS = (
    _Way(locks=True, log=True, drawback=""),
    _Way(locks=True, log=False, drawback=NO_LOG),
    _Way(locks=False, log=False, drawback=NO_LOCKS),
)


class Opened(NamedTuple):
    """A database that is open to be written; ``drawback``: what the file system cannot do, "" for nothing."""

    db: sqlite3.Connection
    drawback: str
    claim_file: LeaseFile | None


def open_to_write(path: Path, watch: Watch) -> Opened:
    """
    Open or make the database at `path`; `watch` judges who may be at work on it.

    Raises:
        FolderLocked: another run, which has no log either, is at work here.
        StorageError, UsageError: as `connection.connect`.
        sqlite3.Error: it cannot be had in any way.
    """
    # To switch to a log would break a run that works without one: its claim is judged before that.
    with _claim_errors(path.parent):
        is_left = LeaseFile(path.parent, watch).find_stale() is not None
    first = int(is_left) if locks_work(path.parent) else 2
    ways = _WAYS[first:]
    for way in ways:
        try:
            return _open(path, way, watch)
        except sqlite3.OperationalError as exc:
            if way is ways[-1] or not is_about_locks(exc):
                raise
    raise AssertionError("the last way ends it")


def _open(path: Path, way: _Way, watch: Watch) -> Opened:
    with ExitStack() as undo:
        claim_file = None
        if not way.log:
            claim_file = _claim(path.parent, watch)
            undo.callback(claim_file.drop)
        db = connect(path, read_only=False, locks=way.locks, alone=not way.log)
        undo.callback(db.close)
        has_log = _choose_journal(db, way)
        with at_once(db):  # what cannot be locked shows now
            pass
        undo.pop_all()
    return Opened(db, way.drawback if has_log is way.log else NO_LOG, claim_file)


def open_beside(path: Path) -> sqlite3.Connection:
    """Open a database with a write-ahead log once more, for small writes that the disk need not keep."""
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0.5, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    return db


def _claim(folder: Path, watch: Watch) -> LeaseFile:
    claim_file = LeaseFile(folder, watch)
    with _claim_errors(folder):
        claim_file.take()
    return claim_file


@contextmanager
def _claim_errors(folder: Path) -> Iterator[None]:
    """Say what to do where the disk does not let a claim be read or made."""
    try:
        yield
    except OSError as exc:
        told = f"{exc.filename or folder}: {exc.strerror}"
        raise StorageError(f"{told}; check the output folder and run again") from exc


def _choose_journal(db: sqlite3.Connection, way: _Way) -> bool:
    """Choose a write-ahead log where there may be one; tell whether there is."""
    if way.log and db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
        return True
    db.execute("PRAGMA journal_mode = DELETE")
    if way.locks:
        db.execute("PRAGMA locking_mode = NORMAL")  # with the next statement others may read
    return False
