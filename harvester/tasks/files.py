"""File download: each file is verified before it gets its final name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from msgspec.structs import replace

from harvester.errors import NotFound, Rejected
from harvester.figshare.downloads import DownloadRoutes
from harvester.ledger.messages import FileResult
from harvester.models import PendingFile
from harvester.states import REFUSED_TO_OWNER, FileStatus
from harvester.storage.protocol import Expected, Storage

MD5_OF_NOTHING = "d41d8cd98f00b204e9800998ecf8427e"
"""A size of 0 with another md5 means that the size is unknown."""


@dataclass(frozen=True)
class Files:
    """
    Downloads a file, unless it is here already.

    A file that exists at its path is hashed first, and kept if the md5 matches: a killed run may have written
    it, or figshare published the md5 later.
    """

    name: ClassVar[str] = "files"

    routes: DownloadRoutes
    storage: Storage

    async def fetch(self, file: PendingFile) -> FileResult:
        """Download a file, or return that it is withheld; raises what `DownloadRoutes.download` raises."""
        if not await keep_in_place(self.storage, file):
            try:
                file = await self._with_size(file)
                await self._download(file)
            except (NotFound, Rejected):
                if not file.withheld:
                    raise
                reason = f"{file.withheld}{REFUSED_TO_OWNER if file.private else ''}"
                return FileResult(file.item_key, file.file.id, FileStatus.WITHHELD, reason=reason)
        return FileResult(file.item_key, file.file.id, FileStatus.DONE, path=file.path, size=file.file.size)

    async def _with_size(self, file: PendingFile) -> PendingFile:
        if file.file.size or file.file.md5 in {None, MD5_OF_NOTHING}:
            return file
        return replace(file, file=replace(file.file, size=await self.routes.size_of(file)))

    async def _download(self, file: PendingFile) -> None:
        expected = Expected(file.item_id, file.file.id, file.file.size, file.file.md5)
        upload = await self.storage.open(file.path, expected)
        try:
            await self.routes.download(file, upload, partial(upload.commit, file.path))
        finally:
            await upload.abort()


async def keep_in_place(storage: Storage, file: PendingFile) -> bool:
    """Make a verified file at its path durable; return False if it is missing or differs."""
    path, size, md5 = file.path, file.file.size, file.file.md5
    # Without an md5 only a finished download proves a file; with one, the existing file can be hashed.
    if md5 is None or not await storage.is_intact(path, size, md5):
        return False
    return await storage.duplicate(path, path)  # a killed run may not have made it durable
