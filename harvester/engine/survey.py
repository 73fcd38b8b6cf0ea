"""
Reads what sources select, page by page, and records nothing: for a plan, and for a list of ids.

Every item comes out once, however often it is named. What could not be read is told, not raised: the rest is
of use without it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence

from harvester.errors import PermanentError, TransientError
from harvester.figshare.protocol import Figshare
from harvester.models import ItemRef, Page
from harvester.sources import Listing, Source, doubts_of, is_endless

log = logging.getLogger(__name__)


class Survey:
    """
    One reading of the listings of some sources.

    ``listed``: how often they named an item. ``incomplete``: what could not be read and the names that lead
    to no item, for people; `on_miss` is called with each. ``whole``: the listings that were read to their
    end. `narrow`: which listing is to be read in the place of one.
    """

    def __init__(
        self,
        figshare: Figshare,
        *,
        narrow: Callable[[Listing], Listing] = lambda listing: listing,
        on_miss: Callable[[str], object] = lambda what: what,
    ) -> None:
        self.listed = 0
        self.incomplete: list[str] = []
        self.whole: list[Listing] = []
        self._figshare = figshare
        self._narrow = narrow
        self._on_miss = on_miss
        self._seen: set[int | tuple[int, int]] = set()

    @property
    def items(self) -> int:
        """The number of different items so far."""
        return len(self._seen)

    def has_named(self, ref: ItemRef) -> bool:
        """Tell whether an item, or a version of one, has come up so far."""
        return _name(ref) in self._seen

    async def pages(self, sources: Sequence[Source]) -> AsyncIterator[list[ItemRef]]:
        """
        Read all listings; of each page give the items that no page before has named.

        Raises what the client raises when the api cannot be used at all.
        """
        # The account's own record of an item is the fuller one, so it must be known first.
        in_turn = sorted(sources, key=lambda source: not source.private)
        listings = {item.key: item for source in in_turn for item in await source.listings()}
        for doubt in await doubts_of(tuple(listings.values()), self._figshare):
            log.warning("%s", doubt)
        for listing in listings.values():
            async for page in self._read(self._narrow(listing)):
                self.listed += len(page.refs)
                fresh = {name: ref for ref in page.refs if (name := _name(ref)) not in self._seen}
                self._seen.update(fresh)
                yield list(fresh.values())

    async def _read(self, listing: Listing) -> AsyncIterator[Page]:
        position: str | None = None
        named, found = 0, set[int | tuple[int, int]]()
        was_warned = False
        while True:
            try:
                page = await listing.page(self._figshare, position)
            except (PermanentError, TransientError) as error:
                self._miss(f"{listing.key}: {error}")
                return
            if page.warning and not was_warned:
                log.warning("%s", page.warning)
                was_warned = True
            for note in page.notes:
                log.warning("%s", note)
            for name in page.unresolved:
                self._miss(f"{name.name}: {name.reason}")
            yield page
            position = page.position
            if position is None:
                self.whole.append(listing)
                return
            named += len(page.refs) + len(page.unresolved)
            found.update(map(_name, page.refs))
            if is_endless(listing, named, len(found)):
                self._miss(f"{listing.key}: the listing does not end: it repeats the same items")
                return

    def _miss(self, what: str) -> None:
        self.incomplete.append(what)
        self._on_miss(what)


def _name(ref: ItemRef) -> int | tuple[int, int]:
    """Tell one item or version from another; a plain number for most, as there may be a million."""
    return (ref.id, ref.version) if ref.version else ref.id
