"""The files themselves, each proven before it gets its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.routes import Routes
from harvester.ledger.results import FileResult
from harvester.models import OwedFile
from harvester.states import FileStatus
from harvester.store import Store


@dataclass(frozen=True)
class Files:
    """Fetches what is not here yet; a file that a killed run had already put in place is kept."""

    name: ClassVar[str] = "files"

    routes: Routes
    store: Store

    async def fetch(self, owed: OwedFile) -> FileResult:
        file = owed.file
        async with self.store.alone(owed.item_id, file.id):
            # Without an md5 only a finished download proves a file; with one, what lies there can.
            may_be_here = owed.is_old and file.md5 is not None and self.store.may_hold(owed.path)
            if not (may_be_here and await self.store.keeps(owed.path, file.size, file.md5)):
                await self._bring(owed)
        return FileResult(owed.item_id, file.id, FileStatus.DONE)

    async def _bring(self, owed: OwedFile) -> None:
        with self.store.reserve(owed.file.size):
            partial = await self.store.partial(owed.item_id, owed.file)
            try:
                await self.routes.download(owed, partial)
            finally:
                await partial.close()
