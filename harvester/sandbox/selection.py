"""Selection: which items a listing has, by arithmetic on their numbers where possible, then one by one."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from harvester.sandbox.catalogue import GROUPS, INSTITUTION, PROJECTS, PUBLIC_FROM, STEP
from harvester.sandbox.dates import MOST_DELAY, first_since, is_since, read
from harvester.sandbox.item import ORDERS, Item
from harvester.sandbox.items import Items
from harvester.sandbox.query import parse

Test = Callable[[Item], bool]
_KEPT = 16
"""Selections in the cache: one of a million items takes megabytes."""
_BY_ID = ("published_date", "created_date")
"""Orders that the ids of public items follow."""


class Selection:
    """
    Selects items of a world, and caches the result, as pages are requested one by one.

    Ids are in ascending order of the criterion ``order``, one of `ORDERS`, or of ``published_date``. Unknown
    criteria are ignored. Unpublished items come before published ones.
    """

    def __init__(self, items: Items) -> None:
        self._items = items
        self._strict = items.settings.strict_since
        self._found: dict[Any, Sequence[int]] = {}

    def public(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the public items that match."""

        def choose() -> Sequence[int]:
            return self._ordered(criteria, self._public(criteria), *_BY_ID)

        return self._once("public", criteria, choose)

    def every(self, begin: int, step: int) -> Sequence[int]:
        """Ids of every `step`-th public item, from number `begin` on, oldest first."""
        return self._once("every", {"begin": begin, "step": step}, lambda: self._every(begin, step))

    def institution(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the matching items of the institution, public or not."""
        unpublished = [*self._items.private_ids, *self._items.colleague_ids]

        def choose() -> Sequence[int]:
            ids = array("q", [*self._matching(criteria, unpublished), *self._public(criteria)])
            return self._ordered(criteria, ids, "published_date")

        return self._once("institution", criteria, choose)

    def account(self, criteria: Mapping[str, Any], ids: Sequence[int]) -> Sequence[int]:
        """Ids of the matching items of an account."""
        return self._ordered(criteria, self._matching(criteria, ids), "published_date")

    def _once(
        self, kind: str, criteria: Mapping[str, Any], choose: Callable[[], Sequence[int]]
    ) -> Sequence[int]:
        wanted = tuple(sorted((name, str(value)) for name, value in criteria.items()))
        key = (self._items.generation, kind, wanted)
        if key not in self._found:
            if len(self._found) >= _KEPT:
                del self._found[next(iter(self._found))]
            self._found[key] = choose()
        return self._found[key]

    # -- by arithmetic ------------------------------------------------------------------------------

    def _public(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        ids: Sequence[int] = self._items.published_ids
        left = dict(criteria)
        if left.get("institution") in {INSTITUTION, str(INSTITUTION)}:
            del left["institution"]  # all items belong to it
        if not self._items.settings.identifiers and (item_id := _only(left)) is not None:
            return self._matching(criteria, [item_id] if self._items.exists(item_id) else [])
        for name, classes in (("group", _GROUPS), ("project_id", PROJECTS)):
            if left.get(name) is not None:
                begin, step = classes.get(int(left.pop(name)), (len(ids), 1))
                ids = ids[begin::step]
                break  # the remaining items are tested one by one
        if since := left.pop("published_since", None):
            ids = ids[self._place(ids, read(str(since))) :]
        if changed := left.pop("modified_since", None):
            ids = self._modified_since(ids, read(str(changed)))
        return self._matching(left, self._without_withdrawn(ids))

    def _modified_since(self, ids: Sequence[int], moment: datetime) -> Sequence[int]:
        """Return the items modified since a moment; only recently published or edited ones are tested."""
        a_little = min(MOST_DELAY, moment - datetime(1, 1, 1))  # noqa: DTZ001 - all since ever
        low, high = self._place(ids, moment - a_little), self._place(ids, moment)
        edited = [item_id for item_id in self._items.changed_ids if item_id in ids[:low]]
        tested = [
            item_id
            for item_id in (*edited, *ids[low:high])
            if is_since(self._items.modified_seconds(item_id), moment, strict=self._strict)
        ]
        return array("q", (*tested, *ids[high:])) if tested else ids[high:]

    def _place(self, ids: Sequence[int], moment: datetime) -> int:
        """The index of the first id that was published since a moment."""
        first = first_since(moment, self._items.settings.together, strict=self._strict)
        return bisect_left(ids, PUBLIC_FROM + STEP * first)

    def _every(self, begin: int, step: int) -> Sequence[int]:
        return self._without_withdrawn(self._items.published_ids[begin::step])

    def _without_withdrawn(self, ids: Sequence[int]) -> Sequence[int]:
        gone = [place for item_id in self._items.withdrawn_ids if (place := _index(ids, item_id)) is not None]
        if not gone:
            return ids
        left = array("q", ids)
        for place in reversed(gone):
            del left[place]
        return left

    # -- one by one ---------------------------------------------------------------------------------

    def _matching(self, criteria: Mapping[str, Any], ids: Sequence[int]) -> Sequence[int]:
        tests = [
            make(str(criteria[name]), self._strict)
            for name, make in _CRITERIA.items()
            if criteria.get(name) not in {None, ""}
        ]
        if not tests:
            return ids
        items = map(self._items.item, ids)
        return array("q", (item.id for item in items if all(test(item) for test in tests)))

    def _ordered(self, criteria: Mapping[str, Any], ids: Sequence[int], *presorted: str) -> Sequence[int]:
        """Return ids sorted, unless they are in this order already."""
        order = criteria.get("order") or "published_date"
        if order in presorted:
            return ids
        if order == "modified_date":  # without creating items: it is used for very many of them
            modified = self._items.modified_seconds
            return array("q", sorted(ids, key=lambda item_id: (modified(item_id), item_id)))
        by = ORDERS[order]
        return array("q", sorted(ids, key=lambda item_id: by(self._items.item(item_id))))


_GROUPS = {number: (place, len(GROUPS)) for place, (number, *_) in enumerate(GROUPS)}


def _only(criteria: Mapping[str, Any]) -> int | None:
    """The only item that can match, None if several can: a DOI and a handle contain the id."""
    for name, pattern in (("doi", r"10\.\d+/.*?\.(\d+)\.v\d+"), ("handle", r"2134/(\d+)")):
        if wanted := criteria.get(name):
            found = re.fullmatch(pattern, str(wanted))
            return int(found[1]) if found else -1
    return None


def _index(ids: Sequence[int], item_id: int) -> int | None:
    place = bisect_left(ids, item_id)
    return place if place < len(ids) and ids[place] == item_id else None


def _searched(query: str) -> Test:
    matches = parse(query)
    return lambda item: matches(item.attributes)


def _number(fact: Callable[[Item], int], wanted: str) -> Test:
    number = int(wanted)
    return lambda item: fact(item) == number


def _published(moment: datetime, *, strict: bool) -> Test:
    return lambda item: not item.is_private and is_since(item.published_seconds, moment, strict=strict)


def _modified(moment: datetime, *, strict: bool) -> Test:
    return lambda item: is_since(item.modified_seconds, moment, strict=strict)


_CRITERIA: Mapping[str, Callable[[str, bool], Test]] = {
    "search_for": lambda query, _: _searched(query),
    "item_type": lambda wanted, _: _number(lambda item: item.type[0], wanted),
    "group": lambda wanted, _: _number(lambda item: item.group, wanted),
    "project_id": lambda wanted, _: _number(lambda item: item.project, wanted),
    "institution": lambda wanted, _: _number(lambda _: INSTITUTION, wanted),
    "published_since": lambda date, strict: _published(read(date), strict=strict),
    "modified_since": lambda date, strict: _modified(read(date), strict=strict),
    "doi": lambda wanted, _: lambda item: item.doi == wanted,
    "handle": lambda wanted, _: lambda item: item.handle == wanted,
}
