"""
Sandbox data: everything is computed from the seed and an item's number, so a million items need no memory.

Public item number i has the id 5000001 + 3 i; those in `UNLISTED` have ids of their own. The ids of private
items begin at 9000000001, followed by those of the colleague. The k-th file of an item has the id
item × 100 + k; the first file gets a new id with each version. Every fiftieth item has the same peculiarity
(`TRAITS`), as seen in real records. Hostile items, if there are any, follow the ordinary ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, TypeVar

from harvester.sandbox import hostile, usage
from harvester.sandbox.catalogue import (
    COLLEAGUE_ACCOUNT,
    COLLECTIONS,
    FILES_AN_ITEM,
    OWN_ACCOUNT,
    OWNERS_VIEW,
    PROJECTS,
    Addresses,
)
from harvester.sandbox.dates import FAR_FUTURE, written
from harvester.sandbox.files import UPLOADED, chunks_of, files_of
from harvester.sandbox.item import Item
from harvester.sandbox.items import Items
from harvester.sandbox.oddities import loosen
from harvester.sandbox.records import Json, entry_of, record_of
from harvester.sandbox.selection import Selection
from harvester.sandbox.settings import Settings

T = TypeVar("T")


class World(Items):
    """The expected data that a harvest is compared with. It does no I/O."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.at = Addresses()
        self._selection = Selection(self)
        self._uses: Counter[str] = Counter()

    def use(self, secret: str) -> int:
        """Count a request with a token or credentials; return how many there were with them."""
        self._uses[secret] += 1
        return self._uses[secret]

    # -- listings -----------------------------------------------------------------------------------

    @property
    def public_ids(self) -> Sequence[int]:
        """Ids of all public items, oldest first."""
        return self.select({})

    def select(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the public items that match, ascending: see `Selection`."""
        return self._selection.public(criteria)

    def group_items(self, group_id: int) -> Sequence[int]:
        return self.select({"group": group_id})

    def search(self, query: str) -> Sequence[int]:
        return self.select({"search_for": query})

    def collection_items(self, collection_id: int) -> Sequence[int]:
        """Ids of the public items of a collection, oldest first; `KeyError` for an unknown one."""
        return self._selection.every(*COLLECTIONS[collection_id])

    def project_items(self, project_id: int) -> Sequence[int]:
        """As `collection_items`, of a project."""
        return self._selection.every(*PROJECTS[project_id])

    def institution_items(self, criteria: Mapping[str, Any] | None = None) -> Sequence[int]:
        """Ids of the items that the institution's administrator can list: public items, and all drafts."""
        return self._selection.institution(criteria or {})

    def account_items(
        self, criteria: Mapping[str, Any] | None = None, account: int = OWN_ACCOUNT
    ) -> Sequence[int]:
        """Ids of the matching items that an account lists; `KeyError` for an unknown account."""
        ids = {OWN_ACCOUNT: self.account_ids, COLLEAGUE_ACCOUNT: list(self.colleague_ids)}[account]
        return self._selection.account(criteria or {}, ids)

    def with_trait(self, trait: str) -> list[int]:
        """Ids of the public items with this peculiarity."""
        return [item_id for item_id in self.public_ids if self.trait(item_id) == trait]

    # -- one item -----------------------------------------------------------------------------------

    def entry(self, item_id: int, *, own: bool = False) -> Json:
        """The listing entry of an item, for the public or for its owner."""
        return self.loosened(entry_of(self.item(item_id, own=own), self.at), item_id)

    def listed_modified(self, item_id: int, *, own: bool = False) -> str:
        """When an item changed last, as in listings for the public or for its owner."""
        if "listings" in self.settings.far_future:
            return FAR_FUTURE
        modified = self.item(item_id, own=own).modified_seconds
        return written(modified + self.settings.listed_ahead)

    def record(self, item_id: int, version: int = 0, *, private: bool = False, whole: bool = False) -> Json:
        """
        An item's record as the API sends it, with at most ten files, or with all files if `whole`.

        `version`: 0 for the current one. `private`: as the account's endpoint sends it, with more fields. A
        hostile record that a dict cannot represent is an ordinary one here.
        """
        item = self.item(item_id, version, own=private)
        files = self.files(item_id, version, private=private)
        hides = self.settings.hides_withheld
        record = record_of(item, files, self.at, private=private, whole=whole, hides=hides)
        if "records" in self.settings.far_future:
            record["modified_date"] = FAR_FUTURE
        return self.loosened(hostile.spoil_record(item.hostile, record), item_id)

    def loosened(self, value: T, item_id: int = 0) -> T:
        """
        Return JSON as it is sent: with other types if the settings say so.

        Which ones depends on the item.
        """
        if not self.settings.loose_types:
            return value
        loose: T = loosen(value, self.number(item_id) if item_id else 0)
        return loose

    def versions(self, item_id: int) -> range:
        """The numbers of an item's versions; none if it is not public."""
        is_public = self.exists(item_id) and not self.is_private(item_id)
        return range(1, self.version(item_id) + 1 if is_public else 1)

    # -- statistics ---------------------------------------------------------------------------------

    def is_counted(self, item_id: int) -> bool:
        """Whether the statistics service knows an item."""
        return self.exists(item_id) and self.item(item_id).is_counted

    def timeline(
        self, item_id: int, counter: str, granularity: str, start: date, end: date
    ) -> dict[str, int]:
        """
        Counts by period in the window, both days included; {} for an item that the service does not know.

        The service answers the same for windows within its limit.
        """
        if not self.is_counted(item_id):
            return {}
        return usage.timeline(self.item(item_id), counter, granularity, start, end)

    def breakdown(
        self, item_id: int, counter: str, granularity: str, start: date, end: date
    ) -> dict[str, dict[str, dict[str, int]]]:
        """As `timeline`, by country and city, without empty periods."""
        if not self.is_counted(item_id):
            return {}
        return usage.breakdown(self.item(item_id), counter, granularity, start, end)

    # -- files --------------------------------------------------------------------------------------

    def files(self, item_id: int, version: int = 0, *, private: bool = False) -> list[Json]:
        """
        All files of an item, as in its file list for the public or for its owner.

        `version`: 0 for the current one.
        """
        item = self.item(item_id, version, own=private)
        files = hostile.spoil_files(item.hostile, self._files(item), self.at)
        return [{**file, **OWNERS_VIEW} if private else file for file in files]

    def file(self, file_id: int) -> Json | None:
        """The file with this id, from any version, as in its file list; None if there is none."""
        item_id = file_id // FILES_AN_ITEM
        files = (file for version in self._versions_of(file_id) for file in self.files(item_id, version))
        found = next((file for file in files if file["id"] == file_id), None)
        if found is None and self.is_draft(item_id):
            drafts = self.files(item_id, private=True)
            found = next((file for file in drafts if file["id"] == file_id), None)
        return found

    def is_published(self, file_id: int) -> bool:
        """Whether a file belongs to a public item, and not only to a draft."""
        item_id = file_id // FILES_AN_ITEM
        if self.is_private(item_id) or not self.is_draft(item_id):
            return not self.is_private(item_id)
        versions = self._versions_of(file_id)
        return any(file["id"] == file_id for number in versions for file in self.files(item_id, number))

    def size(self, file_id: int) -> int:
        """The true size of a file in bytes."""
        item_id = file_id // FILES_AN_ITEM
        items = [self.item(item_id, version) for version in self._versions_of(file_id)]
        if self.is_draft(item_id):
            items.append(self.item(item_id, own=True))
        files = (file for item in items for file in self._files(item))
        return next((file["size"] for file in files if file["id"] == file_id), 0)

    def content(self, file_id: int) -> bytes:
        """The bytes of a file."""
        return b"".join(self.chunks(file_id, 0))

    def chunks(self, file_id: int, begin: int, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a file from `begin` to `end`, None for all of them, a megabyte at a time."""
        return chunks_of(self.settings.seed, self._original(file_id), self.size(file_id), begin, end)

    def _original(self, file_id: int) -> int:
        """The file with the same bytes: another one if the file was uploaded a second time."""
        item_id, place = divmod(file_id, FILES_AN_ITEM)
        version = place - UPLOADED
        item = self.item(item_id, version) if version > 1 else None
        if item is None or item.version != version or item.edits[-1:] != ("again",):
            return file_id
        return self._original(self._files(self.item(item_id, version - 1))[-1]["id"])

    def _versions_of(self, file_id: int) -> range:
        """The versions in which a file may be, newest first."""
        item_id = file_id // FILES_AN_ITEM
        return range(self.version(item_id), 0, -1) if self.exists(item_id) else range(0)

    def _files(self, item: Item) -> tuple[Json, ...]:
        return files_of(
            item, seed=self.settings.seed, heavy_size=self.settings.heavy_size, address=self.at.files
        )
