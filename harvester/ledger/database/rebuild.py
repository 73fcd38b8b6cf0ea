"""
Making a ledger anew: the old one is set aside, and the new one knows which files are here already.

What these files are is not known before their records are here: each is then proven by size and md5, in its
place or beside it, and one that is something else goes out of the way. None is ever offered for removal.
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
    Put a new ledger in the place of the one in `folder`; return where that is now, None where there was none.

    Raises:
        FolderLocked: another run is at work here.
        StorageError: the disk does not take it, or what lies there is no plain file.
        OSError: the disk does not let the files be seen.
    """
    path = folder / NAME
    locks = locks_work(folder)  # to ask for one where there are none takes half a minute, each time
    watch.judge(lambda: _last_sign(path, locks=locks))
    judged = file_identity(path)
    claim_file = LeaseFile(folder, watch)
    claim_file.take()
    with ExitStack() as undo:
        undo.callback(claim_file.drop)
        undo.enter_context(database_errors(folder / FRESH))
        _make(folder / FRESH, _files(folder), locks=locks)
        if file_identity(path) != judged:
            raise FolderLocked(f"{folder}: another run took this folder over")
        aside = _set_aside(path, locks=locks)
        (folder / FRESH).rename(path)
    return aside


def _last_sign(path: Path, *, locks: bool) -> Sign | None:
    """Return the last sign of life of whoever may be at work; of the files, where no row tells it."""
    if not path.exists():
        return None
    try:
        with closing(connect(path, read_only=True, locks=locks)) as db:
            return lease_row.last_sign(db)
    except (sqlite3.Error, ArithmeticError, ValueError, TypeError):
        return Sign(Process("this or another machine", 0), _state(path))


def _state(path: Path) -> str:
    told = []
    for end in ("", "-wal", "-journal"):  # to look is enough to change its -shm
        try:
            found = path.with_name(f"{NAME}{end}").stat()
        except OSError:
            continue
        told.append(f"{end} {found.st_ino} {found.st_size} {found.st_mtime_ns}")
    return "; ".join(told)


def _make(path: Path, found: Iterable[tuple[str, int, int]], *, locks: bool) -> None:
    for end in ("", *_BESIDE):  # of one that was killed here
        Path(f"{path}{end}").unlink(missing_ok=True)
    with closing(connect(path, read_only=False, locks=locks)) as db:
        migrate(db)
        with at_once(db):
            db.executemany(
                "INSERT INTO orphans (path, item_id, size, unidentified) VALUES (?, ?, ?, 1)", found
            )


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Give path, item and size of all plain files that are here; nothing is reached through a link."""
    for place, folders, names in os.walk(folder / "files"):
        folders[:] = [each for each in folders if not Path(place, each).is_symlink()]
        for name in names:
            found = Path(place, name).lstat()
            path = from_disk(Path(place, name).relative_to(folder).as_posix())
            if stat.S_ISREG(found.st_mode) and path.isprintable():
                home = path.split("/")[1]
                yield path, int(home) if _HOME.fullmatch(home) else 0, found.st_size


def _set_aside(path: Path, *, locks: bool) -> Path | None:
    """Rename the database and what belongs to it, which can be opened there."""
    if not any(path.with_name(f"{NAME}{end}").exists() for end in ("", *_BESIDE)):
        return None
    why = "damaged" if _is_damaged(path, locks=locks) else "before-rebuild"
    name = f"{NAME}.{why}-{time.strftime('%Y-%m-%d', time.gmtime())}"
    number, target = 1, path.with_name(name)
    while any(target.with_name(f"{target.name}{end}").exists() for end in ("", *_BESIDE)):
        number += 1
        target = path.with_name(f"{name}-{number}")
    # The database first: one without its log would be taken for whole by the next run.
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
