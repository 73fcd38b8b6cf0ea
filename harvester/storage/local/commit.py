"""
Group commit: files that are complete at the same time are verified, synced and renamed together.

An fsync takes longer than the download of a small file. While one batch is written, the next one collects,
and a batch syncs each folder once. So the cost of a file falls as the load rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import anyio
from anyio import CapacityLimiter, from_thread, to_thread

from harvester.errors import HarvestError, StorageError
from harvester.storage.local.directory import OutputTree, StagedFile
from harvester.storage.protocol import Confirm
from harvester.system.failpoints import failpoint

LARGE_BYTES = 8 << 20
"""A file of this size is committed alone: no other file waits for it."""


class Publishable(Protocol):
    """A partial file that should be complete."""

    def prove(self, key: str) -> StagedFile:
        """Write the buffer and verify the file, which goes to `key`; raise if it is wrong."""
        ...

    def published(self) -> None:
        """Note that it was renamed."""
        ...

    def unsynced(self) -> None:
        """Start over: a sync failed, and it is unknown which bytes are lost."""
        ...


class _Entry:
    def __init__(self, partial: Publishable, path: str) -> None:
        self.partial = partial
        self.path = path
        self.is_taken = False
        self.problem: HarvestError | None = StorageError(f"{path}: was not written")  # until it is


class Publisher:
    """Publishes the files of one output folder."""

    def __init__(self, tree: OutputTree, threads: CapacityLimiter, confirm: Confirm) -> None:
        self._tree = tree
        self._threads = threads
        self._confirm = confirm
        self._one_at_a_time = anyio.Lock(fast_acquire=True)
        self._gathered: list[_Entry] = []

    async def publish(self, partial: Publishable, path: str, size: int) -> None:
        """
        Verify a file of `size` bytes and rename it to `path`; it is durable then.

        Raises:
            CorruptBody: its checksum is wrong; it has been deleted.
            StorageError: the disk failed.
            FolderLocked: another run has the folder now.
        """
        entry = _Entry(partial, path)
        with anyio.CancelScope(shield=True):  # the file may be in a batch that is being written
            if size >= LARGE_BYTES:
                await to_thread.run_sync(self._publish, [entry], limiter=self._threads)
            else:
                await self._with_others(entry)
        if entry.problem is not None:
            raise entry.problem

    async def _with_others(self, entry: _Entry) -> None:
        self._gathered.append(entry)
        async with self._one_at_a_time:
            if entry.is_taken:
                return
            batch, self._gathered = self._gathered, []
            for each in batch:
                each.is_taken = True
            await to_thread.run_sync(self._publish, batch, limiter=self._threads)

    def _publish(self, batch: Sequence[_Entry]) -> None:
        proven: list[tuple[_Entry, StagedFile]] = []
        for entry in batch:
            try:
                proven.append((entry, entry.partial.prove(entry.path)))
            except HarvestError as error:
                entry.problem = error
        # The sync of a large file may outlast the lease, so the fence is checked after it.
        confirm = partial(from_thread.run, self._confirm)
        self._tree.publish([finished for _, finished in proven], before_moving=confirm)
        failpoint("file: after the commit")
        for entry, finished in proven:
            entry.problem = finished.problem
            if entry.problem is None:
                entry.partial.published()
            elif not finished.is_synced:
                entry.partial.unsynced()
