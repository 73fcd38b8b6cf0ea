"""
What a run would ask, and how long that takes: nothing is recorded, nothing is fetched.

Items are counted by reading the listings. Listings tell no files, sizes and versions, so these are exact for
items whose record is in the ledger, and otherwise estimated from a sample of records.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from harvester.client import Traffic
from harvester.config import Config
from harvester.errors import GiveUp, TryAgain
from harvester.figshare.api import Figshare
from harvester.figshare.statistics import requests_per_item
from harvester.ledger.reading import Reader
from harvester.models import ItemRef, Record, RemoteFile
from harvester.sources import Counted, Listing, changed_since
from harvester.states import FileStatus
from harvester.survey import Survey
from harvester.tasks import item_task_names
from harvester.tasks.metadata import is_wanted, settle

SERVICES = ("api", "stats", "files")
STATISTICS = ("stats", "timeline", "breakdown")
"""The tasks that ask the stats service."""
_UNKNOWN: tuple[str | None, frozenset[str]] = (None, frozenset())
"""What the ledger says of an item that it does not know: its modified date, the tasks that are done."""


@dataclass
class Plan:
    """
    What is to be asked for; ``requests`` by service, bytes and seconds as numbers.

    ``vanished``: items harvested before that no listing names any more; each is asked for once more.
    ``versions``: those to be harvested besides. ``sampled``: from how many records files, bytes and versions
    of the other items were estimated. ``filtered_here``: a listing's key to the filters that figshare does
    not take for it, so that all of it is read.
    """

    listed: int = 0
    items: int = 0
    items_owed: int = 0
    vanished: int = 0
    versions: int = 0
    files_owed: int = 0
    bytes_owed: int = 0
    sampled: int = 0
    quick: bool = False
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0))
    seconds: dict[str, float] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    filtered_here: dict[str, list[str]] = field(default_factory=dict)

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
            "items_vanished": self.vanished,
            "versions_owed": self.versions,
            "files_owed": self.files_owed,
            "bytes_owed": self.bytes_owed,
            "sampled_records": self.sampled,
            "quick": self.quick,
            "requests": self.requests,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "seconds_at_least": round(max(self.seconds.values()), 1),
            "binding_service": self.binding,
            "incomplete_listings": self.incomplete,
            "filtered_here": self.filtered_here,
        }


@dataclass
class _Sampled:
    """What a sample of records told, added up."""

    records: int = 0
    api: float = 0.0
    versions: float = 0.0
    files: float = 0.0
    size: float = 0.0
    files_through_api: float = 0.0

    def add_files(self, files: Sequence[RemoteFile], *, through_api: bool = False, times: int = 1) -> None:
        self.files += times * len(files)
        self.size += times * sum(file.size for file in files)
        self.files_through_api += times * len(files) * through_api


class Planner:
    """
    Reads the listings of a config and adds up what a run would ask now.

    `traffic`: of the client that `figshare` asks with; what the listings cost is read there.
    """

    def __init__(
        self,
        config: Config,
        figshare: Figshare,
        traffic: Traffic,
        *,
        reader: Reader | None,
        sample_size: int,
        quick: bool = False,
        chance: random.Random | None = None,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self.plan = Plan(quick=quick)
        self._config = config
        self._figshare = figshare
        self._traffic = traffic
        self._reader = reader
        self._sample_size = sample_size
        self._chance = chance or random.Random(0)
        self._tasks = frozenset(item_task_names(config.tasks))
        self._price = {
            task: requests_per_item(task, config.stats, today()) for task in STATISTICS if task in self._tasks
        }
        self._keys: list[str] = []
        self._room = self._room_left()
        self._unknown = 0
        self._sample: list[ItemRef] = []

    async def make(self) -> Plan:
        """
        Make the plan.

        Raises what the client raises when the api cannot be used at all.
        """
        plan = self.plan
        await self._read_listings()
        if "files" in self._config.tasks:
            self._count_known_files()
        if "metadata" in self._tasks:
            await self._estimate()
        plan.requests["files"] = plan.files_owed
        rates = self._config.rate
        plan.seconds = {name: n / rates.at_most(name) for name, n in plan.requests.items()}
        return plan

    # -- the listings ---------------------------------------------------------------------------------

    async def _read_listings(self) -> None:
        before = Counter(self._traffic.requests)
        survey = Survey(self._figshare, narrow=self._note)
        async for refs in survey.pages(self._config.sources):
            self._add(refs)
        for listing in survey.whole:
            if isinstance(listing, Counted):  # a run compares the two numbers
                with suppress(GiveUp, TryAgain):
                    await listing.count(self._figshare)
        for name, number in (self._traffic.requests - before).items():
            self.plan.requests[name] += number
        self.plan.listed, self.plan.items = survey.listed, survey.items
        self.plan.incomplete = survey.incomplete
        if self._reader and not self.plan.quick and not survey.incomplete:
            self._count_vanished(survey)

    def _note(self, listing: Listing) -> Listing:
        """Take note of a listing that is about to be read, and say which one is, in its place."""
        self._keys.append(listing.key)
        if here := list(listing.filtered_here):
            self.plan.filtered_here[listing.key] = here
        mark = self._reader.mark(listing.key) if self._reader and self.plan.quick else ""
        return changed_since(listing, mark) or listing

    def _add(self, refs: Sequence[ItemRef]) -> None:
        items = [ref.id for ref in refs if not ref.version]
        known = self._reader.known(items) if self._reader and items else {}
        for ref in refs:
            modified, done = self._known_version(ref) if ref.version else known.get(ref.id, _UNKNOWN)
            owed = (self._tasks & {"metadata"} if ref.version else self._tasks) - done
            is_known = "metadata" in self._tasks & done
            may_have_changed = is_known and ref.modified_date is None
            if is_known and (ref.modified_date or "") > (modified or ""):
                owed |= {"metadata"}
            self.plan.items_owed += bool(owed) or may_have_changed
            self.plan.requests["api"] += "metadata" in owed or may_have_changed
            self.plan.requests["stats"] += sum(self._price.get(task, 0) for task in owed)
            if "metadata" in owed:
                self._maybe_sample(ref)

    def _known_version(self, ref: ItemRef) -> tuple[str | None, frozenset[str]]:
        if self._reader and self._reader.knows_version(ref.id, ref.version):
            return None, frozenset({"metadata"})
        return _UNKNOWN

    def _maybe_sample(self, ref: ItemRef) -> None:
        """Keep every item with the same chance, without keeping them all."""
        self._unknown += 1
        if len(self._sample) < self._sample_size:
            self._sample.append(ref)
        elif (slot := self._chance.randrange(self._unknown)) < self._sample_size:
            self._sample[slot] = ref

    def _room_left(self) -> int | None:
        """Tell how many bytes of files may still come, None where there is no limit."""
        if not self._config.files.max_total:
            return None
        done = self._reader.counts()["files"].get("done", {"bytes": 0}) if self._reader else {"bytes": 0}
        return max(0, int(self._config.files.max_total) - int(done["bytes"]))

    # -- what the ledger knows ------------------------------------------------------------------------

    def _count_vanished(self, survey: Survey) -> None:
        """Count what listings named before and name no more: a run asks whether it is gone."""
        assert self._reader is not None
        before = (item_id for item_id in self._reader.listed_before(self._keys) if item_id > 0)  # no versions
        gone = sum(not survey.has_named(item_id) for item_id in before)
        self.plan.vanished = gone
        self.plan.items_owed += gone
        self.plan.requests["api"] += gone

    def _count_known_files(self) -> None:
        """Count the files that are owed already, as far as there is room for them."""
        for status in (FileStatus.PENDING, FileStatus.FAILED) if self._reader else ():
            assert self._reader is not None
            for file in self._reader.files(status):
                if self._room is None or file.size <= self._room:
                    self._take(1, file.size)

    # -- what a sample of records tells ---------------------------------------------------------------

    async def _estimate(self) -> None:
        """Add what the records that are owed will make owed in their turn."""
        sampled = _Sampled()
        for ref in self._sample:
            with suppress(GiveUp, TryAgain):
                await self._look_at(ref, sampled)
        self.plan.sampled = sampled.records
        if not sampled.records:
            return
        share = self._unknown / sampled.records
        files, size = sampled.files * share, sampled.size * share
        part = min(1.0, self._room / size) if self._room is not None and size else 1.0
        self._take(round(files * part), round(size * part))
        self.plan.versions = round(sampled.versions * share)
        self.plan.requests["api"] += round((sampled.api + sampled.files_through_api * part) * share)

    async def _look_at(self, ref: ItemRef, sampled: _Sampled) -> None:
        record = await self._figshare.record(ref.id, private=ref.private, version=ref.version)
        sampled.records += 1
        sampled.api += record.file_list is not None
        is_current = not ref.version
        files = self._files_of(record, is_current=is_current)
        sampled.add_files(files, through_api=ref.private)
        number = record.article.version
        wanted = self._config.versions
        earlier = [each for each in range(1, number) if is_wanted(each, wanted, is_current=False)]
        if is_current and earlier:
            sampled.versions += len(earlier)
            sampled.api += 1 + len(earlier)  # the list of them, and each one's record
            await self._look_at_a_version(ref, self._chance.choice(earlier), files, len(earlier), sampled)

    async def _look_at_a_version(
        self, ref: ItemRef, version: int, current: Sequence[RemoteFile], times: int, sampled: _Sampled
    ) -> None:
        """Let one version stand for all; a file that the current one has too is not fetched twice."""
        record = await self._figshare.record(ref.id, private=False, version=version)
        sampled.api += times * (record.file_list is not None)
        here = {(file.md5, file.size) for file in current if file.md5}
        fresh = [file for file in self._files_of(record) if (file.md5, file.size) not in here]
        sampled.add_files(fresh, times=times)

    def _files_of(self, record: Record, *, is_current: bool = False) -> list[RemoteFile]:
        """Return the files of a record that a run would fetch; of an earlier version, one that is wanted."""
        if "files" not in self._config.tasks:
            return []
        wanted = not is_current or is_wanted(record.article.version, self._config.versions, is_current=True)
        placed = settle(record.article, {}, self._config.files, is_wanted=wanted)
        return [each.file for each in placed if each.status is FileStatus.PENDING]

    def _take(self, files: int, size: int) -> None:
        self.plan.files_owed += files
        self.plan.bytes_owed += size
        if self._room is not None:
            self._room -= size
