"""
File placement: renames fetched files to the paths that the current record of their item gives them.

The current file has the plain name. A file that it replaced gets its id in the name, and stays until it is
pruned. Renames are written to a journal in the ledger first, so that a killed process loses nothing. This
runs in the process of the ledger, before a file is fetched; the fetch may run in another process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from harvester.config.keys import LATEST
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import FileResult
from harvester.ledger.tables.renames import FileRename, ItemFiles
from harvester.models import ItemKey, PendingFile, key_of
from harvester.states import FileStatus
from harvester.storage.paths import aside, assign_paths, is_same_path, item_dir
from harvester.storage.protocol import Storage, renames_of
from harvester.system.concurrency import KeyedLocks
from harvester.tasks.files import keep_in_place

AT_ONCE = 200
"""Items whose files are renamed together."""
RENAMES = "renames"
"""Key of the lock on renames within one item; no file has this path or md5."""


class Placement:
    """Renames the files of a harvest."""

    def __init__(self, ledger: Ledger, storage: Storage) -> None:
        self._journal = ledger.rename_journal
        self._ledger = ledger
        self._storage = storage
        self._renames = renames_of(storage)
        self._locks = KeyedLocks()

    async def recover(self) -> None:
        """Complete the renames that an interrupted run had planned."""
        # In a transaction, though it only reads: none but the run that holds the folder may rename.
        unfinished = await self._ledger.change(self._journal.unfinished)
        await self._rename([rename for rename in unfinished if not rename.is_out], is_planned=True)
        if out := [rename for rename in unfinished if rename.is_out]:
            await self._put_in(out)

    @asynccontextmanager
    async def hold(
        self, file: PendingFile, versions: str | tuple[int, ...]
    ) -> AsyncIterator[PendingFile | FileResult]:
        """
        Hold the locks on a file while it is fetched, and clear its path.

        Yields the file, or its result if a file that is already here could be used.
        `versions`: the versions of items that the run wants.
        """
        lock = self._locks.hold
        # Lock by id, as the record may change meanwhile; and by path, which another file may get.
        async with lock(file.item_key, file.path), lock(file.item_id, file.file.id):
            if await self._clear(file):
                yield _done(file, file.file.size)
            elif file.file.md5 is None or (versions == LATEST and file.item_key == key_of(file.item_id)):
                yield file
            else:  # another version of its item may have the same bytes
                async with lock(file.item_id, file.file.md5):
                    yield await self._link_duplicate(file) or file

    async def _clear(self, file: PendingFile) -> bool:
        """
        Move a replaced file aside, or back if it is wanted again.

        Return whether the wanted file is here.
        """
        if not (file.is_taken or file.may_be_aside):
            return False
        if await keep_in_place(self._storage, file):
            return True
        async with self._locks.hold(file.item_id, RENAMES):
            if file.is_taken:
                await self.make_way(file)
            return file.may_be_aside and await self.take_back(file)

    async def _link_duplicate(self, file: PendingFile) -> FileResult | None:
        """Link the file of another version with the same bytes; return the result, None if there is none."""
        if await keep_in_place(self._storage, file):
            return _done(file, file.file.size)
        async with self._locks.hold(file.item_id, RENAMES):  # a file that is being renamed has no path
            for path, size in await self._ledger.read(self._ledger.histories.duplicates, file):
                is_intact = await self._storage.is_intact(path, size, file.file.md5)
                if is_intact and await self._storage.duplicate(path, file.path):
                    return _done(file, size)
        return None

    async def make_way(self, file: PendingFile) -> None:
        """Move the file that a new one replaces aside; the caller holds the lock on the path."""
        item = await self._ledger.read(self._journal.files_of, file.item_key)
        await self._rename(_asides(item, {file.path: file.file.id}))

    async def take_back(self, file: PendingFile) -> bool:
        """
        Move a file that was replaced before back to its path, if it is the one that is wanted now.

        Returns whether there was one: with the same md5, or with the same id if figshare gives no md5.
        """
        for path, file_id in await self._ledger.read(self._journal.orphans_of, file.item_key, file.file.size):
            is_known = file.file.md5 is not None or file_id == file.file.id
            if is_known and await self._storage.is_intact(path, file.file.size, file.file.md5):
                await self._rename([FileRename(file.item_key, file.file.id, path, file.path)])
                return True
        return False

    async def place_files(self) -> None:
        """
        Give the files of all items the paths of their records; nothing else may work on these files.

        Raises:
            StorageError: a rename failed. The finished ones are recorded, the others are done by the next
                run.
        """
        await self._ledger.flush()
        while items := await self._ledger.read(self._journal.unplaced, AT_ONCE):
            renames: list[FileRename] = []
            placed: dict[ItemKey, Mapping[int, str]] = {}
            for item in items:
                wanted = assign_paths(
                    item_dir(item.item_id, item.version), [file for file, _, _ in item.files], {}
                )
                here = await self._here(item)
                renames += [
                    FileRename(item.item_key, file_id, path, wanted[file_id])
                    for file_id, path in here.items()
                    if path != wanted[file_id]
                ]
                renames += _asides(item, {path: file_id for file_id, path in wanted.items()})
                placed[item.item_key] = {
                    file_id: path for file_id, path in wanted.items() if file_id not in here
                }
            await self._rename(renames)
            await self._ledger.change(self._journal.save_paths, placed)

    async def _here(self, item: ItemFiles) -> dict[int, str]:
        """Return the paths of the fetched files; a killed run may not have recorded all."""
        here: dict[int, str] = {}
        for file, path, is_recorded in item.files:
            is_here = is_recorded or (
                path not in item.orphans and await self._storage.is_intact(path, file.size, file.md5)
            )
            if is_here:
                here[file.id] = path
        return here

    async def _rename(self, renames: Sequence[FileRename], *, is_planned: bool = False) -> None:
        if not renames:
            return
        if not is_planned:
            await self._ledger.change(self._journal.plan, renames)
        # First all files leave their paths, then this is synced and recorded, then they get the new ones.
        # So two files may swap names, and after a crash it is clear which file is which.
        await self._renames.take_out([(rename.source, rename.target) for rename in renames])
        await self._ledger.change(self._journal.note_out, renames)
        await self._put_in(renames)

    async def _put_in(self, renames: Sequence[FileRename]) -> None:
        await self._renames.put_in([rename.target for rename in renames])
        await self._ledger.change(self._journal.finish, renames)


def _done(file: PendingFile, size: int) -> FileResult:
    return FileResult(file.item_key, file.file.id, FileStatus.DONE, path=file.path, size=size)


def _asides(item: ItemFiles, wanted: Mapping[str, int]) -> list[FileRename]:
    """Return renames of an item's orphans at wanted paths; paths are compared as any file system does."""
    taken = {*item.orphans, *wanted, *(path for _, path, _ in item.files)}
    renames: list[FileRename] = []
    for path, file_id in item.orphans.items():
        if any(is_same_path(path, other) for other in wanted):
            target = aside(path, file_id, taken)
            taken.add(target)
            renames.append(FileRename(item.item_key, None, path, target))
    return renames
