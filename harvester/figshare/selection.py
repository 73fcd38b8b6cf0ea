"""What a listing is narrowed to."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from harvester.config.tables import Table

if TYPE_CHECKING:
    from harvester.figshare.records import Entry

ITEM_TYPES = {
    "figure": 1, "media": 2, "dataset": 3, "poster": 5, "journal contribution": 6,
    "presentation": 7, "thesis": 8, "software": 9, "online resource": 11, "preprint": 12,
    "book": 13, "conference contribution": 14, "chapter": 15, "peer review": 16,
    "educational resource": 17, "report": 18, "standard": 19, "composition": 20, "funding": 21,
    "physical object": 22, "data management plan": 23, "workflow": 24, "monograph": 25,
    "performance": 26, "event": 27, "service": 28, "model": 29,
}  # fmt: skip


class Selection(Table):
    """
    What a listing is narrowed to; the fields that such sources share.

    It is asked of the service where the service takes it, and checked here in any case: figshare
    ignores a filter that it does not know, and an account's listing takes none.
    """

    item_type: int | str | None = None
    published_since: date | None = None
    modified_since: date | None = None

    def __post_init__(self) -> None:
        if isinstance(self.item_type, str) and self.item_type.lower() not in ITEM_TYPES:
            raise ValueError(f"item_type: unknown {self.item_type!r}; known: {', '.join(ITEM_TYPES)}")
        if isinstance(self.item_type, int) and self.item_type not in ITEM_TYPES.values():
            raise ValueError(f"item_type: figshare has no type {self.item_type}")

    @property
    def type_number(self) -> int | None:
        """The number that figshare gives the wanted type."""
        if isinstance(self.item_type, str):
            return ITEM_TYPES[self.item_type.lower()]
        return self.item_type

    def criteria(self) -> dict[str, Any]:
        """Return the fields as figshare's search and listings take them."""
        return {
            key: str(value) if isinstance(value, date) else value
            for key, value in (
                ("item_type", self.type_number),
                ("published_since", self.published_since),
                ("modified_since", self.modified_since),
            )
            if value is not None
        }

    def mismatch(self, entry: Entry) -> str:
        """Name the field for which a listed item is not one of those wanted, "" for one that is."""
        if self.type_number is not None and entry.defined_type not in {None, self.type_number}:
            return "item_type"
        if not _since(entry.published_date, self.published_since):
            return "published_since"
        return "" if _since(entry.modified_date, self.modified_since) else "modified_since"


def _since(day: str | None, wanted: date | None) -> bool:
    return wanted is None or (bool(day) and str(day) >= wanted.isoformat())
