"""
Sources: which items are harvested. A new kind of source is a new module here and a line in `plugins.py`.

A source is a frozen `Table` whose fields are the keys of its ``[[sources]]`` table. It consists of listings,
each of which is read page by page and can be resumed after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from harvester.figshare.filters import ORDERS, Filters
from harvester.figshare.protocol import ArticleListing, Listing, endpoint_for

if TYPE_CHECKING:
    from harvester.figshare.api_version import ListingEndpoints


class Source(Protocol):
    """
    A table of the config that selects items.

    ``kind``: its name in the config.
    ``private``: its items are the account's own, and their records have more fields. It is listed first.
    ``owner``: the owner of its private items: "account", "institution", "" for none.
    """

    kind: ClassVar[str]
    owner: ClassVar[str]

    @property
    def private(self) -> bool: ...

    @property
    def needs_token(self) -> bool: ...

    async def listings(self, endpoints: ListingEndpoints) -> Sequence[Listing]:
        """Return the listings of the source."""
        ...


class ArticleSource(Filters):
    """
    A source that reads one listing endpoint, with the filters that such sources share.

    A subclass defines its `kind`, its `endpoint` and its `criteria`.
    """

    kind: ClassVar[str]
    owner: ClassVar[str] = ""

    @property
    def private(self) -> bool:
        return False

    @property
    def needs_token(self) -> bool:
        return self.private

    @property
    def endpoint(self) -> str:
        """The listing endpoint, a field of `ListingEndpoints`."""
        return "search"

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each listing of the source: its name in the ledger, and its criteria."""
        raise NotImplementedError

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.ordering is not None and self.ordering[0] in ORDERS:
            # Late import: it loads the HTTP client, which a config without an order does not need.
            from harvester.figshare.v2 import V2  # noqa: PLC0415

            yield from self._order_faults(V2.endpoints, self.ordering[0])

    def _order_faults(self, endpoints: ListingEndpoints, order: str) -> Iterator[str]:
        endpoint = endpoint_for(getattr(endpoints, self.endpoint), self)
        if not endpoint.orders:
            yield f"order: figshare lists {endpoint.what} in an order of its own; leave it out"
        elif order not in endpoint.orders:
            yield f"order: figshare lists {endpoint.what} by {', '.join(endpoint.orders)} only"

    def article_listings(self, endpoints: ListingEndpoints) -> list[ArticleListing]:
        """Return one listing for each of its criteria."""
        endpoint = getattr(endpoints, self.endpoint)
        return [
            ArticleListing.of(f"{name} {self.given()}", endpoint, criteria, self)
            for name, criteria in self.criteria()
        ]

    async def listings(self, endpoints: ListingEndpoints) -> Sequence[Listing]:
        return self.article_listings(endpoints)


def queries_of(query: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the queries of a source that takes one or several."""
    return (query,) if isinstance(query, str) else query or ()


def query_faults(query: str | tuple[str, ...]) -> Iterator[str]:
    """Yield a fault for an empty query."""
    if not all(each.strip() for each in queries_of(query) or [""]):
        yield "query: empty"
