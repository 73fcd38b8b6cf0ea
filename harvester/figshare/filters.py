"""Listing filters: which items are wanted, and in which order they are listed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from harvester.config.tables import Table
from harvester.text.wording import unknown

if TYPE_CHECKING:
    from harvester.figshare.entries import Entry

ITEM_TYPES = {
    "figure": 1, "media": 2, "dataset": 3, "poster": 5, "journal contribution": 6,
    "presentation": 7, "thesis": 8, "software": 9, "online resource": 11, "preprint": 12,
    "book": 13, "conference contribution": 14, "chapter": 15, "peer review": 16,
    "educational resource": 17, "report": 18, "standard": 19, "composition": 20, "funding": 21,
    "physical object": 22, "data management plan": 23, "workflow": 24, "monograph": 25,
    "performance": 26, "event": 27, "service": 28, "model": 29,
}  # fmt: skip
ORDERS = ("published_date", "created_date", "modified_date", "views", "downloads", "shares", "cites")
DESCENDING = " desc"
TO_THE_SECOND = 19
"""Characters of a date up to the second; a zone or fractions may follow."""
_DAY = 10
DATES = frozenset({"published_since", "modified_since"})
"""The filters that are dates."""


class Filters(Table):
    """
    The filters of a listing: fields that several kinds of source share.

    A filter is sent if the endpoint supports it (see `v2.py`), and always checked here: figshare ignores
    filters that it does not know, and some listings support none. If an entry lacks a field, the item is
    kept and its record decides, see `client_side_filters.py`.

    ``item_type``: a number or a name, also one that only an institution knows.
    ``published_before``: the first day that is too late; no endpoint supports it.
    ``licence``: a name; entries do not contain it.
    ``order``: one of `ORDERS`, with " desc" in reverse; None for the endpoint's own.
    """

    item_type: int | str | None = None
    published_since: date | None = None
    published_before: date | None = None
    modified_since: date | None = None
    licence: str | None = None
    order: str | None = None

    def faults(self) -> Iterator[str]:
        if isinstance(self.item_type, str) and not self.item_type.strip():
            yield "item_type: empty"
        if isinstance(self.item_type, int) and self.item_type < 1:
            yield f"item_type: expected the number of a type, such as 3, got {self.item_type}"
        if self.published_since and self.published_before and self.published_since >= self.published_before:
            yield f"published_before: no day lies between {self.published_since} and {self.published_before}"
        if self.licence is not None and not self.licence.strip():
            yield "licence: empty"
        if self.ordering is not None and self.ordering[0] not in ORDERS:
            yield f'order: {unknown(str(self.order), ORDERS)}, each also with "{DESCENDING}" behind it'

    @property
    def type_number(self) -> int | None:
        """The number of the wanted type, None if no type is wanted or only figshare knows the number."""
        if isinstance(self.item_type, str):
            name = self.item_type.strip().lower()
            return int(name) if name.isdecimal() else ITEM_TYPES.get(name)
        return self.item_type

    @property
    def type_name(self) -> str:
        """The name of a wanted type whose number only figshare knows, "" for any other."""
        return str(self.item_type).strip() if self.item_type is not None and self.type_number is None else ""

    @property
    def ordering(self) -> tuple[str, str] | None:
        """The field and the direction of the order that the user wants, None for the endpoint's own."""
        if self.order is None:
            return None
        return self.order.removesuffix(DESCENDING), "desc" if self.order.endswith(DESCENDING) else "asc"

    def values(self) -> dict[str, Any]:
        """Return the filters that endpoints support, in their form."""
        return _given(
            item_type=self.type_number,
            published_since=self.published_since,
            modified_since=self.modified_since,
        )

    def given(self) -> dict[str, Any]:
        """Return all given filters for the key of a listing; those of `values` come first."""
        more = _given(
            item_type=self.type_number or self.type_name or None,
            published_before=self.published_before,
            licence=self.licence,
            order=self.order,
        )
        return {**self.values(), **more}

    @property
    def narrows(self) -> bool:
        """Whether any item is excluded."""
        return bool(self.given().keys() - {"order"})

    def mismatch(self, entry: Entry, type_number: int = 0) -> str:
        """
        Return the field by which a listed item is excluded, "" for none.

        `type_number`: of the wanted type, if this program does not know it.
        """
        if self._has_another_type(entry, self.type_number or type_number):
            return "item_type"
        if _is_earlier(entry.published_date, self.published_since):
            return "published_since"
        if _is_late(entry.published_date, self.published_before):
            return "published_before"
        return "modified_since" if _is_earlier(entry.modified_date, self.modified_since) else ""

    def _has_another_type(self, entry: Entry, number: int) -> bool:
        if number:
            return bool(entry.defined_type) and entry.defined_type != number
        name = (entry.defined_type_name or "").strip().casefold()
        return bool(name and self.type_name) and name != self.type_name.casefold()

    def absent(self, entry: Entry, type_number: int = 0) -> Iterator[str]:
        """Yield the fields of a `Condition` that an entry does not have."""
        is_by_number = self.type_number or type_number
        if not (entry.defined_type if is_by_number else entry.defined_type_name):
            yield from ("item_type", "type_name")
        if not entry.published_date:
            yield from ("published_since", "published_before")
        if not entry.modified_date:
            yield "modified_since"


def is_before(moment: str | None, day: str) -> bool:
    """Return whether a moment, as figshare writes it, is before a day; False for an absent one."""
    return bool(moment) and str(moment) < day


def moment_of(text: str) -> datetime | None:
    """Parse a date of figshare or of the user; None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.year > 1 else None  # a second before it there must be one


def a_second_before(text: str) -> str:
    """Return the moment one second before a moment or a day; "" if `text` is neither."""
    moment = moment_of(text)
    return "" if moment is None else f"{(moment - timedelta(seconds=1)).isoformat()[:TO_THE_SECOND]}Z"


def is_same_day_or_later(moment: str | None, other: str) -> bool:
    """Return whether a moment is on the day of another one, or later."""
    return bool(moment) and str(moment)[:_DAY] >= other[:_DAY]


def _is_late(moment: str | None, wanted: date | None) -> bool:
    """Return whether a moment is known, and on the wanted day or after it."""
    return wanted is not None and bool(moment) and not is_before(moment, wanted.isoformat())


def _is_earlier(moment: str | None, wanted: date | None) -> bool:
    """Return whether a moment is known, and before the wanted day."""
    return wanted is not None and bool(moment) and str(moment) < wanted.isoformat()


def _given(**values: object) -> dict[str, Any]:
    return {
        key: str(value) if isinstance(value, date) else value
        for key, value in values.items()
        if value is not None
    }
