"""The request for one page of a listing: which endpoint, in which order, with which filters."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Any

from harvester.figshare.api_version import ListingEndpoint, Paging
from harvester.figshare.client_side_filters import Condition
from harvester.figshare.cursor import PageCursor
from harvester.figshare.entries import Entry
from harvester.figshare.protocol import ArticleListing


class PageRequest:
    """
    One page of a listing, as it is requested.

    `endpoint`: the requested one; past a cap it is the listing's `past_cap` endpoint.
    """

    def __init__(self, listing: ArticleListing, cursor: PageCursor) -> None:
        self.listing = listing
        self.cursor = cursor
        self.endpoint = _endpoint(listing, cursor.handovers)
        self._conditions: dict[frozenset[str], str] = {}

    @cached_property
    def criteria(self) -> dict[str, Any]:
        """The criteria that are not part of the path."""
        return {
            name: value
            for name, value in self.listing.criteria.items()
            if f"{{{name}}}" not in self.endpoint.path
        }

    @property
    def takes_query(self) -> bool:
        """Whether the endpoint supports a query, which can filter by more than its parameters."""
        return bool(self.endpoint.terms)

    @cached_property
    def ordering(self) -> tuple[str, str] | None:
        """The field and the direction of the order, None for the endpoint's own."""
        if not self.endpoint.orders:
            return None
        if self.cursor.tail:
            return self.endpoint.date, "desc"
        return (not self.cursor.by_date and self.listing.filters.ordering) or (self.endpoint.date, "asc")

    @cached_property
    def cut_by(self) -> str:
        """The date by which entries are ascending, "" if they are not."""
        field = self.endpoint.date
        return field if field and self.ordering == (field, "asc") else ""

    @property
    def since(self) -> str:
        """The filter that begins a slice."""
        return self.endpoint.date.replace("_date", "_since")

    @cached_property
    def filters(self) -> frozenset[str]:
        """The names of the filters that are sent."""
        names = self.listing.values(self.cursor.type_number).keys() & self.endpoint.params.keys()
        return frozenset(names | {"item_type"} if self.takes_query else names)

    def params(self, paging: Paging) -> dict[str, object]:
        """Return the parameters by their names at the endpoint."""
        cursor, names = self.cursor, self.endpoint.params
        values = dict(self.criteria)
        if (terms := self._terms()) and self.takes_query:
            query = values.get("query")
            values["query"] = " AND ".join([f"({query})", *terms] if query else terms)
        filters = self.listing.values(cursor.type_number)
        values |= {name: value for name, value in filters.items() if name in names}
        if cursor.since:
            values[self.since] = max(filters.get(self.since, ""), cursor.since)
        params: dict[str, object] = {names[name]: value for name, value in values.items()}
        if self.ordering:
            params[paging.order], params[paging.direction] = self.ordering
        params[paging.page_size] = cursor.page_size
        if not cursor.cursor:
            params[paging.page] = cursor.page
        elif paging.cursor_param:
            params[paging.cursor_param] = cursor.cursor
        return params

    def headers(self, paging: Paging) -> dict[str, str]:
        """Return the headers."""
        return {paging.cursor: self.cursor.cursor} if self.cursor.cursor and paging.cursor else {}

    def _terms(self) -> list[str]:
        """Return the filters that only a query supports: a licence, and a type without a number."""
        name = "" if self.cursor.type_number else self.listing.filters.type_name.replace('"', " ")
        values = {"licence": self.cursor.licence, "item_type": name}
        return [term.format(values[name]) for name, term in self.endpoint.terms.items() if values[name]]

    @cached_property
    def condition(self) -> Condition:
        """The condition on records; `PageCursor` has the values that were looked up at figshare."""
        filters, cursor = self.listing.filters, self.cursor
        return Condition(
            group=self.criteria.get("group", 0),
            project=self.criteria.get("project", 0),
            item_type=filters.type_number or cursor.type_number,
            type_name="" if cursor.type_number else filters.type_name,
            published_since=_iso(filters.published_since),
            published_before=_iso(filters.published_before),
            modified_since=_iso(filters.modified_since),
            licence=cursor.licence,
        )

    def condition_of(self, entry: Entry | None) -> str:
        """Return the condition on the record of an entry, as JSON: the fields that the entry lacks."""
        if self.condition == Condition():
            return ""
        absent = frozenset(Condition.__struct_fields__) if entry is None else self._absent(entry)
        if absent not in self._conditions:
            self._conditions[absent] = self.condition.only(absent).write()
        return self._conditions[absent]

    def _absent(self, entry: Entry) -> frozenset[str]:
        """Return the fields of a condition that an entry lacks; no entry has a licence."""
        absent = {"licence", *self.listing.filters.absent(entry, self.cursor.type_number)}
        if not entry.group_id:  # 0 is no group
            absent.add("group")
        if entry.project_id is None:
            absent.add("project")
        return frozenset(absent)

    def __str__(self) -> str:
        """Return the name of the listing for messages about its entries."""
        if not self.listing.criteria:
            return self.endpoint.what
        return ", ".join(f"{name} {value}" for name, value in self.listing.criteria.items())


def _endpoint(listing: ArticleListing, handovers: int) -> ListingEndpoint:
    endpoint = listing.endpoint
    for _ in range(handovers):
        endpoint = endpoint.past_cap or endpoint
    return endpoint


def _iso(day: date | None) -> str:
    return day.isoformat() if day is not None else ""
