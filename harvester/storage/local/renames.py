"""
Crash-safe renames of files, through the folder of partial files.

The journal is `ledger.tables.renames`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from anyio import CapacityLimiter, to_thread

from harvester.errors import StorageError
from harvester.storage.disk_errors import is_absence, map_disk_errors
from harvester.storage.local.directory import OutputTree
from harvester.storage.local.segments import PARTIAL
from harvester.storage.protocol import Confirm
from harvester.system.failpoints import failpoint

ON_THE_WAY = ".move"
"""Suffix of the temporary name of a file that was taken out."""


class Renames:
    """Renames files of one output folder; repeated after a crash it completes the renames."""

    def __init__(self, tree: OutputTree, threads: CapacityLimiter, confirm: Confirm) -> None:
        self._tree = tree
        self._threads = threads
        self._confirm = confirm

    async def take_out(self, paths: Sequence[tuple[str, str]]) -> None:
        """
        Move files, given by source and target, from their paths to temporary ones; missing ones are skipped.

        Raises:
            StorageError: the disk failed.
            FolderLocked: another run has the folder now.
        """
        await self._confirm()
        await to_thread.run_sync(_take_out, self._tree, paths, limiter=self._threads)

    async def put_in(self, targets: Sequence[str]) -> None:
        """Move files that were taken out to their targets; raises what `take_out` raises."""
        await self._confirm()
        await to_thread.run_sync(_put_in, self._tree, targets, limiter=self._threads)


def _take_out(tree: OutputTree, sources: Sequence[tuple[str, str]]) -> None:
    with map_disk_errors(str(tree.root / PARTIAL)), tree.folder(PARTIAL, make=True) as apart:
        for source, target in sources:
            folder, _, name = source.rpartition("/")
            try:
                with map_disk_errors(str(tree.root / source)), tree.folder(folder) as here:
                    here.look(name)
                    here.move(name, apart, _on_the_way(target))
                    here.sync(tree.sync_descriptor)
            except StorageError as error:
                if not is_absence(error):
                    raise
        apart.sync(tree.sync_descriptor)
    failpoint("rename: taken out")


def _put_in(tree: OutputTree, targets: Sequence[str]) -> None:
    for target in targets:
        if not os.path.lexists(tree.root / PARTIAL / _on_the_way(target)):
            continue  # moved already, or it was missing
        folder, _, name = target.rpartition("/")
        with (
            map_disk_errors(str(tree.root / target)),
            tree.folder(PARTIAL) as apart,
            tree.folder(folder, make=True) as here,
        ):
            apart.move(_on_the_way(target), here, name)
        tree.keep(target)
    failpoint("rename: put in")


def _on_the_way(target: str) -> str:
    """Return the temporary name of a file, short enough for any target."""
    return hashlib.sha256(target.encode()).hexdigest() + ON_THE_WAY
