"""One item: the facts that its record, its entry in listings and its files are written from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from harvester.sandbox.catalogue import CATEGORIES, GROUPS, TITLES, TYPES

_BEGIN = datetime(2015, 1, 1)  # noqa: DTZ001 - written with a Z
_EDITED = datetime(2035, 1, 1)  # noqa: DTZ001


@dataclass(frozen=True)
class Item:
    """
    An item as it is now.

    ``trait``: its peculiarity, of `TRAITS`; ``hostile``: its kind, of `HOSTILE`; ``edited``: the world's
    generation at its last edit, 0 for none.
    """

    id: int
    number: int
    trait: str = ""
    hostile: str = ""
    version: int = 1
    edited: int = 0
    is_private: bool = False

    @property
    def title(self) -> str:
        edited = f" (version {self.version})" if self.version > 1 else ""
        if self.trait == "odd title":
            return TITLES[self.number // 50 % len(TITLES)] + edited
        return f"Research data {self.number} from the {self.category.lower()} survey{edited}"

    @property
    def doi(self) -> str:
        if self.is_private:
            return ""
        prefix = "10.25380/iastate" if self.number % 4 == 0 else "10.6084/m9.figshare"
        return f"{prefix}.{self.id}.v{self.version}"

    @cached_property
    def published(self) -> str:
        return _written(_BEGIN + timedelta(seconds=300 * self.number))

    @property
    def modified(self) -> str:
        if self.edited:
            return _written(_EDITED + timedelta(days=self.edited))
        return _written(_BEGIN + timedelta(seconds=300 * self.number, days=self.number % 3))

    @property
    def type(self) -> tuple[int, str]:
        return TYPES[self.number % len(TYPES)]

    @property
    def category(self) -> str:
        return CATEGORIES[self.number % len(CATEGORIES)][1]

    @property
    def group(self) -> int:
        return GROUPS[self.number % len(GROUPS)][0]

    @property
    def is_withheld(self) -> bool:
        return self.trait in {"embargo", "confidential", "downloads disabled"}

    def attributes(self) -> dict[str, str]:
        """What a search looks at."""
        return {
            "category": self.category,
            "title": self.title,
            "tag": f"tag{self.number % 9}",
            "author": f"Author {self.number % 13}",
            "item_type": self.type[1],
            "group": str(self.group),
            "doi": self.doi,
            "published_date": self.published,
        }

    def totals(self) -> dict[str, int]:
        """The counters; {} where the statistics have never seen the item."""
        if self.is_private or self.trait == "unknown to stats":
            return {}
        return {
            "views": self.number * 7 % 5000,
            "downloads": self.number * 3 % 900,
            "shares": self.number % 4,
        }


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"
