"""Orphans: deletes partial uploads that no pending file will resume."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harvester.models import ItemId
from harvester.storage.protocol import Storage


async def delete_orphans(
    storage: Storage, may_be_pending: Callable[[ItemId, int, str | None], Awaitable[bool]]
) -> None:
    """
    Delete the partial uploads of files that were replaced at figshare, or that reappeared after a power cut.

    `may_be_pending`: called with the ids of item and file, and the md5, of a partial upload.
    """
    orphans = [
        partial.key
        for partial in await storage.partials()
        if partial.source is None or not await may_be_pending(*partial.source)
    ]
    await storage.delete(orphans)
