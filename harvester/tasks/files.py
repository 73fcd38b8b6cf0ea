"""File download: each file is proven before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from msgspec.structs import replace

from harvester.errors import NotFound, Rejected
from harvester.figshare.downloads import DownloadRoutes
from harvester.ledger.messages import FileResult
from harvester.models import REFUSED_TO_OWNER, FileStatus, PendingFile
from harvester.storage.local import Store

MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""A size of 0 with another md5 means that the size is unknown."""


@dataclass(frozen=True)
class Files:
    """
    Fetches a file, unless it is here already.

    What lies in its place is hashed first, and kept if it is the file: a killed run may have put it there, or
    figshare told its md5 later.
    """

    name: ClassVar[str] = "files"

    routes: DownloadRoutes
    store: Store

    async def fetch(self, file: PendingFile) -> FileResult:
        """Bring a file to its path, or return that it is withheld; raises as `DownloadRoutes.download`."""
        if not await is_in_place(self.store, file):
            try:
                file = await self._with_size(file)
                await self._download(file)
            except (NotFound, Rejected):
                if not file.withheld:
                    raise
                reason = f"{file.withheld}{REFUSED_TO_OWNER if file.private else ''}"
                return FileResult(file.key, file.file.id, FileStatus.WITHHELD, reason=reason)
        return FileResult(file.key, file.file.id, FileStatus.DONE, path=file.path, size=file.file.size)

    async def _with_size(self, file: PendingFile) -> PendingFile:
        if file.file.size or file.file.md5 in {None, MD5_OF_NOTHING}:
            return file
        return replace(file, file=replace(file.file, size=await self.routes.size_of(file)))

    async def _download(self, file: PendingFile) -> None:
        partial = await self.store.partial(file.item_id, file.file)
        try:
            with partial.reserve():
                await self.routes.download(file, partial)
        finally:
            await partial.close()


async def is_in_place(store: Store, file: PendingFile) -> bool:
    """Return whether a file is at its path, proven, and will outlive a power cut."""
    # Without an md5 only a finished download proves a file; with one, what lies there can.
    if file.file.md5 is None or not store.may_hold(file.path):
        return False
    return await store.keeps(file.path, file.file.size, file.file.md5)
