"""Items: the items of a world and their state, with the changes between two runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from harvester.sandbox.catalogue import (
    COLLEAGUE_ACCOUNT,
    IDENTIFIED,
    OWN_ACCOUNT,
    PRIVATE_FROM,
    PUBLIC_FROM,
    STEP,
    TRAITS,
    UNLISTED,
)
from harvester.sandbox.dates import first_change, modified_seconds
from harvester.sandbox.item import EDITS, Item
from harvester.sandbox.settings import FOR_EVER, HOSTILE, Settings

MOST_MADE = 10_000
"""Items that are kept in memory, as they are made, for one set of facts."""


@dataclass(frozen=True)
class _Change:
    """The world's generation at an item's last change, 0 for none, and its corrections so far."""

    edited: int = 0
    corrections: int = 0


_UNCHANGED = _Change()
_Key = tuple[int, int, bool]
"""An item's id, its version, 0 for the current one, and whether its owner sees it."""


@lru_cache(maxsize=4)
def _unchanged_items(*_facts: object) -> dict[_Key, Item]:
    """Return the items without a change, of all worlds with the same facts: they are made once."""
    return {}


class Items:
    """
    All items by their ids.

    ``generation``: number of changes so far; they are dated one second after another, from half a day before
    `clock` on. ``hostile_items``: kind to item id, for the kinds in the settings.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._first_change = first_change(clock() + settings.clock_ahead)
        self.generation = 0
        kinds = [kind for kind in HOSTILE if kind in settings.hostile]
        self.hostile_items: Mapping[str, int] = {
            kind: PUBLIC_FROM + STEP * number for number, kind in enumerate(kinds, settings.items)
        }
        self._hostile = {item_id: kind for kind, item_id in self.hostile_items.items()}
        self._public = settings.items + len(kinds)
        self._versions: dict[int, int] = {}
        self._edits: dict[int, tuple[str, ...]] = {}
        self._changes: dict[int, _Change] = {}
        self._past: dict[tuple[int, int], _Change] = {}
        self._withdrawn: set[int] = set()
        self._proven: set[int] = set()
        self._drafts: dict[int, int] = {}  # the generation at which each was started
        self._opened: set[int] = set()  # items whose embargo has ended
        self._unchanged = _unchanged_items(
            settings.heavy,
            settings.together,
            settings.late_md5,
            settings.embargo_date,
            settings.own_terms,
            settings.identifiers,
        )
        self._made: dict[_Key, Item] = {}  # in the generation `_made_in`
        self._made_in = 0
        self._refused: dict[int, tuple[int, int]] = {}  # items refused to their owners: status, and how often

    # -- the items ----------------------------------------------------------------------------------

    @property
    def published_ids(self) -> range:
        """Ids of all items that were ever published, oldest first."""
        return range(PUBLIC_FROM, PUBLIC_FROM + STEP * self._public, STEP)

    @property
    def withdrawn_ids(self) -> list[int]:
        return sorted(self._withdrawn)

    @property
    def changed_ids(self) -> list[int]:
        """Ids of the items that were edited or corrected."""
        return sorted(self._changes)

    @cached_property
    def private_ids(self) -> range:
        """Ids of the unpublished items of the tokens' account."""
        return range(PRIVATE_FROM, PRIVATE_FROM + STEP * self.settings.private_items, STEP)

    @cached_property
    def colleague_ids(self) -> range:
        """Ids of the unpublished items of the other account."""
        begin = self.private_ids.stop
        return range(begin, begin + STEP * self.settings.colleague_items, STEP)

    @property
    def account_ids(self) -> list[int]:
        """Ids that the token's account lists: its private items, and the first twenty public ones."""
        return [*self.private_ids, *self._first_public()]

    def is_private(self, item_id: int) -> bool:
        return item_id >= PRIVATE_FROM

    def exists(self, item_id: int) -> bool:
        if self.is_private(item_id):
            return item_id in self.private_ids or item_id in self.colleague_ids
        is_published = item_id in self.published_ids or item_id in UNLISTED
        return is_published and item_id not in self._withdrawn

    def _first_public(self) -> Iterator[int]:
        found = 0
        for item_id in self.published_ids:
            if found >= self.settings.own_public:
                return
            if item_id not in self._withdrawn:
                found += 1
                if item_id not in self._hostile:
                    yield item_id

    # -- changes between two runs -------------------------------------------------------------------

    def edit(self, item_id: int, how: str = "replace") -> None:
        """Publish a new version, with another title, a newer date, and files changed as `EDITS` says."""
        version, change = self.version(item_id), self._changes.get(item_id, _UNCHANGED)
        if how not in EDITS:
            raise ValueError(f"how: one of {', '.join(EDITS)}")
        self._past[item_id, version] = change
        self._versions[item_id] = version + 1
        self._edits[item_id] = (*self._edits.get(item_id, ()), how)
        self._drafts.pop(item_id, None)
        self.generation += 1
        self._changes[item_id] = _Change(self.generation, change.corrections)

    def correct(self, item_id: int) -> None:
        """Change an item's description without a new version: a newer date, the same files."""
        change = self._changes.get(item_id, _UNCHANGED)
        self.generation += 1
        self._changes[item_id] = _Change(self.generation, change.corrections + 1)

    def prove(self, item_id: int, *, moves_date: bool = True) -> None:
        """Publish the md5 sums of an item's files (`Settings.late_md5`), with a newer date or without."""
        self._proven.add(item_id)
        self.generation += 1
        if moves_date:
            change = self._changes.get(item_id, _UNCHANGED)
            self._changes[item_id] = _Change(self.generation, change.corrections)

    def withdraw(self, item_id: int) -> None:
        """Unpublish an item."""
        self._withdrawn.add(item_id)
        self.generation += 1

    def draft(self, item_id: int) -> None:
        """Start an edit that only the owner of a published item sees: another title, another first file."""
        self.generation += 1
        self._drafts[item_id] = self.generation

    def is_draft(self, item_id: int) -> bool:
        """Whether its owner sees an unpublished edit of an item."""
        return item_id in self._drafts

    def end_embargo(self, item_id: int) -> None:
        """End an embargo by its date: nothing is edited, no date changes."""
        self._opened.add(item_id)
        self.generation += 1

    def begin_embargo(self, item_id: int) -> None:
        """Put an item under embargo again, with a newer date."""
        self._opened.discard(item_id)
        self.correct(item_id)

    def refuse_owner(self, item_id: int, status: int = 404, times: int = FOR_EVER) -> None:
        """Answer requests for an item's record on the account's endpoint with this status, `times` times."""
        self._refused[item_id] = (status, times)

    def take_refusal(self, item_id: int) -> int:
        """Count a request for the account's record, and return the status of its refusal, 0 for none."""
        status, times = self._refused.get(item_id, (0, 0))
        if times <= 0:
            return 0
        self._refused[item_id] = (status, times - 1)
        return status

    def restore(self, item_id: int) -> None:
        """Publish a withdrawn item again, unchanged."""
        self._withdrawn.discard(item_id)
        self.generation += 1

    def publish(self, number: int) -> None:
        """Add new items, newer than all others."""
        self._public += number
        self.generation += 1

    # -- one item -----------------------------------------------------------------------------------

    def item(self, item_id: int, version: int = 0, *, own: bool = False) -> Item:
        """Return an item in one of its versions, 0 for the current one; `own`: as its owner sees it."""
        made, key = self._made, (item_id, version, own)
        if not version and self._is_unchanged(item_id):
            made, key = self._unchanged, (item_id, 0, False)
        elif self._made_in != self.generation:
            made.clear()
            self._made_in = self.generation
        if key not in made:
            if len(made) >= MOST_MADE:
                made.clear()
            made[key] = self._make(item_id, version, own=own)
        return made[key]

    def _is_unchanged(self, item_id: int) -> bool:
        return not (
            item_id in self._changes
            or item_id in self._drafts
            or item_id in self._hostile
            or item_id in self._opened
            or item_id in self._proven
            or item_id in self.colleague_ids  # which ids these are depends on the settings
        )

    def _make(self, item_id: int, version: int, *, own: bool) -> Item:
        current = self.version(item_id)
        is_past = 0 < version < current
        change = self._past.get((item_id, version), _UNCHANGED) if is_past else self._changes.get(item_id)
        change = change or _UNCHANGED
        is_private = self.is_private(item_id)
        is_draft = own and not version and item_id in self._drafts
        edited = max(change.edited, self._drafts[item_id]) if is_draft else change.edited
        return Item(
            item_id,
            self.number(item_id),
            trait=self.trait(item_id),
            hostile=self._hostile.get(item_id, ""),
            version=version if is_past else current,
            edited=edited,
            changed=self._first_change + edited if edited else 0,
            corrections=change.corrections,
            is_private=is_private,
            account=COLLEAGUE_ACCOUNT if is_private and item_id in self.colleague_ids else OWN_ACCOUNT,
            together=self.settings.together,
            is_proven=is_private or not self.settings.late_md5 or item_id in self._proven,
            called="" if is_private else self._called(item_id),
            is_draft=is_draft,
            embargo_date="" if item_id in self._opened else self.settings.embargo_date,
            own_terms=self.settings.own_terms,
            edits=self._edits.get(item_id, ())[
                : max(0, (version if is_past else current) - self._original_version(item_id))
            ],
        )

    def number(self, item_id: int) -> int:
        if item_id in UNLISTED:
            return UNLISTED[item_id]
        begin = PRIVATE_FROM if self.is_private(item_id) else PUBLIC_FROM
        return (item_id - begin) // STEP

    def trait(self, item_id: int) -> str:
        number = self.number(item_id)
        trait = TRAITS.get(number % 50, "")
        is_light = trait == "heavy" and number // 50 >= self.settings.heavy
        return "" if is_light or self.is_private(item_id) or item_id in self._hostile else trait

    def _called(self, item_id: int) -> str:
        kind = IDENTIFIED.get(self.number(item_id) % 50, "")
        return kind if kind in self.settings.identifiers else ""

    def called(self, kind: str) -> list[int]:
        """Ids of the public items with this kind of `IDENTIFIERS`."""
        return [each for each in self.published_ids if self.exists(each) and self._called(each) == kind]

    def version(self, item_id: int) -> int:
        """The number of the current version."""
        return self._versions.get(item_id, self._original_version(item_id))

    def _original_version(self, item_id: int) -> int:
        """The number of the current version before any edit."""
        return 3 if self.trait(item_id) == "three versions" else 1

    def title(self, item_id: int) -> str:
        return self.item(item_id).title

    def doi(self, item_id: int) -> str:
        return self.item(item_id).doi

    def handle(self, item_id: int) -> str:
        return self.item(item_id).handle

    def published(self, item_id: int) -> str:
        return self.item(item_id).published

    def modified(self, item_id: int) -> str:
        return self.item(item_id).modified

    def modified_seconds(self, item_id: int) -> int:
        """When an item changed last, as a sort key."""
        changed = self._changed(self._changes.get(item_id, _UNCHANGED))
        return modified_seconds(self.number(item_id), self.settings.together, changed)

    def _changed(self, change: _Change) -> int:
        """Return the time of a change, 0 for none."""
        return self._first_change + change.edited if change.edited else 0

    def is_withheld(self, item_id: int) -> bool:
        return self.item(item_id).is_withheld

    def attributes(self, item_id: int) -> Mapping[str, str]:
        """The searchable fields."""
        return self.item(item_id).attributes

    def totals(self, item_id: int) -> dict[str, int]:
        """The counters of an item; {} for one that the statistics service does not know."""
        return self.item(item_id).totals() if self.exists(item_id) else {}
