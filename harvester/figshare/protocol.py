"""
API protocol: the interface to figshare that the other packages use, for any version of its API.

The version is data: `api_version.py` has its type, and `v2.py` is the one in use. No module outside this
package contains a path of the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from harvester.config.tables import Table
from harvester.figshare.filters import DATES, Filters, a_second_before, is_same_day_or_later
from harvester.figshare.listing_names import listing_name

if TYPE_CHECKING:
    from harvester.figshare.api_version import ListingEndpoint, ListingEndpoints
    from harvester.figshare.entries import Entry
    from harvester.figshare.identifiers import ItemIdentifier
    from harvester.models import ItemId, ItemRef, Page, Record


class Listing(Protocol):
    """
    One list of items, read page by page, from the beginning or from a cursor.

    A class that is a listing derives from this one and implements `key` and `page`; the rest has defaults.
    """

    @property
    def key(self) -> str:
        """Its name in the ledger; listings with the same key are the same list."""
        ...

    @property
    def display_name(self) -> str:
        """Its name for people."""
        return listing_name(self.key)

    async def page(self, figshare: Figshare, cursor: str | None) -> Page:
        """Return the page at `cursor` (None: the first), with the cursor of the next one."""
        ...

    @property
    def client_side_filters(self) -> tuple[str, ...]:
        """The names of the filters that its endpoint does not support: each entry is checked here."""
        return ()

    @property
    def what_selects(self) -> str:
        """What the user checks if it has no items, such as "the query"."""
        return "the id"

    @property
    def length(self) -> int | None:
        """The number of entries if it is known in advance; such a list cannot be endless."""
        return None

    def since(self, moment: str) -> Listing | None:
        """
        Return the same list restricted to items that were modified at or after a moment (ISO 8601).

        None if the service cannot filter so. Such a list never shows that an item was withdrawn.
        """
        return None

    async def unknown_values(self, figshare: Figshare) -> list[str]:
        """Return a warning for each filter value that neither figshare nor this program knows."""
        return []

    async def count(self, figshare: Figshare) -> int | None:
        """Return the number of items, None if figshare cannot count them, for example with filters."""
        return None


class Finder(Protocol):
    """Resolves DOIs, handles and addresses to items. All calls raise what `Client.retry` raises."""

    def trusts(self, identifier: ItemIdentifier) -> bool:
        """Return whether the host of an address is figshare's, the API's own, or a known portal."""
        ...

    def note_doi(self, item_id: ItemId) -> None:
        """Remember that the user named an item by a DOI that ends in this number."""
        ...

    async def with_doi_of(self, item_id: ItemId, version: int) -> tuple[int, ...]:
        """
        Return the items whose DOI ends in the number of another one.

        () if the user named it differently.
        """
        ...

    async def mismatch(self, identifier: ItemIdentifier) -> str:
        """Return why an address of another host does not belong to this item, "" if it does."""
        ...

    async def by_doi(self, doi: str) -> tuple[ItemIdentifier, ...]:
        """Return the items with this DOI, with or without its version."""
        ...

    async def by_handle(self, handle: str) -> tuple[ItemIdentifier, ...]:
        """Return the items with this handle."""
        ...


class Figshare(Protocol):
    """figshare's services as calls that return models. All calls raise what `Client.retry` raises."""

    @property
    def finder(self) -> Finder:
        """Resolves the names of items."""
        ...

    @property
    def endpoints(self) -> ListingEndpoints:
        """The listing endpoints of the API version in use."""
        ...

    async def page(self, listing: ArticleListing, cursor: str | None) -> Page:
        """
        Return one page of a listing.

        `cursor`: None for the first, else `Page.cursor` of the page before.
        """
        ...

    async def unknown_values(self, listing: ArticleListing) -> list[str]:
        """Return a warning for each filter value that neither figshare nor this program knows."""
        ...

    async def count(self, group_ids: Sequence[int]) -> int:
        """Return the number of public items in some groups together."""
        ...

    async def group_tree(self, group_id: int) -> list[int]:
        """Return a group and all groups below it."""
        ...

    async def record(
        self, item_id: ItemId, *, private: bool, version: int = 0, if_none_match: str = ""
    ) -> Record:
        """Return the full record of an item or of a version; raise NotModified if it still has the ETag."""
        ...

    async def versions(self, item_id: ItemId) -> tuple[int, ...] | None:
        """Return the versions of a public item, oldest first; None if there is no such item."""
        ...

    async def account(self) -> dict[str, int]:
        """Return the ids of the token's ``account`` and ``institution``."""
        ...

    async def confirm_token(self) -> None:
        """Check the token again if its last answer was a refusal."""
        ...

    async def serves(self, known: Sequence[ItemRef]) -> bool:
        """Return whether the API answers requests for items that certainly exist."""
        ...


class ArticleListing(Table, Listing):
    """
    The listing of one endpoint.

    ``name``: names it in the ledger.
    ``criteria``: whose items it lists, such as ``{"group": 11962}``.
    ``filters``: which of its items are wanted.
    ``moment``: ISO 8601; items modified before are excluded. "" for no such limit.
    """

    name: str
    endpoint: ListingEndpoint
    criteria: Mapping[str, Any]
    filters: Filters
    moment: str = ""

    @classmethod
    def of(
        cls, name: str, endpoint: ListingEndpoint, criteria: Mapping[str, Any], filters: Filters
    ) -> ArticleListing:
        """
        Return the listing of an endpoint, or of its `past_cap` endpoint if only that
        supports the filters.
        """
        return cls(name=name, endpoint=endpoint_for(endpoint, filters), criteria=criteria, filters=filters)

    @property
    def key(self) -> str:
        return f"{self.name} since {self.moment}" if self.moment else self.name

    async def page(self, figshare: Figshare, cursor: str | None) -> Page:
        return await figshare.page(self, cursor)

    async def unknown_values(self, figshare: Figshare) -> list[str]:
        return await figshare.unknown_values(self)

    def since(self, moment: str) -> ArticleListing | None:
        endpoint = self.endpoint.changes or self.endpoint
        if "modified_since" not in endpoint.params:
            return None
        return ArticleListing(**{**vars(self), "endpoint": endpoint, "moment": moment})

    @property
    def client_side_filters(self) -> tuple[str, ...]:
        known = {*self.endpoint.params, *self.endpoint.terms, "order"}
        return tuple(name for name in self.filters.given() if name not in known)

    @property
    def what_selects(self) -> str:
        first = "the query" if "query" in self.criteria else "the id" if self.criteria else "the account"
        return f"{first} and the filters" if self.filters.given() else first

    @property
    def narrows(self) -> bool:
        """Whether entries have to be checked at all."""
        return self.filters.narrows or bool(self.moment)

    def values(self, type_number: int = 0) -> dict[str, Any]:
        """
        Return the filters as parameter values; `type_number`: of a type that only figshare knows.

        Dates are a second earlier than wanted, as "since" may include that moment or not.
        """
        values = self.filters.values() | ({"item_type": type_number} if type_number else {})
        if self.moment:
            values["modified_since"] = max(values.get("modified_since", ""), self.moment)
        for name in DATES & values.keys():
            values[name] = a_second_before(values[name]) or values[name]
        return values

    def mismatch(self, entry: Entry, type_number: int = 0) -> str:
        """Return the name of the filter that excludes an entry, "" if none does."""
        if self.moment and (entry.modified_date or self.moment) < self.moment:
            return "modified_since"
        return self.filters.mismatch(entry, type_number)

    def is_at_the_edge(self, entry: Entry, name: str) -> bool:
        """
        Return whether an excluded entry was listed only because dates are sent a
        second early, or as a day.
        """
        if name not in DATES:
            return False
        date = getattr(entry, f"{name.removesuffix('_since')}_date")
        return is_same_day_or_later(date, self.values().get(name, ""))


def endpoint_for(endpoint: ListingEndpoint, filters: Filters) -> ListingEndpoint:
    """Return the endpoint to list from: only searches know licences."""
    if filters.licence is not None and "licence" not in endpoint.terms and endpoint.past_cap is not None:
        return endpoint.past_cap
    return endpoint
