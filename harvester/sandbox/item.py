"""Item: the facts from which its record, its listing entry and its files are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harvester.sandbox.catalogue import (
    CATEGORIES,
    GROUPS,
    LICENCES,
    OWN_ACCOUNT,
    OWN_LICENCE,
    OWN_TYPE,
    PORTAL,
    PROJECTS,
    TITLES,
    TYPES,
)
from harvester.sandbox.dates import modified_seconds, published_seconds, written

EDITS: Mapping[str, str] = {
    "replace": "the first file is replaced by one of the same name",
    "add": "one file is added",
    "remove": "the last file is removed, if there are several",
    "rename": "the last file has another name",
    "swap": "the first two files have each other's names",
    "again": "the last file was uploaded again: another id, the same bytes",
    "none": "the same files",
}
"""How a new version changes the files of an item."""


@dataclass(frozen=True)
class Item:
    """
    An item in one of its versions.

    ``trait``: its peculiarity, of `TRAITS`.
    ``called``: how it is identified, of `IDENTIFIERS`.
    ``hostile``: its kind, of `HOSTILE`.
    ``edited``: the world's generation at its last change, 0 for none.
    ``changed``: when that was, see `modified_seconds`.
    ``corrections``: the number of changes without a new version.
    ``together``: how many items are published at one moment.
    ``is_proven``: its files have md5 sums.
    ``is_draft``: an unpublished edit of a published item, as its owner sees it.
    ``embargo_date``: when its embargo ends, "" if it has ended.
    ``own_terms``: some have a licence and a type that only institutions have.
    ``edits``: how each version since the start of the world changed its files, of `EDITS`.
    """

    id: int
    number: int
    trait: str = ""
    hostile: str = ""
    version: int = 1
    edited: int = 0
    corrections: int = 0
    is_private: bool = False
    account: int = OWN_ACCOUNT
    together: int = 1
    is_proven: bool = True
    called: str = ""
    is_draft: bool = False
    embargo_date: str = ""
    changed: int = 0
    own_terms: bool = False
    edits: tuple[str, ...] = ()

    @property
    def first_since(self) -> int:
        """The version that added its present first file."""
        later = list(self.edits)
        while later and later[-1] != "replace":
            later.pop()
        return self.version - len(self.edits) + len(later)

    @cached_property
    def title(self) -> str:
        edited = f" (version {self.version})" if self.version > 1 else ""
        if self.trait == "odd title":
            return TITLES[self.number // 50 % len(TITLES)] + edited
        if self.is_draft:
            edited += " (draft)"
        return f"Research data {self.number} from the {self.category.lower()} survey{edited}"

    @property
    def doi(self) -> str:
        if self.is_private or self.called == "handle-only":
            return ""
        if self.called in _DOIS:
            return _DOIS[self.called](self)
        prefix = "10.25380/iastate" if self.number % 4 == 0 else "10.6084/m9.figshare"
        return f"{prefix}.{self.id}.v{self.version}"

    @property
    def handle(self) -> str:
        if self.called in _HANDLES and not self.is_private:
            return _HANDLES[self.called](self)
        return f"2134/{self.id}" if self.number % 6 == 1 and not self.is_private else ""

    @property
    def etag(self) -> str:
        """The ETag of its state, with quotes."""
        changed = (f".{self.edited}" if self.edited else "") + ("" if self.is_proven else "-unproven")
        if self.trait == "embargo" and not self.embargo_date:
            changed += ".open"
        return f'"{self.id}-{self.version}{changed}"'

    @property
    def published_seconds(self) -> int:
        return published_seconds(self.number, self.together)

    @property
    def modified_seconds(self) -> int:
        return modified_seconds(self.number, self.together, self.changed)

    @cached_property
    def published(self) -> str:
        return written(self.published_seconds)

    @property
    def modified(self) -> str:
        return written(self.modified_seconds)

    @property
    def type(self) -> tuple[int, str]:
        return OWN_TYPE if self.has_own_terms else TYPES[self.number % len(TYPES)]

    @property
    def has_own_terms(self) -> bool:
        return self.own_terms and self.number % 7 == 0

    @property
    def category(self) -> str:
        return CATEGORIES[self.number % len(CATEGORIES)][1]

    @property
    def group(self) -> int:
        return GROUPS[self.number % len(GROUPS)][0]

    @property
    def project(self) -> int:
        """The project that it is in, 0 for none."""
        if self.is_private:
            return 0
        return next((name for name, (begin, step) in PROJECTS.items() if self.number % step == begin), 0)

    @property
    def licence(self) -> str:
        """The name of its licence, "" if its record has none."""
        if self.trait == "nulls":
            return ""
        return OWN_LICENCE[1] if self.has_own_terms else LICENCES[self.number % len(LICENCES)][1]

    @property
    def is_withheld(self) -> bool:
        return self.is_embargoed or self.trait in {"confidential", "downloads disabled"}

    @property
    def is_embargoed(self) -> bool:
        return self.trait == "embargo" and bool(self.embargo_date)

    @property
    def host(self) -> str:
        """The host of its page."""
        return PORTAL if self.called == "portal" else "figshare.com"

    @cached_property
    def listed(self) -> Mapping[str, Any]:
        """Its listing entry, without the addresses of the api."""
        kind, kind_name = self.type
        day = self.published[: 10 if self.number % 3 else -1]
        return {
            "id": self.id,
            "title": self.title,
            "doi": self.doi,
            "handle": self.handle,
            "url": "",
            "published_date": None if self.is_private else self.published,
            "thumb": "",
            "defined_type": kind,
            "defined_type_name": kind_name,
            "group_id": 0 if self.number % 4 else self.group,
            "url_private_api": "",
            "url_public_api": "",
            "url_private_html": f"https://figshare.com/account/articles/{self.id}",
            "url_public_html": f"https://{self.host}/articles/{kind_name}/Research_data_{self.number}/{self.id}",
            "timeline": {} if self.is_private else {"posted": self.published[:-1], "firstOnline": day},
            "resource_title": "",
            "resource_doi": "",
            "created_date": self.published,
            "modified_date": self.modified,
        }

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        """The searchable fields."""
        return {
            "category": self.category,
            "title": self.title,
            "tag": f"tag{self.number % 9}",
            "author": f"Author {self.number % 13}",
            "item_type": self.type[1],
            "group": str(self.group),
            "doi": self.doi,
            "licence": self.licence,
            "license": self.licence,
            "published_date": self.published,
        }

    @property
    def is_counted(self) -> bool:
        """Whether the statistics service knows it."""
        return not self.is_private and self.trait != "unknown to stats"

    def totals(self) -> dict[str, int]:
        """The counters; {} if the statistics service does not know the item."""
        if not self.is_counted:
            return {}
        return {
            "views": self.number * 7 % 5000,
            "downloads": self.number * 3 % 900,
            "shares": self.number % 4,
        }


WRONG_ID = 90_000
"""Numbers from here on, in a DOI, are no item's id."""
_DOIS: Mapping[str, Callable[[Item], str]] = {
    "shared-doi": lambda item: f"10.25384/example.data{item.number // 2}.v{item.version}",
    "hex-doi": lambda item: f"10.4225/03/5A{item.id:x}F",
    "wrong-id-doi": lambda item: f"10.6084/m9.figshare.{WRONG_ID + item.number}.v{item.version}",
    "collection-doi": lambda item: f"10.6084/m9.figshare.c.4000001_d{item.number}.v{item.version}",
}
_HANDLES: Mapping[str, Callable[[Item], str]] = {
    "minted-handle": lambda item: f"10779/sandbox.{item.id}.v{item.version}",
    "handle-only": lambda item: f"12345/{item.id}",
}

ORDERS: Mapping[str, Callable[[Item], Any]] = {
    # Items without a published date come before all others.
    "published_date": lambda item: (not item.is_private, item.published_seconds, item.id),
    "created_date": lambda item: (item.published_seconds, item.id),
    "modified_date": lambda item: (item.modified_seconds, item.id),
    "views": lambda item: (item.totals().get("views", 0), item.id),
    "shares": lambda item: (item.totals().get("shares", 0), item.id),
    "downloads": lambda item: (item.totals().get("downloads", 0), item.id),
    "cites": lambda item: (item.number % 11, item.id),
}
"""The orders of listings, ascending."""
