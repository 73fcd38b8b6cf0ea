"""
Read-only access: opens the database in place if possible, else a copy in a temporary folder.

A copy is needed if this user may only read and a killed run has left a log, as data in the log would be
missing. It is also needed for tables of an earlier version that cannot be migrated in place, because the
folder is read-only or an older run may be active.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from harvester.errors import StorageError
from harvester.ledger.database import lease_row
from harvester.ledger.database.causes import primary_code
from harvester.ledger.database.connection import (
    NAME,
    connect,
    is_about_locks,
    migrate,
    needs_migration,
)
from harvester.ledger.database.integrity import check_tables
from harvester.ledger.database.lease_file import locks_work
from harvester.system.process import Fate

_TRIES = 5
_BESIDE = ("-wal", "-journal")
_READ_ONLY = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


class View:
    """
    A database open for reading, with tables of this version.

    Raises:
        StorageError: it cannot be read, or there is no space for a copy.
        sqlite3.Error: any other error of SQLite.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = ExitStack()
        self._locks = locks_work(path.parent)
        with ExitStack() as undo:
            undo.callback(self._opened.close)
            self.db = self._hold(self._open())
            if needs_migration(self.db) and not self._migrate_in_place():
                copied = self._folder() / NAME
                with closing(sqlite3.connect(copied)) as copy:
                    self.db.backup(copy)
                self.db = self._of_copy(copied)
            check_tables(self.db, path)
            undo.pop_all()

    def close(self) -> None:
        """Close it, and remove the copy if there is one."""
        self._opened.close()

    def _hold(self, db: sqlite3.Connection) -> sqlite3.Connection:
        self._opened.callback(db.close)
        return db

    def _open(self) -> sqlite3.Connection:
        try:
            return connect(self._path, read_only=True, locks=self._locks)
        except sqlite3.OperationalError as exc:
            if primary_code(exc) not in _READ_ONLY:
                raise
        # A reader creates small companion files, which is not possible here.
        left = [end for end in _BESIDE if _holds_something(self._path.with_name(f"{NAME}{end}"))]
        if not left:
            return connect(self._path, read_only=True, locks=self._locks, unchanging=True)
        copied = self._folder() / NAME
        _copy(self._path, copied, left)
        return connect(copied, read_only=False, locks=True)

    def _folder(self) -> Path:
        import tempfile  # noqa: PLC0415 - a copy is rare, and the import is slow

        try:
            return Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="harvester-")))
        except OSError as exc:
            raise _no_copy(self._path, exc) from exc

    def _of_copy(self, copied: Path) -> sqlite3.Connection:
        db = self._hold(connect(copied, read_only=False, locks=True))
        migrate(db)
        return db

    def _migrate_in_place(self) -> bool:
        """
        Migrate tables of an earlier version in place, if no run may be active.

        Return whether that was done.
        """
        sign = lease_row.last_sign(self.db)
        if sign is not None and sign.process.fate is not Fate.GONE:
            return False

        def check() -> None:
            if lease_row.last_sign(self.db) != sign:
                raise _Busy

        try:
            _migrate(self._path, check, locks=self._locks)
        except _Busy:
            return False
        except sqlite3.OperationalError as exc:
            if primary_code(exc) not in _READ_ONLY:
                raise
            return False
        return True


class _Busy(Exception):
    """An older run has started to use the tables."""


def _migrate(path: Path, check: Callable[[], None], *, locks: bool) -> None:
    try:
        with closing(connect(path, read_only=False, locks=locks)) as db:
            migrate(db, check=check)
    except sqlite3.OperationalError as exc:
        if not (locks and is_about_locks(exc)):
            raise
        _migrate(path, check, locks=False)


def _copy(path: Path, copied: Path, left: list[str]) -> None:
    """Copy a database and its log or journal, consistently."""
    import shutil  # noqa: PLC0415 - a copy is rare, and the import is slow

    sources = {path: copied} | {path.with_name(f"{NAME}{end}"): Path(f"{copied}{end}") for end in left}
    try:
        for _ in range(_TRIES):
            before = [_state(source) for source in sources]
            for source, target in sources.items():
                shutil.copyfile(source, target)
            if [_state(source) for source in sources] == before:
                return
    except OSError as exc:
        raise _no_copy(path, exc) from exc
    raise StorageError(f"{path}: may only be read here, and a run is writing to it: try again in a moment")


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _no_copy(path: Path, error: OSError) -> StorageError:
    import tempfile  # noqa: PLC0415 - a copy is rare, and the import is slow

    return StorageError(
        f"{path}: may only be read here, and a copy of it cannot be made in {tempfile.gettempdir()}: "
        f"{error.strerror}; name another folder in the environment variable TMPDIR"
    )


def _holds_something(path: Path) -> bool:
    """Return whether a log or journal has content; a finished one is empty, or begins with a zero byte."""
    try:
        with path.open("rb") as file:
            return file.read(1) not in {b"", b"\0"}
    except FileNotFoundError:
        return False
    except OSError:
        return True
