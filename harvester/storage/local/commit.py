"""
Group commit: files that end at the same time are proven, synced and renamed to their places together.

To make a file durable takes the disk longer than to receive a small one. While one batch is written the next
one gathers, and a batch syncs each folder once, so the busier it gets the less a file costs.
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

LARGE_BYTES = 8 << 20
"""A file of this size keeps the disk busy for itself: no other file waits for it."""


class Publishable(Protocol):
    """A partial file that should be whole by now."""

    def prove(self, key: str) -> StagedFile:
        """Write what is buffered and prove the whole, which goes to `key`; raises what is wrong with it."""
        ...

    def published(self) -> None:
        """Take note that it is in its place."""
        ...

    def unsynced(self) -> None:
        """Begin anew: the disk has failed to take some of it, and which bytes is unknown."""
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
        Prove a file of `size` bytes and move it to `path`; what is published is durable.

        Raises:
            CorruptBody: it is not what was promised; it has been deleted.
            StorageError: the disk does not take it.
            FolderLocked: another run has the folder now.
        """
        entry = _Entry(partial, path)
        with anyio.CancelScope(shield=True):  # a batch that is under way has the file
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
        # To sync a large file takes long enough for a run to be thought dead: the fence is checked after
        # that.
        confirm = partial(from_thread.run, self._confirm)
        self._tree.publish([finished for _, finished in proven], before_moving=confirm)
        for entry, finished in proven:
            entry.problem = finished.problem
            if entry.problem is None:
                entry.partial.published()
            elif not finished.is_synced:
                entry.partial.unsynced()
