"""
The endpoints that list items: what each takes, by which date it can be cut, what is asked past its cap.

A listing (`ArticleListing`) is a feed with what is asked of it; `lister.py` reads it page by page.

Source: API reference, Articles, Collections, Projects, Institutions: the parameters of each endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from harvester.config.tables import Table
from harvester.figshare.filters import ORDERS, Filters, a_second_before, is_of_the_day

if TYPE_CHECKING:
    from harvester.figshare.client_side_filters import Condition
    from harvester.figshare.entries import Entry
    from harvester.figshare.protocol import Figshare
    from harvester.models import Page

FILTERS = ("item_type", "published_since", "modified_since")
"""What of a selection is a parameter, where an endpoint takes it."""
DATES = frozenset({"published_since", "modified_since"})


class ListingEndpoint(NamedTuple):
    """
    An endpoint that lists items.

    ``path``: with the names of criteria in it. ``what``: whose items they are, for people. ``is_search``: it
    is a POST, and takes a query. ``takes``: the filters it knows. ``orders``: by what it can be ordered.
    ``date``: by which it comes ascending unless another order is wanted, so that it can be cut into slices,
    "" for none. ``is_private``: it is asked with the token, and its items are the account's.
    ``for_administrators``: not every token may ask. ``past_cap``: the feed that goes on where pages end.
    """

    path: str
    what: str
    is_search: bool = False
    takes: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    date: str = ""
    is_private: bool = False
    for_administrators: bool = False
    past_cap: ListingEndpoint | None = None


PUBLIC_SEARCH = ListingEndpoint(
    "articles/search",
    "a search",
    is_search=True,
    takes=FILTERS,
    orders=ORDERS,
    date="published_date",
)
COLLECTION = ListingEndpoint("collections/{collection_id}/articles", "a collection")
PROJECT = ListingEndpoint("projects/{project_id}/articles", "a project", past_cap=PUBLIC_SEARCH)
ACCOUNT_SEARCH = ListingEndpoint(
    "account/articles/search",
    "a search in the account",
    is_search=True,
    takes=FILTERS,
    orders=ORDERS,
    date="modified_date",
    is_private=True,
)
ACCOUNT = ListingEndpoint("account/articles", "an account", is_private=True, past_cap=ACCOUNT_SEARCH)
OWN_INSTITUTION = ListingEndpoint(
    "account/institution/articles",
    "the token's institution",
    takes=FILTERS,
    orders=("published_date", "modified_date"),
    date="modified_date",
    is_private=True,
    for_administrators=True,
)


class ArticleListing(Table):
    """
    A listing: a feed, what of it is wanted, and the key that it has in the ledger.

    ``criteria``: the parameters that say what the listing is, such as ``{"group": 11962}``. ``moment``: ISO
    8601, what was modified before is not wanted, "" where that does not matter.
    """

    key: str
    feed: ListingEndpoint
    criteria: Mapping[str, Any]
    selection: Filters
    moment: str = ""

    async def doubts(self, figshare: Figshare) -> list[str]:
        """Say what of the names that are selected by figshare does not know."""
        return await figshare.doubts(self)

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        """Return the page at `position` (None: the first), and where the next one begins."""
        return await figshare.page(self, position)

    def since(self, moment: str) -> ArticleListing | None:
        """Return the listing of what was modified at or after a moment, None where no service can tell."""
        feed = PUBLIC_SEARCH if self.feed is PROJECT else self.feed
        if "modified_since" not in feed.takes:
            return None
        key = f"{self.key} since {moment}"
        return ArticleListing(
            key=key, feed=feed, criteria=self.criteria, selection=self.selection, moment=moment
        )

    @property
    def client_side_filters(self) -> tuple[str, ...]:
        """The given filters that the service does not take: all is listed, and these are checked here."""
        known = {*self.feed.takes, "order"} | ({"licence"} if self.feed.is_search else set())
        return tuple(name for name in self.selection.told() if name not in known)

    @property
    def narrows(self) -> bool:
        """Whether entries are to be checked at all."""
        return self.selection.narrows or bool(self.moment)

    def filters(self, type_number: int = 0) -> dict[str, Any]:
        """
        Return the filters, as a service takes them; `type_number`: of a type that this program does not know.

        Dates begin a second before the wanted ones: "since" may mean at that moment or after it.
        """
        filters = self.selection.criteria() | ({"item_type": type_number} if type_number else {})
        if self.moment:
            filters["modified_since"] = max(filters.get("modified_since", ""), self.moment)
        for name in DATES & filters.keys():
            filters[name] = a_second_before(filters[name]) or filters[name]
        return filters

    def mismatch(self, entry: Entry, type_number: int = 0) -> str:
        """Name the field for which a listed item is not one of those wanted, "" for one that may be."""
        if self.moment and (entry.modified_date or self.moment) < self.moment:
            return "modified_since"
        return self.selection.mismatch(entry, type_number)

    def condition(self, feed: ListingEndpoint, licence: str, type_number: int) -> Condition:
        """Return all that a record must meet; see `Position` for what only figshare can tell."""
        own, selection = self.own_criteria(feed), self.selection
        from harvester.figshare.client_side_filters import Condition  # noqa: PLC0415 - where a listing is read

        return Condition(
            group=own.get("group", 0),
            project=own.get("project_id", 0),
            item_type=selection.type_number or type_number,
            type_name="" if type_number else selection.type_name,
            published_since=_written(selection.published_since),
            published_before=_written(selection.published_before),
            modified_since=_written(selection.modified_since),
            licence=licence,
        )

    def own_criteria(self, feed: ListingEndpoint) -> dict[str, Any]:
        """Return the criteria that do not stand in the path of the feed that is read."""
        return {name: value for name, value in self.criteria.items() if f"{{{name}}}" not in feed.path}

    def is_at_the_edge(self, entry: Entry, field: str) -> bool:
        """Tell whether an entry that `field` leaves out may have come for the second before, or its day."""
        if field not in DATES:
            return False
        date = getattr(entry, f"{field.removesuffix('_since')}_date")
        return is_of_the_day(date, self.filters().get(field, ""))


def _written(day: date | None) -> str:
    return day.isoformat() if day is not None else ""


def article_listing(
    key: str, feed: ListingEndpoint, criteria: Mapping[str, Any], selection: Filters
) -> ArticleListing:
    """Return the listing of a feed; where a licence is wanted, of the search that takes its place."""
    return ArticleListing(key=key, feed=_used(feed, selection), criteria=criteria, selection=selection)


def unsuited(feed: ListingEndpoint, selection: Filters) -> Iterator[str]:
    """Tell, as `Table.faults` does, what of a selection a feed cannot give."""
    used = _used(feed, selection)
    order = selection.ordering[0] if selection.ordering else ""
    if order not in ORDERS or order in used.orders:  # an unknown one is told of as that
        return
    known = ", ".join(used.orders)
    if known:
        yield f"order: figshare lists {feed.what} by {known} only"
    else:
        yield f"order: figshare lists {feed.what} in an order of its own; leave it out"


def _used(feed: ListingEndpoint, selection: Filters) -> ListingEndpoint:
    """Only searches know licences."""
    if selection.licence is not None and not feed.is_search and feed.past_cap is not None:
        return feed.past_cap
    return feed
