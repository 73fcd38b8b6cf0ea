"""Fixity check: hashes every file again, and makes corrupt or missing files pending again."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from anyio.lowlevel import checkpoint

from harvester.config import Config
from harvester.engine.activity import Activity
from harvester.jobs.config_argument import config_of
from harvester.jobs.output_folder import open_storage
from harvester.ledger.database.connection import may_write
from harvester.ledger.database.heartbeat import USUAL_TIMING, Timing
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import FileResult
from harvester.ledger.reader import Reader
from harvester.states import FileStatus
from harvester.storage.protocol import Storage
from harvester.summary import NO_FILES
from harvester.tasks.placement import Placement
from harvester.text.units import human_bytes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verified:
    """
    The result of `verify`.

    ``damaged``: the paths of corrupt or missing files. ``is_recorded``: they are pending again; False if this
    user may only read.
    """

    whole: int
    damaged: tuple[str, ...]
    is_recorded: bool = True


async def verify(
    config: Config | str | os.PathLike[str],
    *,
    timing: Timing | None = None,
    activity: Activity | None = None,
) -> Verified:
    """
    Hash every file again; corrupt or missing files become pending, and the next run fetches them.

    `config`: a config, or the path of the folder. If the user may only read the folder, nothing is recorded.
    `timing`: of heartbeats, and how long to wait
    for another run. `activity`: shows how far it is.

    Raises:
        UsageError: the folder contains no harvest.
        FolderLocked: another run holds the folder.
        StorageError: a file could not be read; that does not make it pending.
    """
    config = config_of(config)
    with Reader(config.folder) as reader:
        if not may_write(config.folder):
            return await _verify(reader, open_storage(config), None, activity or Activity())
    ledger = Ledger(config.folder, timing=timing or USUAL_TIMING)
    async with ledger.hold("verify", if_cancelled="interrupted"):
        # Closed before the ledger: the last connection to close removes the log.
        with Reader(config.folder) as reader:
            storage = open_storage(config, ledger.confirm)
            await Placement(ledger, storage).recover()
            return await _verify(reader, storage, ledger, activity or Activity())


async def _verify(reader: Reader, storage: Storage, ledger: Ledger | None, activity: Activity) -> Verified:
    """Hash every file; without a ledger nothing is recorded, and files that are being renamed are skipped."""
    damaged: list[str] = []
    checked = size = 0
    here = reader.counts().files.get(FileStatus.DONE, NO_FILES)

    def describe() -> str:
        so_far = f"file {checked} of {here.files}, {human_bytes(size)} of {human_bytes(here.bytes)}"
        return f"{so_far}, {len(damaged)} corrupt or missing" if damaged else so_far

    activity.begin(describe)
    moving = frozenset() if ledger else reader.moving()
    for file in reader.files(FileStatus.DONE):
        # A missing file needs no wait: many of them in a row would delay signals and the heartbeat.
        await checkpoint()
        if file.path in moving:
            log.warning("%s: is being renamed; not checked", file.path)
            continue
        if not await storage.is_intact(file.path, file.size, file.md5):
            log.warning("%s: corrupt or missing", file.path)
            damaged.append(file.path)
            if ledger:
                await ledger.save(FileResult(file.item_key, file.file_id, FileStatus.PENDING))
        checked += 1
        size += file.size
    return Verified(checked - len(damaged), tuple(damaged), is_recorded=ledger is not None)
