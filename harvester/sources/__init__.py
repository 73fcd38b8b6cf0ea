"""
Where item ids come from. A new kind of source is a new module here and a line in `plugins.py`.

A source is a frozen `Table` whose fields are the keys of its ``[[sources]]`` table. It is made of
listings, each of which is read page by page and goes on where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from harvester.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from harvester.figshare.protocol import Figshare
    from harvester.models import Page


class Listing(Protocol):
    """
    One list of items, read from its beginning or from where it was left.

    ``key`` names it in the ledger: the same key, the same list. ``filtered_here``: the names of the given
    filters that its service does not take, so that all is listed and they are checked entry by entry.
    """

    @property
    def key(self) -> str: ...

    @property
    def client_side_filters(self) -> tuple[str, ...]: ...

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        """Return the page at `position` (None: the first), and where the next one begins."""
        ...

    def since(self, moment: str) -> Listing | None:
        """
        Return the same list narrowed to what was modified at or after a moment, such as 2026-01-02T03:04:05Z.

        None where its service cannot tell. Nothing of it says that an item is gone.
        """
        ...


@runtime_checkable
class Counted(Protocol):
    """A listing whose length figshare can tell apart from the list itself."""

    async def count(self, figshare: Figshare) -> int | None:
        """Ask how many items it has; None where figshare cannot tell, as with filters."""
        ...


@runtime_checkable
class Narrowed(Protocol):
    """A listing that may be narrowed to names that only figshare, or an institution, knows."""

    async def doubts(self, figshare: Figshare) -> list[str]:
        """Say which of the names nobody here knows: they are taken as they are."""
        ...


@runtime_checkable
class Finite(Protocol):
    """A listing that cannot be endless: how much it has is known before it is read."""

    @property
    def length(self) -> int: ...


async def doubts_of(listings: Sequence[Listing], figshare: Figshare) -> list[str]:
    """Say once, of all listings, which of the names that they are narrowed to nobody here knows."""
    told: dict[str, None] = {}
    for listing in listings:
        if isinstance(listing, Narrowed):
            try:
                told |= dict.fromkeys(await listing.doubts(figshare))
            except (PermanentError, TransientError):
                break  # figshare does not tell; whoever reads the listing will say so
    return list(told)


class Source(Protocol):
    """
    A table of the config that says where ids come from.

    ``private``: its items are the account's own, and their record is the fuller one. Such sources
    are listed first. ``owner``: whose private items they are: "account", "institution", "" for none.
    """

    kind: ClassVar[str]
    owner: ClassVar[str]

    @property
    def private(self) -> bool: ...

    @property
    def needs_token(self) -> bool: ...

    async def listings(self) -> Sequence[Listing]:
        """Return the lists that make up the source."""
        ...


MOST_REPEATED = 10_000
"""Entries that a listing may repeat, beyond each item twice, before it is taken for endless."""


def is_endless(listing: Listing, named: int, found: int) -> bool:
    """
    Tell whether a listing that named so many items, `found` of them different, is taken for endless.

    A list of names never is: what it repeats is counted, and its tail is read.
    """
    return not isinstance(listing, Finite) and named > 2 * found + MOST_REPEATED


OVERLAP = timedelta(days=1)
"""What was modified so shortly before the last run is asked for again: clocks differ, and indexes lag."""


def changed_since(listing: Listing, mark: str) -> Listing | None:
    """
    Narrow a listing to what was modified since `mark`, when all of it was here; see `Listing.since`.

    None where it has to be read whole: its service cannot tell, or "" says that nobody knows since when.
    """
    if not mark:
        return None
    moment = datetime.fromisoformat(mark) - OVERLAP
    return listing.since(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


__all__ = [
    "Counted",
    "Finite",
    "Listing",
    "Narrowed",
    "Source",
    "changed_since",
    "doubts_of",
    "goes_round",
]
