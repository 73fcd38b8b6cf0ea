"""
Output folder: creates it, refuses one with other data, or rebuilds its ledger.

This is the only module that creates the storage of a run.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from anyio import from_thread

from harvester.config import Config
from harvester.errors import UsageError
from harvester.ledger.database.connection import NAME, exists
from harvester.ledger.database.heartbeat import Timing, Watch
from harvester.ledger.database.lease_file import is_trace
from harvester.ledger.database.rebuild import rebuild as rebuild_ledger
from harvester.ledger.database.waiting import when_free
from harvester.ledger.reader import Reader
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.reservation import free_bytes
from harvester.storage.local.store import Store
from harvester.storage.protocol import Confirm, Storage, nothing_to_confirm
from harvester.storage.trash import TRASH

log = logging.getLogger(__name__)

_NO_PLACE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
"""The errors of a path where no folder can be, whatever the state of the disk."""
OUTPUTS = ("files", "metadata.jsonl", "summary.json")


def prepare(folder: Path, *, rebuild: bool, timing: Timing, log_file: Path | None = None) -> None:
    """
    Create the output folder, or rebuild its ledger, in a worker thread.

    `timing`: of heartbeats. `log_file`: of this run; it may stand in a new folder.

    Raises:
        UsageError: it contains other data.
        FolderLocked: its ledger is to be rebuilt, and another run holds the folder.
    """
    make_folder(folder, "--output")
    if fault := folder_fault(folder, rebuild=rebuild, log_file=log_file):
        raise UsageError(f"{folder}: {fault}")
    if rebuild and _contents(folder, log_file):
        checkpoint = from_thread.check_cancelled
        watch = Watch(folder, seconds=timing.watch_seconds, checkpoint=checkpoint)
        acquire = partial(rebuild_ledger, folder, watch)
        aside = when_free(acquire, seconds=timing.wait_seconds, checkpoint=checkpoint)
        log.warning("%s: new ledger; the old one: %s", folder, aside or "none")


def folder_fault(folder: Path, *, rebuild: bool = False, log_file: Path | None = None) -> str:
    """Return why a run with this log file must not use an existing folder, "" if it may."""
    here = _contents(folder, log_file)
    if exists(folder) or not here:
        return ""
    if not any(name in OUTPUTS or name.startswith(f"{NAME}.") for name in here):
        return "is not empty and holds no harvest; name a new or empty folder with --output"
    return "" if rebuild else f"holds a harvest without {NAME}; --rebuild makes a new one"


def _contents(folder: Path, log_file: Path | None = None) -> list[str]:
    logs = _log_names(folder, log_file)
    with map_disk_errors(str(folder)):
        names = [path.name for path in folder.iterdir() if path.name != TRASH and not is_trace(path.name)]
    return [name for name in names if not logs.fullmatch(name)]


def _log_names(folder: Path, log_file: Path | None) -> re.Pattern[str]:
    """Return the pattern of what stands in a folder for a log file and its older ones; it may be deeper."""
    below = log_file.absolute() if log_file else None
    if below is None or not below.is_relative_to(folder.absolute()):
        return re.compile("(?!)")
    return re.compile(rf"{re.escape(below.relative_to(folder.absolute()).parts[0])}(\.[0-9]+)?")


@contextmanager
def removed_if_unused(folder: Path, log_file: Path | None = None) -> Iterator[None]:
    """
    Remove a new harvest, and the folders made for it, if the block raises UsageError: nothing was started.

    A folder that contained anything before, other than the log file, is left as it is.
    """
    with map_disk_errors(str(folder)):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        logs = _log_names(folder, log_file)
        is_empty = folder.is_dir() and all(logs.fullmatch(path.name) for path in folder.iterdir())
        is_new = folder in missing or is_empty
    try:
        yield
    except UsageError:
        if is_new and not _is_used(folder):
            _remove(folder, missing)
        raise


def _is_used(folder: Path) -> bool:
    """Return whether the ledger of a folder has a run: the unused one of this process is not recorded."""
    if not exists(folder):
        return False
    with Reader(folder) as reader:
        return reader.last_run() is not None


def _remove(folder: Path, made: Sequence[Path]) -> None:
    """Remove an unused ledger, and the folders `made` for it, innermost first, if they are empty."""
    with suppress(OSError):  # the message about the wrong usage matters more
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir():
                path.rmdir()
            elif path.name.startswith(NAME) or is_trace(path.name):
                path.unlink()
        for path in made:
            if path.exists():
                path.rmdir()


def open_storage(config: Config, confirm: Confirm = nothing_to_confirm) -> Storage:
    """Return the storage of a harvest: the local one, in the output folder."""
    return Store(config.folder, writers=config.concurrency.downloads, confirm=confirm)


def free_space(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    with map_disk_errors(str(there)):
        return free_bytes(there)


def make_folder(folder: Path, option: str) -> None:
    """
    Create the folder given by `option`, unless it exists.

    Raises:
        UsageError: a file has its name, or no folder can be there.
        StorageError: the disk failed.
    """
    with map_disk_errors(str(folder)):
        there = next(path for path in (folder, *folder.parents, Path()) if path.exists())
        if not there.is_dir():
            raise UsageError(f"{there}: is a file; {option} names a folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            if exc.errno not in _NO_PLACE:
                raise
            raise UsageError(f"{folder}: {option}: no folder can be made there: {exc.strerror}") from exc
