"""
Output folder: creates it, refuses one with other data, or rebuilds its ledger.

This is the only module that creates the storage of a run.
"""

from __future__ import annotations

import logging
from pathlib import Path

from anyio import from_thread

from harvester.config import Config
from harvester.errors import UsageError
from harvester.ledger.database.connection import NAME, exists
from harvester.ledger.database.heartbeat import Timing, Watch
from harvester.ledger.database.lease_file import is_trace
from harvester.ledger.database.rebuild import rebuild as rebuild_ledger
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.store import Store
from harvester.storage.protocol import Confirm, Storage, nothing_to_confirm
from harvester.storage.trash import TRASH

log = logging.getLogger(__name__)

OUTPUTS = ("files", "metadata.jsonl", "summary.json")


def prepare(folder: Path, *, rebuild: bool, timing: Timing) -> None:
    """
    Create the output folder, or rebuild its ledger, in a worker thread; `timing`: of heartbeats.

    Raises:
        UsageError: it contains other data.
        FolderLocked: its ledger is to be rebuilt, and another run holds the folder.
    """
    make_folder(folder, "--output")
    here = [path.name for path in folder.iterdir() if path.name != TRASH and not is_trace(path.name)]
    if not exists(folder) and here:
        if not any(name in OUTPUTS or name.startswith(f"{NAME}.") for name in here):
            raise UsageError(
                f"{folder}: is not empty and holds no harvest; name a new or empty folder with --output"
            )
        if not rebuild:
            raise UsageError(f"{folder}: holds a harvest without {NAME}; --rebuild makes a new one")
    if rebuild and here:
        watch = Watch(folder, seconds=timing.watch_seconds, checkpoint=from_thread.check_cancelled)
        aside = rebuild_ledger(folder, watch)
        log.warning("%s: new ledger; the old one: %s", folder, aside or "none")


def open_storage(config: Config, confirm: Confirm = nothing_to_confirm) -> Storage:
    """Return the storage of a harvest: the local one, in the output folder."""
    return Store(config.folder, writers=config.concurrency.downloads, confirm=confirm)


def make_folder(folder: Path, option: str) -> None:
    """
    Create the folder given by `option`, unless it exists.

    Raises:
        UsageError: a file has its name.
        StorageError: the disk failed.
    """
    with map_disk_errors(str(folder)):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; {option} names a folder")
        folder.mkdir(parents=True, exist_ok=True)
