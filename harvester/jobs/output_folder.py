"""The output folder: made, refused where it holds something else, or given a new ledger."""

from __future__ import annotations

import logging
from pathlib import Path

from anyio import from_thread

from harvester.errors import UsageError
from harvester.ledger.database.connection import NAME, exists
from harvester.ledger.database.heartbeat import Timing, Watch
from harvester.ledger.database.lease_file import is_trace
from harvester.ledger.database.rebuild import rebuild as make_anew
from harvester.storage.local import map_disk_errors
from harvester.storage.trash import TRASH

log = logging.getLogger(__name__)

OUTPUTS = ("files", "metadata.jsonl", "summary.json")


def prepare(folder: Path, *, rebuild: bool, timing: Timing) -> None:
    """
    Make the output folder, or its ledger anew, in a thread of anyio's; `timing`: of heartbeats.

    Raises:
        UsageError: it holds something else.
        FolderLocked: its ledger is to be made anew, and another run is at work there.
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
        aside = make_anew(folder, watch)
        log.warning("%s: a new ledger; that of before: %s", folder, aside or "none")


def make_folder(folder: Path, option: str) -> None:
    """
    Make a folder that `option` names, where it is not there.

    Raises:
        UsageError: a file has its name.
        StorageError: the disk does not let it be made.
    """
    with map_disk_errors(str(folder)):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: is a file; {option} names a folder")
        folder.mkdir(parents=True, exist_ok=True)
