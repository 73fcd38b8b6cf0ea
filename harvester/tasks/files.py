"""The files themselves, each proven before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from msgspec.structs import replace

from harvester.config.keys import LATEST
from harvester.errors import NotFound, Rejected
from harvester.figshare.downloads import DownloadRoutes
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import FileResult
from harvester.models import REFUSED_TO_OWNER, FileStatus, PendingFile
from harvester.storage.local import Store
from harvester.tasks.placement import Placement

RENAMES = "renames"
"""What one at a time does with the files of an item: none has this path or md5."""

OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""The md5 of no bytes: a size of 0 with any other was not told, and the md5 is all that proves the file."""


@dataclass(frozen=True)
class Files:
    """
    Fetches what is not here yet; what lies in its place is hashed first, and kept if it is the file: a killed
    run may have put it there, or figshare told its sum later. Any other file there goes out of the way.

    A file that did not change from one version of an item to another is fetched once.
    """

    name: ClassVar[str] = "files"

    routes: DownloadRoutes
    store: Store
    ledger: Ledger
    mover: Placement
    versions: str | tuple[int, ...]

    async def fetch(self, owed: PendingFile) -> FileResult:
        file = owed.file
        # By its id, as its record may change while it comes; by its path, which another may get meanwhile.
        async with self.store.alone(owed.key, owed.path), self.store.alone(owed.item_id, file.id):
            # Without an md5 only a finished download proves a file; with one, what lies there can.
            may_be_here = file.md5 is not None and self.store.may_hold(owed.path)
            if not (may_be_here and await self.store.keeps(owed.path, file.size, file.md5)):
                try:
                    if file.size == 0 and file.md5 not in {None, OF_NOTHING}:
                        file = replace(file, size=await self.routes.size_of(owed))
                        owed = replace(owed, file=file)
                    await self._obtain(owed)
                except (NotFound, Rejected):
                    if not owed.withheld:
                        raise
                    reason = f"{owed.withheld}{REFUSED_TO_OWNER if owed.private else ''}"
                    return FileResult(owed.key, file.id, FileStatus.WITHHELD, reason=reason)
        return FileResult(owed.key, file.id, FileStatus.DONE, path=owed.path, size=file.size)

    async def _obtain(self, owed: PendingFile) -> None:
        """Clear the file's place, and take it from those that were replaced before where it is among them."""
        if owed.is_taken or owed.may_be_aside:
            async with self.store.alone(owed.item_id, RENAMES):
                if owed.is_taken:
                    await self.mover.make_way(owed)
                if owed.may_be_aside and await self.mover.take_back(owed):
                    return
        await self._bring_once(owed)

    async def _bring_once(self, owed: PendingFile) -> None:
        """Bring a file, unless another version of its item has the same bytes."""
        md5 = owed.file.md5
        if md5 is None or (self.versions == LATEST and owed.key == owed.item_id):
            await self._bring(owed)
            return
        async with self.store.alone(owed.item_id, md5):
            async with self.store.alone(owed.item_id, RENAMES):  # what is on its way is in no place
                for twin in await self.ledger.twins(owed):
                    if await self.store.links(twin, owed.path, owed.file.size, md5):
                        return
            await self._bring(owed)

    async def _bring(self, owed: PendingFile) -> None:
        partial = await self.store.partial(owed.item_id, owed.file)
        try:
            with partial.reserve():
                await self.routes.download(owed, partial)
        finally:
            await partial.close()
