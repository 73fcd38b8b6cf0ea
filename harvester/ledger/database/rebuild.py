"""
Ledger rebuild: sets the old ledger aside, and creates a new one that knows which files are here already.

These files are unidentified until the records are harvested again. Then each is verified by size and md5, at
its path or under its id, and a file that does not match is moved aside. None of them is ever offered for
removal.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from harvester.errors import FolderLocked
from harvester.ledger.database import lease_row
from harvester.ledger.database.connection import (
    NAME,
    at_once,
    connect,
    database_errors,
    file_identity,
    migrate,
)
from harvester.ledger.database.heartbeat import Sign, Watch
from harvester.ledger.database.integrity import diagnose
from harvester.ledger.database.lease_file import LeaseFile, locks_work
from harvester.system.paths import from_disk
from harvester.system.process import Process

FRESH = ".harvest.db.fresh"
_BESIDE = ("-wal", "-shm", "-journal")
_HOME = re.compile(r"[0-9]{1,18}")


def rebuild(folder: Path, watch: Watch) -> Path | None:
    """
    Replace the ledger in `folder` by a new one; return the path of the old one, None if there was none.

    Raises:
        FolderLocked: another run is active here.
        StorageError: writing failed, or the old ledger is no regular file.
        OSError: the files could not be listed.
    """
    path = folder / NAME
    locks = locks_work(folder)  # a lock attempt without lock support takes half a minute each time
    watch.judge(lambda: _last_sign(path, locks=locks))
    judged = file_identity(path)
    lease_file = LeaseFile(folder, watch)
    lease_file.take()
    with ExitStack() as undo:
        undo.callback(lease_file.drop)
        undo.enter_context(database_errors(folder / FRESH))
        _make(folder / FRESH, _files(folder), locks=locks)
        if file_identity(path) != judged:
            raise FolderLocked(f"{folder}: another run took this folder over")
        aside = _set_aside(path, locks=locks)
        (folder / FRESH).rename(path)
    return aside


def _last_sign(path: Path, *, locks: bool) -> Sign | None:
    """Return the last heartbeat of a run that may be active; from the files if no row has one."""
    if not path.exists():
        return None
    try:
        with closing(connect(path, read_only=True, locks=locks)) as db:
            return lease_row.last_sign(db)
    except (sqlite3.Error, ArithmeticError, ValueError, TypeError):
        return Sign(Process("this or another machine", 0), _state(path))


def _state(path: Path) -> str:
    states = []
    for end in ("", "-wal", "-journal"):  # reading alone changes the -shm
        try:
            found = path.with_name(f"{NAME}{end}").stat()
        except OSError:
            continue
        states.append(f"{end} {found.st_ino} {found.st_size} {found.st_mtime_ns}")
    return "; ".join(states)


def _make(path: Path, found: Iterable[tuple[str, int, int]], *, locks: bool) -> None:
    for end in ("", *_BESIDE):  # of a killed rebuild
        Path(f"{path}{end}").unlink(missing_ok=True)
    with closing(connect(path, read_only=False, locks=locks)) as db:
        migrate(db)
        with at_once(db):
            db.executemany(
                "INSERT INTO orphans (path, item_key, size, unidentified) VALUES (?, ?, ?, 1)", found
            )


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield path, item and size of all regular files; links are not followed."""
    for place, folders, names in os.walk(folder / "files"):
        folders[:] = [each for each in folders if not Path(place, each).is_symlink()]
        for name in names:
            found = Path(place, name).lstat()
            path = from_disk(Path(place, name).relative_to(folder).as_posix())
            if stat.S_ISREG(found.st_mode) and path.isprintable():
                home = path.split("/")[1]
                yield path, int(home) if _HOME.fullmatch(home) else 0, found.st_size


def _set_aside(path: Path, *, locks: bool) -> Path | None:
    """Rename the database with its companion files, so that it can be opened under the new name."""
    if not any(path.with_name(f"{NAME}{end}").exists() for end in ("", *_BESIDE)):
        return None
    why = "damaged" if _is_damaged(path, locks=locks) else "before-rebuild"
    name = f"{NAME}.{why}-{time.strftime('%Y-%m-%d', time.gmtime())}"
    number, target = 1, path.with_name(name)
    while any(target.with_name(f"{target.name}{end}").exists() for end in ("", *_BESIDE)):
        number += 1
        target = path.with_name(f"{name}-{number}")
    # The database first: without its log it would look complete to the next run.
    for end in ("", *_BESIDE):
        if (source := path.with_name(f"{NAME}{end}")).exists():
            source.rename(target.with_name(f"{target.name}{end}"))
    return target


def _is_damaged(path: Path, *, locks: bool) -> bool:
    try:
        with closing(connect(path, read_only=True, locks=locks)) as db:
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                return True
            return bool(diagnose(db))
    except sqlite3.Error:
        return True
