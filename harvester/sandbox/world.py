"""
The data of the sandbox: everything follows from the seed and an item's number, so a million cost nothing.

Public item number i has the id 5000001 + 3 i, private ones begin at 9000000001; the k-th file of an item has
the id item × 100 + k. Every fiftieth item has the same peculiarity (`TRAITS`), as records in the wild do.
Hostile items, where there are any, come behind the ordinary ones.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from harvester.sandbox import hostile
from harvester.sandbox.catalogue import (
    FILES_AN_ITEM,
    GROUPS,
    INSTITUTION,
    OWNERS_VIEW,
    PRIVATE_FROM,
    PUBLIC_FROM,
    STEP,
    TRAITS,
    Addresses,
)
from harvester.sandbox.files import files_of, pieces_of
from harvester.sandbox.item import Item
from harvester.sandbox.query import parse
from harvester.sandbox.records import Json, entry_of, record_of
from harvester.sandbox.settings import HOSTILE, Settings


class World:
    """
    The truth that a harvest is compared with. No I/O.

    ``hostile_items``: kind to item id, for the kinds that the settings name.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.at = Addresses()
        self.generation = 0
        kinds = [kind for kind in HOSTILE if kind in settings.hostile]
        self.hostile_items: Mapping[str, int] = {
            kind: PUBLIC_FROM + STEP * number for number, kind in enumerate(kinds, settings.items)
        }
        self._hostile = {item_id: kind for kind, item_id in self.hostile_items.items()}
        self._items = settings.items + len(kinds)
        self._versions: dict[int, int] = {}
        self._edits: dict[int, int] = {}
        self._withdrawn: set[int] = set()
        self._found: dict[Any, Sequence[int]] = {}

    # -- what there is ------------------------------------------------------------------------------

    @property
    def public_ids(self) -> Sequence[int]:
        """Ids of all public items, oldest first."""
        return self.select({})

    @property
    def account_ids(self) -> Sequence[int]:
        """Ids that the token's account lists: its private items, and the first twenty public ones."""
        own = range(PRIVATE_FROM, PRIVATE_FROM + STEP * self.settings.private_items, STEP)
        return [*own, *(item_id for item_id in self.public_ids[:20] if item_id not in self._hostile)]

    def group_items(self, group_id: int) -> Sequence[int]:
        return self.select({"group": group_id})

    def search(self, query: str) -> Sequence[int]:
        return self.select({"search_for": query})

    def with_trait(self, trait: str) -> list[int]:
        """Ids of the public items with this peculiarity."""
        return [item_id for item_id in self.public_ids if self.trait(item_id) == trait]

    def is_private(self, item_id: int) -> bool:
        return item_id >= PRIVATE_FROM

    def exists(self, item_id: int) -> bool:
        if self.is_private(item_id):
            number, rest = divmod(item_id - PRIVATE_FROM, STEP)
            return rest == 0 and number < self.settings.private_items
        number, rest = divmod(item_id - PUBLIC_FROM, STEP)
        return rest == 0 and 0 <= number < self._items and item_id not in self._withdrawn

    # -- changes between two runs -------------------------------------------------------------------

    def edit(self, item_id: int) -> None:
        """Publish a new version: another title, a newer date, its first file replaced."""
        self._versions[item_id] = self.version(item_id) + 1
        self.generation += 1
        self._edits[item_id] = self.generation

    def withdraw(self, item_id: int) -> None:
        """Unpublish an item."""
        self._withdrawn.add(item_id)
        self.generation += 1

    def publish(self, number: int) -> None:
        """Add new items, newer than all others."""
        self._items += number
        self.generation += 1

    # -- listings -----------------------------------------------------------------------------------

    def select(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the public items that match, oldest first; unknown criteria are ignored."""
        key = (self.generation, tuple(sorted((name, str(value)) for name, value in criteria.items())))
        if key not in self._found:
            if len(self._found) > 64:
                self._found.clear()
            self._found[key] = self._select(criteria)
        return self._found[key]

    def _select(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        ids: Sequence[int] = range(PUBLIC_FROM, PUBLIC_FROM + STEP * self._items, STEP)
        if (group := criteria.get("group")) is not None:
            places = [place for place, (number, *_) in enumerate(GROUPS) if number == int(group)]
            ids = ids[places[0] :: len(GROUPS)] if places else ids[:0]
        if criteria.get("institution") not in {None, INSTITUTION, str(INSTITUTION)}:
            ids = ids[:0]
        withdrawn, tests = self._withdrawn, _tests(criteria)
        if withdrawn:
            ids = array("q", (item_id for item_id in ids if item_id not in withdrawn))
        if not tests:
            return ids
        items = map(self.item, ids)
        return array("q", (item.id for item in items if all(test(item) for test in tests)))

    # -- one item -----------------------------------------------------------------------------------

    def item(self, item_id: int) -> Item:
        """The facts about an item."""
        return Item(
            item_id,
            self.number(item_id),
            trait=self.trait(item_id),
            hostile=self._hostile.get(item_id, ""),
            version=self.version(item_id),
            edited=self._edits.get(item_id, 0),
            is_private=self.is_private(item_id),
        )

    def number(self, item_id: int) -> int:
        begin = PRIVATE_FROM if self.is_private(item_id) else PUBLIC_FROM
        return (item_id - begin) // STEP

    def trait(self, item_id: int) -> str:
        number = self.number(item_id)
        trait = TRAITS.get(number % 50, "")
        is_light = trait == "heavy" and number // 50 >= self.settings.heavy
        return "" if is_light or self.is_private(item_id) or item_id in self._hostile else trait

    def version(self, item_id: int) -> int:
        return self._versions.get(item_id, 1)

    def title(self, item_id: int) -> str:
        return self.item(item_id).title

    def doi(self, item_id: int) -> str:
        return self.item(item_id).doi

    def published(self, item_id: int) -> str:
        return self.item(item_id).published

    def modified(self, item_id: int) -> str:
        return self.item(item_id).modified

    def is_withheld(self, item_id: int) -> bool:
        return self.item(item_id).is_withheld

    def attributes(self, item_id: int) -> dict[str, str]:
        """What a search looks at."""
        return self.item(item_id).attributes()

    def entry(self, item_id: int) -> Json:
        """An item as listings show it."""
        return entry_of(self.item(item_id), self.at)

    def record(self, item_id: int, *, private: bool = False, whole: bool = False) -> Json:
        """
        An item's record as the api sends it: at most ten files, all of them when `whole`.

        `private`: as the account's endpoint sends it, with more fields. A hostile record that no dict can
        hold is the ordinary one here.
        """
        item = self.item(item_id)
        files = self.files(item_id, private=private)
        record = record_of(item, files, self.at, private=private, whole=whole)
        return hostile.spoil_record(item.hostile, record)

    def totals(self, item_id: int) -> dict[str, int]:
        """The counters of an item; {} for one that the statistics have never seen."""
        return self.item(item_id).totals() if self.exists(item_id) else {}

    # -- files --------------------------------------------------------------------------------------

    def files(self, item_id: int, *, private: bool = False) -> list[Json]:
        """Every file of an item, as its file list shows it to the public or to its owner."""
        item = self.item(item_id)
        files = hostile.spoil_files(item.hostile, self._files(item), self.at)
        return [{**file, **OWNERS_VIEW} if private else file for file in files]

    def file(self, file_id: int) -> Json | None:
        """The file with this id as its list shows it, None where there is none (any more)."""
        item_id = file_id // FILES_AN_ITEM
        if not self.exists(item_id):
            return None
        return next((file for file in self.files(item_id) if file["id"] == file_id), None)

    def size(self, file_id: int) -> int:
        """The bytes that a file really has."""
        item_id = file_id // FILES_AN_ITEM
        if not self.exists(item_id):
            return 0
        return next((file["size"] for file in self._files(self.item(item_id)) if file["id"] == file_id), 0)

    def content(self, file_id: int) -> bytes:
        """The bytes of a file."""
        return b"".join(self.pieces(file_id, 0))

    def pieces(self, file_id: int, begin: int, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `begin` to `end`, None for all of them, a megabyte at a time."""
        return pieces_of(self.settings.seed, file_id, self.size(file_id), begin, end)

    def _files(self, item: Item) -> tuple[Json, ...]:
        return files_of(
            item, seed=self.settings.seed, heavy_size=self.settings.heavy_size, address=self.at.files
        )


def _tests(criteria: Mapping[str, Any]) -> list[Callable[[Item], bool]]:
    tests: list[Callable[[Item], bool]] = []
    if query := criteria.get("search_for"):
        matches = parse(str(query))
        tests.append(lambda item: matches(item.attributes()))
    if (kind := criteria.get("item_type")) is not None:
        number = int(kind)
        tests.append(lambda item: item.type[0] == number)
    if since := criteria.get("published_since"):
        tests.append(lambda item: item.published >= str(since))
    if changed := criteria.get("modified_since"):
        tests.append(lambda item: item.modified >= str(changed))
    if doi := criteria.get("doi"):
        tests.append(lambda item: item.doi == str(doi))
    return tests
