"""The request for one page of a listing: which endpoint is asked, in which order, with which filters."""

from __future__ import annotations

from harvester.figshare.cursor import PageCursor
from harvester.figshare.listings import ArticleListing, ListingEndpoint


def endpoint_of(listed: ArticleListing, at: PageCursor) -> ListingEndpoint:
    feed = listed.feed
    for _ in range(at.feeds):
        feed = feed.past_cap or feed
    return feed


def ordering_of(listed: ArticleListing, at: PageCursor, feed: ListingEndpoint) -> tuple[str, str] | None:
    """Return the field and the direction by which a feed is to come, None where it has its own order."""
    if not feed.orders:
        return None
    if at.tail:
        return feed.date, "desc"
    return (not at.by_date and listed.selection.ordering) or (feed.date, "asc")


def cut_by(listed: ArticleListing, at: PageCursor, feed: ListingEndpoint) -> str:
    """Return the date by which a feed comes ascending, "" where it does not."""
    return feed.date if feed.date and ordering_of(listed, at, feed) == (feed.date, "asc") else ""


def fields_of(listed: ArticleListing, at: PageCursor, feed: ListingEndpoint) -> dict[str, object]:
    """Return the parameters of a page."""
    fields: dict[str, object] = listed.own_criteria(feed)
    if (terms := terms_of(listed, at)) and feed.is_search:
        query = fields.get("search_for")
        fields["search_for"] = " AND ".join([f"({query})", *terms] if query else terms)
    filters = {name: text for name, text in listed.filters(at.type_number).items() if name in feed.takes}
    if at.since:
        name = feed.date.replace("_date", "_since")
        filters[name] = max(filters.get(name, ""), at.since)
    fields |= filters
    if ordering := ordering_of(listed, at, feed):
        fields["order"], fields["order_direction"] = ordering
    fields["page_size"] = at.page_size
    if not at.cursor:
        fields["page"] = at.page
    return fields


def terms_of(listed: ArticleListing, at: PageCursor) -> list[str]:
    """Return what of a selection only a search's query can say: a licence, and a type that has no number."""
    name = "" if at.type_number else listed.selection.type_name.replace('"', " ")
    terms = {"licence": at.licence, "item_type": name}
    return [f':{field}: "{value}"' for field, value in terms.items() if value]


def sent_filters(listed: ArticleListing, at: PageCursor, feed: ListingEndpoint) -> frozenset[str]:
    """Name the filters that a page was asked for with."""
    sent = listed.filters(at.type_number).keys() & feed.takes
    return frozenset(sent | {"item_type"} if feed.is_search else sent)
