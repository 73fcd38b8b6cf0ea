"""
The files of one output folder: which are here, which are on the way, and what earlier runs left of those.

What fills and proves one file is a `Partial`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.models import RemoteFile
from harvester.storage.local.commit import Confirm, Publisher, nothing_to_confirm
from harvester.storage.local.dedupe import COPY, Link, link_or_copy
from harvester.storage.local.directory import HOLDS_FOLDERS, Directory, OutputTree, Sync, map_disk_errors
from harvester.storage.local.partial import Partial
from harvester.storage.local.partial_owner import UNPROVEN, Hold, PartName, new_owner
from harvester.storage.local.renames import Renames
from harvester.storage.local.reservation import DiskReservation, free_bytes
from harvester.storage.local.resume import Leftovers, names_in
from harvester.storage.local.segments import PARTIAL
from harvester.storage.local.verify import ensure_durable, is_whole
from harvester.system.paths import is_there


class Store:
    """
    The files of one output folder.

    `sync`: makes an open file or folder outlive a power cut. `link`: see `linking.Link`. `hold_folders`:
    reach files by open folders, not by paths that might lead elsewhere a moment later; not on Windows.
    `confirm`: raises where somebody else has this folder now; asked before anything is moved or removed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writers: int = 8,
        free_bytes: Callable[[Path], int] = free_bytes,
        sync: Sync = os.fsync,
        link: Link = Directory.link,
        hold_folders: bool = HOLDS_FOLDERS,
        confirm: Confirm = nothing_to_confirm,
    ) -> None:
        self.folder = folder
        self._link = link
        self._tree = OutputTree(folder, sync=sync, held=hold_folders)
        self._threads = CapacityLimiter(writers)
        self._confirm = confirm
        self._publisher = Publisher(self._tree, self._threads, confirm)
        self.renames = Renames(self._tree, self._threads, confirm)
        self._owner = new_owner()
        self._leftovers = Leftovers(self._tree)
        self._locks: dict[tuple[int, int | str], anyio.Lock] = {}
        self._room = DiskReservation(folder, free_bytes)

    def reserve(self, size: int) -> AbstractContextManager[None]:
        """Set `size` bytes of the free disk aside; see `DiskReservation.reserve`."""
        return self._room.reserve(lambda: size)

    @asynccontextmanager
    async def alone(self, item_id: int, what: int | str) -> AsyncIterator[None]:
        """Let one at a time bring a file, by what must not be in two hands: its id, its path or its md5."""
        key = (item_id, what)
        lock = self._locks.setdefault(key, anyio.Lock(fast_acquire=True))
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(key, None)

    async def holds(self, path: str, size: int, md5: str | None) -> bool:
        """
        Tell whether the file at `path` is there, whole and, where `md5` is given, proven by it.

        Raises:
            StorageError: the disk does not let that be seen.
        """
        return await self._look(is_whole, path, size, md5)

    async def keeps(self, path: str, size: int, md5: str | None) -> bool:
        """Tell what `holds` tells, and make a file that is there outlive a power cut."""
        return await self._look(ensure_durable, path, size, md5)

    async def links(self, twin: str, path: str, size: int, md5: str | None) -> bool:
        """Put the whole file at `twin` at `path` too; False where it is not there, or not whole."""
        await self._confirm()
        return await to_thread.run_sync(
            link_or_copy, self._tree, twin, path, size, md5, self._link, self._owner, limiter=self._threads
        )

    async def _look(
        self, how: Callable[[OutputTree, str, int, str | None], bool], path: str, size: int, md5: str | None
    ) -> bool:
        return await to_thread.run_sync(
            how, self._tree, path, size, md5, limiter=self._threads, abandon_on_cancel=True
        )

    def may_hold(self, path: str) -> bool:
        """Tell whether anything has this name; the look takes less than handing it to a thread does."""
        return is_there(self.folder, path)

    async def partial(self, item_id: int, file: RemoteFile) -> Partial:
        """Open the partial file of `file`, with what an earlier try left of it."""
        name = PartName(f"{item_id}-{file.id}-{file.md5 or UNPROVEN}", self._owner)
        await to_thread.run_sync(self._leftovers.look)
        partial = Partial(self._tree, name, file, self._threads, self._publisher, self._leftovers, self._room)
        if found := self._leftovers.take(name.stem):
            await self._confirm()
            await to_thread.run_sync(partial.take_over, found, limiter=self._threads)
            if not partial.has_room():
                await to_thread.run_sync(partial.pieces.drop, limiter=self._threads)
        return partial

    async def sweep(self, is_of_use: Callable[[int, int, str | None], Awaitable[bool]]) -> None:
        """
        Remove partial files that are of no more use.

        `is_of_use` is asked with the ids of item and file and the md5 that a partial file is for. Such are
        left where a file was replaced at figshare, and where a power cut undid the loss of an old name.
        What a living process fills stays: that it has no say here any more is for it to find out.
        """
        for name in await to_thread.run_sync(names_in, self._tree):
            found = PartName.read(name)
            if found is None:
                is_stale = name.endswith(COPY)  # of a run that was killed: it is made anew
            else:
                is_stale = found.hold is not Hold.THE_LIVING and not await is_of_use(*found.is_for)
            if is_stale:
                await self._confirm()
                await to_thread.run_sync(self._remove_partial, name)

    def _remove_partial(self, name: str) -> None:
        with map_disk_errors(str(self.folder / PARTIAL / name)), self._tree.folder(PARTIAL) as here:
            here.remove(name)
