"""
Group commit: collects the results of a run into batches that are written together.

Results about different items and files are written as one batch. A later result about the same item or file
is in a later batch, so that the last result wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from harvester.ledger.messages import FileResult, ItemResult, ListingFailure
from harvester.models import ItemKey

Entry: TypeAlias = ItemResult | FileResult | ListingFailure


class WriteBatch:
    """Entries that can be written in any order, except that files are written after items."""

    def __init__(self) -> None:
        self.items: dict[ItemKey, ItemResult] = {}
        self.files: dict[tuple[ItemKey, int], FileResult] = {}
        self.listing_failures: list[ListingFailure] = []
        self._items_of_files: set[ItemKey] = set()

    def try_add(self, entry: Entry) -> bool:
        """Add an entry; return False if it must wait until this batch is written."""
        if isinstance(entry, ListingFailure):
            self.listing_failures.append(entry)
            return True
        if isinstance(entry, ItemResult):
            if entry.item_key in self.items or entry.item_key in self._items_of_files:
                return False
            self.items[entry.item_key] = entry
            return True
        if (key := (entry.item_key, entry.file_id)) in self.files:
            return False
        self.files[key] = entry
        self._items_of_files.add(entry.item_key)
        return True


def split(entries: Iterable[Entry]) -> Iterator[WriteBatch]:
    """Split entries into as few batches as their order allows."""
    step = WriteBatch()
    for entry in entries:
        if not step.try_add(entry):
            yield step
            step = WriteBatch()
            step.try_add(entry)
    yield step
