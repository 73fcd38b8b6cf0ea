"""
Dry run: reads what sources select and records nothing, for a list of ids.

Each item is returned once, even if it is listed several times. A listing that cannot be read is noted and
raises no error, as the others are useful without it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from harvester.engine.listing import ListingReader, why_empty
from harvester.errors import PermanentError, TransientError
from harvester.figshare.protocol import Figshare, Listing
from harvester.ledger.messages import ListingProgress
from harvester.models import ItemRef, Page
from harvester.sources import Source

log = logging.getLogger(__name__)


class DryRunReader:
    """
    Reads the listings of some sources once.

    `on_listing`: called with each listing before it is read.
    `on_miss`: called with each line of ``incomplete``. `on_empty`: with each line of ``empty``.

    ``listed``: how many entries were read.
    ``empty``: a line for each listing without items.
    ``incomplete``: listings that could not be read and names without an item, one line each.
    """

    def __init__(
        self,
        figshare: Figshare,
        *,
        on_listing: Callable[[Listing], object],
        on_miss: Callable[[str], object],
        on_empty: Callable[[str], object],
    ) -> None:
        self.listed = 0
        self.incomplete: list[str] = []
        self.empty: list[str] = []
        self._reader = ListingReader(figshare, warn=lambda text: log.warning("%s", text))
        self._on_listing = on_listing
        self._on_miss = on_miss
        self._on_empty = on_empty
        self._seen: set[int | tuple[int, int]] = set()

    @property
    def items(self) -> int:
        """The number of different items so far."""
        return len(self._seen)

    async def read(
        self, sources: Sequence[Source], on_items: Callable[[list[ItemRef]], Awaitable[None]]
    ) -> None:
        """
        Read all listings; call `on_items` with the items of each page that were not listed before.

        Raises what the client raises if the API cannot be used at all.
        """
        for listing in await self._reader.listings(sources):
            self._on_listing(listing)
            await self._read(listing, on_items)

    async def _read(self, listing: Listing, on_items: Callable[[list[ItemRef]], Awaitable[None]]) -> None:
        found = set[int | tuple[int, int]]()
        entries = excluded = 0

        async def add(page: Page) -> ListingProgress:
            nonlocal entries, excluded
            excluded += page.excluded
            for each in page.unresolved:
                self._miss(f"{each.name}: {each.reason}")
            self.listed += len(page.refs)
            entries += len(page.refs) + len(page.unresolved)
            refs = {_identity(ref): ref for ref in page.refs}
            found.update(refs)
            fresh = {identity: ref for identity, ref in refs.items() if identity not in self._seen}
            self._seen.update(fresh)
            await on_items(list(fresh.values()))
            return ListingProgress(page.cursor, page.cursor is None, entries, len(found))

        try:
            await self._reader.read(listing, ListingProgress(), add)
        except (PermanentError, TransientError) as error:
            self._miss(f"{listing.display_name}: {error}")
            return
        if not entries:
            self.empty.append(why_empty(listing, excluded))
            self._on_empty(self.empty[-1])

    def _miss(self, line: str) -> None:
        self.incomplete.append(line)
        self._on_miss(line)


def _identity(ref: ItemRef) -> int | tuple[int, int]:
    """Return the identity of an item or version; a plain number if possible, as there may be a million."""
    return (ref.id, ref.version) if ref.version else ref.id
