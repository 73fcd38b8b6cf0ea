"""figshare's calls over a sandbox, and a listing read to its end: what tests of sources share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from yarl import URL

from harvester.figshare.api import FigshareApi
from harvester.figshare.protocol import Listing
from harvester.figshare.v2 import V2
from harvester.models import ItemRef
from harvester.sandbox import Sandbox
from harvester.sources import Source
from tests.support.http import client
from tests.support.program import TOKEN


@asynccontextmanager
async def calls(
    sandbox: Sandbox, *, token: str | None = TOKEN, impersonate: int = 0
) -> AsyncIterator[FigshareApi]:
    """figshare's calls to a sandbox, without a limit."""
    api, stats = URL(sandbox.api), URL(sandbox.stats)
    async with client(api, stats=stats, token=token) as polite:
        yield FigshareApi(polite, api=api, stats=stats, impersonate=impersonate)


@dataclass
class Read:
    """What a listing gave; ``positions``: where each page but the first began."""

    refs: list[ItemRef] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    excluded: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """Each once, in the order of their coming."""
        return list(dict.fromkeys(ref.id for ref in self.refs))

    @property
    def again(self) -> int:
        """How many entries repeat an item."""
        return len(self.refs) - len(self.ids)


async def read(
    sandbox: Sandbox, listing: Listing, *, token: str | None = TOKEN, impersonate: int = 0
) -> Read:
    """Read a listing to its end; every page is requested with nothing but its position."""
    found, position = Read(), None
    async with client(URL(sandbox.api), stats=URL(sandbox.stats), token=token) as polite:
        for _ in range(2000):
            figshare = FigshareApi(
                polite, api=URL(sandbox.api), stats=URL(sandbox.stats), impersonate=impersonate
            )
            page = await listing.page(figshare, position)
            found.refs += page.refs
            found.excluded += page.excluded
            found.warnings += [page.warning] if page.warning else []
            if (position := page.cursor) is None:
                return found
            found.positions.append(position)
    raise AssertionError("the listing does not end")


async def only(source: Source) -> Listing:
    """The one listing of a source."""
    (listing,) = await source.listings(V2.endpoints)
    return listing
