"""Local storage: the `Storage` of one output folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.commit import Publisher
from harvester.storage.local.dedupe import COPY, Link, link_or_copy
from harvester.storage.local.directory import HOLDS_FOLDERS, Directory, OutputTree, Sync
from harvester.storage.local.partial import Partial
from harvester.storage.local.partial_owner import UNPROVEN, Ownership, PartName, new_owner
from harvester.storage.local.renames import Renames
from harvester.storage.local.reservation import DiskReservation, free_bytes
from harvester.storage.local.resume import StalePartials, names_in
from harvester.storage.local.segments import PARTIAL
from harvester.storage.local.verify import is_absent, is_whole
from harvester.storage.protocol import Confirm, Expected, PartialUpload, nothing_to_confirm


class Store:
    """
    The files of one output folder.

    Attributes:
        folder: must exist; it is never created here.
        writers: maximum number of writing threads.
        free_bytes: returns the free bytes of a folder's disk.
        sync: makes an open file or folder durable, as `os.fsync`.
        link: makes a hard link, see `dedupe.Link`.
        hold_folders: access files through open folders, as a path could be replaced by a link meanwhile;
            not on Windows.
        confirm: the fence, see `protocol.Confirm`.
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
        self._folder = folder
        self._link = link
        self._tree = OutputTree(folder, sync=sync, held=hold_folders)
        self._threads = CapacityLimiter(writers)
        self._confirm = confirm
        self._publisher = Publisher(self._tree, self._threads, confirm)
        self._owner = new_owner()
        self._stale_partials = StalePartials(self._tree)
        self.renames = Renames(self._tree, self._threads, confirm)
        self.space = DiskReservation(folder, free_bytes)

    async def open(self, key: str, expected: Expected) -> Partial:  # `commit` gets the key
        """
        Open the partial file of a file, resume it if there is one, and reserve disk space for the rest.

        Raises:
            InsufficientSpace: the rest does not fit.
        """
        name = PartName(f"{expected.item_id}-{expected.file_id}-{expected.md5 or UNPROVEN}", self._owner)
        if not self._stale_partials.are_known:
            await to_thread.run_sync(self._stale_partials.find)
        partial = Partial(
            self._tree, name, expected, self._threads, self._publisher, self._stale_partials, self.space
        )
        try:
            if found := self._stale_partials.take(name.stem):
                await self._confirm()
                await to_thread.run_sync(partial.take_over, found, limiter=self._threads)
            partial.reserve()
        except BaseException:
            await partial.abort()
            raise
        return partial

    async def is_intact(self, key: str, size: int, md5: str | None) -> bool:
        """Return whether the file at `key` exists with this size and, if given, this md5."""
        if is_absent(self._tree, key):
            return False
        return await to_thread.run_sync(
            is_whole, self._tree, key, size, md5, limiter=self._threads, abandon_on_cancel=True
        )

    async def duplicate(self, source: str, key: str) -> bool:
        """Link or copy the file at `source` to `key`, durably; if both are equal, make the file durable."""
        if source != key:
            await self._confirm()
        return await to_thread.run_sync(
            link_or_copy, self._tree, source, key, self._link, self._owner, limiter=self._threads
        )

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files; the fence is checked before each."""
        for key in keys:
            await self._confirm()
            await to_thread.run_sync(self._delete, key, limiter=self._threads)

    def free_bytes(self) -> int:
        """Return the free bytes of the disk."""
        return self.space.free_bytes()

    async def partials(self) -> Sequence[PartialUpload]:
        """
        List the partial files that no living process fills.

        The file of a running process stays: it finds out itself whether it still has the lease.
        """
        found: list[PartialUpload] = []
        for name in await to_thread.run_sync(names_in, self._tree):
            part = PartName.read(name)
            if part is not None and part.hold is not Ownership.ALIVE:
                found.append(PartialUpload(f"{PARTIAL}/{name}", part.is_for))
            elif part is None and name.endswith(COPY):  # of a killed run: the next one copies again
                found.append(PartialUpload(f"{PARTIAL}/{name}", None))
        return found

    def _delete(self, key: str) -> None:
        folder, _, name = key.rpartition("/")
        with map_disk_errors(str(self._folder / key)), self._tree.folder(folder) as here:
            here.remove(name)
