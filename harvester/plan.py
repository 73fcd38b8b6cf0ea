"""
What a run would ask, and how long that takes: nothing is recorded, nothing is fetched.

Items are counted by reading the listings. Listings tell no files and no sizes, so these are exact for
items whose record is in the ledger, and otherwise estimated from a sample of records.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from harvester.config import Config
from harvester.errors import GiveUp, TryAgain
from harvester.figshare.api import Figshare
from harvester.ledger.reading import Reader
from harvester.models import ItemRef
from harvester.sources import Listing, goes_round
from harvester.states import FileStatus
from harvester.tasks import item_task_names
from harvester.tasks.metadata import settle

STATS_REQUESTS = 2


@dataclass
class Plan:
    """
    What is to be asked for; ``requests`` by service, bytes and seconds as numbers.

    ``sampled``: from how many records files and bytes of the other items were estimated.
    """

    listed: int = 0
    items: int = 0
    items_owed: int = 0
    files_owed: int = 0
    bytes_owed: int = 0
    sampled: int = 0
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("api", "stats", "files"), 0))
    seconds: dict[str, float] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)

    @property
    def binding(self) -> str:
        """The service that decides how long it takes."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as ``plan --json`` shows it."""
        return {
            "listed": self.listed,
            "items": self.items,
            "items_owed": self.items_owed,
            "files_owed": self.files_owed,
            "bytes_owed": self.bytes_owed,
            "sampled_records": self.sampled,
            "requests": self.requests,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "seconds_at_least": round(max(self.seconds.values()), 1),
            "binding_service": self.binding,
            "incomplete_listings": self.incomplete,
        }


class Planner:
    """Reads the listings of a config and adds up what a run would ask now."""

    def __init__(
        self,
        config: Config,
        figshare: Figshare,
        *,
        reader: Reader | None,
        sample_size: int,
        chance: random.Random | None = None,
    ) -> None:
        self.plan = Plan()
        self._config = config
        self._figshare = figshare
        self._reader = reader
        self._sample_size = sample_size
        self._chance = chance or random.Random(0)
        self._tasks = frozenset(item_task_names(config.tasks))
        self._seen: set[int] = set()
        self._unknown = 0
        self._sample: list[ItemRef] = []

    async def make(self) -> Plan:
        """
        Make the plan.

        Raises what the client raises when the api cannot be used at all.
        """
        for source in sorted(self._config.sources, key=lambda source: not source.private):
            for listing in await source.listings():
                await self._read(listing)
        if "files" in self._config.tasks:
            self._count_known_files()
            await self._estimate_files()
        plan = self.plan
        plan.items = len(self._seen)
        plan.requests["files"] = plan.files_owed
        rates = self._config.rate
        plan.seconds = {name: n / rates.at_most(name) for name, n in plan.requests.items()}
        return plan

    async def _read(self, listing: Listing) -> None:
        position: str | None = None
        named, found = 0, set[int]()
        while True:
            try:
                page = await listing.page(self._figshare, position)
            except (GiveUp, TryAgain) as error:
                self.plan.incomplete.append(f"{listing.key}: {error}")
                return
            self.plan.requests["api"] += 1
            self.plan.incomplete += [f"{name.name}: {name.reason}" for name in page.unresolved]
            self.plan.listed += len(page.refs)
            fresh = {ref.id: ref for ref in page.refs if ref.id not in self._seen}
            self._seen.update(fresh)
            self._add(list(fresh.values()))
            position = page.position
            if position is None:
                return
            named += len(page.refs) + len(page.unresolved)
            found.update(ref.id for ref in page.refs)
            if goes_round(named, len(found)):
                self.plan.incomplete.append(f"{listing.key}: the listing goes round in circles")
                return

    def _add(self, refs: list[ItemRef]) -> None:
        known = self._reader.known([ref.id for ref in refs]) if self._reader else {}
        for ref in refs:
            modified, done = known.get(ref.id, (None, frozenset()))
            owed = self._tasks - done
            if ref.id in known and (ref.modified_date or "") > (modified or ""):
                owed |= self._tasks & {"metadata"}
            self.plan.items_owed += bool(owed)
            self.plan.requests["api"] += "metadata" in owed
            self.plan.requests["stats"] += STATS_REQUESTS * ("stats" in owed)
            if "metadata" in owed:
                self._maybe_sample(ref)

    def _maybe_sample(self, ref: ItemRef) -> None:
        """Keep every item with the same chance, without keeping them all."""
        self._unknown += 1
        if len(self._sample) < self._sample_size:
            self._sample.append(ref)
        elif (slot := self._chance.randrange(self._unknown)) < self._sample_size:
            self._sample[slot] = ref

    def _count_known_files(self) -> None:
        for status in (FileStatus.PENDING, FileStatus.FAILED) if self._reader else ():
            assert self._reader is not None
            for file in self._reader.files(status):
                self.plan.files_owed += 1
                self.plan.bytes_owed += file.size

    async def _estimate_files(self) -> None:
        files = size = lists = through_api = 0
        for ref in self._sample:
            try:
                record = await self._figshare.record(ref.id, private=ref.private)
            except (GiveUp, TryAgain):
                continue
            self.plan.sampled += 1
            lists += record.file_list is not None
            placed = settle(record.article, {}, self._config.files)
            owed = [each.file for each in placed if each.status is FileStatus.PENDING]
            files += len(owed)
            size += sum(file.size for file in owed)
            through_api += len(owed) * ref.private
        if self.plan.sampled:
            share = self._unknown / self.plan.sampled
            self.plan.files_owed += round(files * share)
            self.plan.bytes_owed += round(size * share)
            self.plan.requests["api"] += round((lists + through_api) * share)
