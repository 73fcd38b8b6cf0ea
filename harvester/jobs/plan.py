"""
What a run would ask, and how long that takes: nothing is recorded, nothing is fetched.

Items are counted by reading the listings; what the ledger owes counts too, whether they name it or not.
Listings tell no files, sizes and versions, so these are exact for items whose record is in the ledger, and
otherwise estimated from a sample of records.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from msgspec.structs import replace

from harvester.client import Traffic
from harvester.config import Config
from harvester.config.keys import ALL, LATEST
from harvester.engine.dry_run import DryRunReader
from harvester.engine.listing import changed_since
from harvester.errors import PermanentError, TransientError
from harvester.figshare.client_side_filters import is_wanted_by
from harvester.figshare.file_lists import requests_for
from harvester.figshare.filters import TO_THE_SECOND
from harvester.figshare.protocol import Figshare, Listing
from harvester.figshare.statistics import requests_per_item
from harvester.jobs.plan_totals import Plan, Sampled
from harvester.jobs.services import DEFAULT_HOOKS, RunHooks, connect
from harvester.jobs.task_params import task_params
from harvester.ledger.database.connection import exists
from harvester.ledger.forecast import ItemState, KnownFile
from harvester.ledger.reader import Reader
from harvester.models import FileStatus, ItemId, ItemKey, ItemRef, Record, RemoteFile, key_of
from harvester.plugins import item_task_names
from harvester.tasks.file_plan import full_name, plan_files
from harvester.tasks.record_access import SampleRecords, access_of
from harvester.tasks.wanted_versions import end_of_earlier, has_earlier, is_wanted, number_of

STATISTICS = ("stats", "timeline", "breakdown")
"""The tasks that ask the stats service."""


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.plan = Plan(quick=quick)
        self._config = config
        self._figshare = figshare
        self._records = SampleRecords(figshare, access_of(config))
        self._traffic = traffic
        self._reader = reader
        self._sample_size = sample_size
        self._chance = chance or random.Random(0)
        self._tasks = frozenset(item_task_names(config.tasks))
        now = clock()
        self._forecast = reader.forecast(self._tasks, task_params(config), now) if reader else None
        today = datetime.fromtimestamp(now, UTC).date()
        self._price = {
            task: requests_per_item(task, config.stats, today) for task in STATISTICS if task in self._tasks
        }
        self._keys: list[str] = []
        self._room = self._room_left()
        self._owed: Counter[str] = Counter()
        self._unread = 0
        self._sample: list[ItemRef] = []
        self._counting: set[ItemId] = set()

    async def make(self) -> Plan:
        """
        Make the plan.

        Raises what the client raises when the api cannot be used at all.
        """
        plan = self.plan
        self._add_what_is_owed()
        await self._read_listings()
        plan.requests["api"] += self._owed["metadata"]
        plan.requests["stats"] += sum(self._owed[task] * price for task, price in self._price.items())
        if "files" in self._config.tasks:
            self._add_known_files()
        if "metadata" in self._tasks:
            await self._estimate()
        plan.requests["files"] = plan.files_pending
        rates = self._config.rate
        plan.seconds = {name: n / rates.at_most(name) for name, n in plan.requests.items()}
        return plan

    # -- the listings ---------------------------------------------------------------------------------

    async def _read_listings(self) -> None:
        before = Counter(self._traffic.requests)
        dry_run = DryRunReader(self._figshare, narrow=self._note)
        if any(source.private for source in self._config.sources):
            with suppress(PermanentError, TransientError):  # a run compares whose items they are
                await self._figshare.account()
        await dry_run.read(self._config.sources, partial(self._add, dry_run))
        for listing in dry_run.whole:
            with suppress(PermanentError, TransientError):  # a run compares the two numbers
                await listing.count(self._figshare)
        for name, number in (self._traffic.requests - before).items():
            self.plan.requests[name] += number
        self.plan.listed, self.plan.items = dry_run.listed, dry_run.items
        self.plan.incomplete = dry_run.incomplete
        if not self.plan.quick and not dry_run.incomplete and "metadata" in self._tasks:
            self._add_vanished(dry_run)

    def _note(self, listing: Listing) -> Listing:
        """Take note of a listing that is about to be read, and say which one is, in its place."""
        self._keys.append(listing.key)
        if here := list(listing.client_side_filters):
            self.plan.client_side_filters[listing.key] = here
        watermark = self._reader.watermark(listing.key) if self._reader and self.plan.quick else ""
        return changed_since(listing, watermark) or listing

    async def _add(self, dry_run: DryRunReader, refs: Sequence[ItemRef]) -> None:
        """Add what the items of a page owe beyond what the ledger says."""
        states = self._forecast.states(refs) if self._forecast else {}
        counted = self._forecast.counted([ref.id for ref in refs]) if self._forecast else frozenset[ItemId]()
        for ref in refs:
            if known := states.get((ref.id, ref.version)):
                self._add_changed(ref, known)
                continue
            is_counted = ref.id in counted or not self._counts(ref, dry_run)
            tasks = self._tasks & {"metadata"} if is_counted else self._tasks
            self.plan.items_pending += bool(tasks)
            self._owed.update(tasks)
            if "metadata" in tasks:
                self._maybe_sample(ref)

    def _counts(self, ref: ItemRef, dry_run: DryRunReader) -> bool:
        """Tell whether this is the first that is named of an item, whose statistics are asked for once."""
        if ref.id in self._counting or (ref.version and dry_run.has_listed(ItemRef(ref.id))):
            return False
        if ref.version:
            self._counting.add(ref.id)
        return True

    def _add_changed(self, ref: ItemRef, known: ItemState) -> None:
        """Add the record of a known item, unless it is owed already, where a run would ask for it again."""
        if "metadata" not in self._tasks - known.owed:
            return
        listed, here = (ref.modified_date or "")[:TO_THE_SECOND], known.modified_date[:TO_THE_SECOND]
        is_newer = ref.private > known.private or listed > max(here, known.listed_date[:TO_THE_SECOND])
        if is_newer or known.withdrawn or listed > max(here, known.settled) or ref.modified_date is None:
            self.plan.items_pending += not known.owed
            self._owed["metadata"] += 1
            if is_newer or known.withdrawn or not known.has_etag:
                self._maybe_sample(replace(ref, private=ref.private or known.private))

    def _maybe_sample(self, ref: ItemRef) -> None:
        """Keep every item with the same chance, without keeping them all."""
        self._unread += 1
        if len(self._sample) < self._sample_size:
            self._sample.append(ref)
        elif (slot := self._chance.randrange(self._unread)) < self._sample_size:
            self._sample[slot] = ref

    # -- what the ledger knows ------------------------------------------------------------------------

    def _add_what_is_owed(self) -> None:
        """Add what items of the ledger owe, whether a listing names them or not."""
        if self._forecast is None:
            return
        self.plan.items_pending, self._owed = self._forecast.owed()
        if self._owed["metadata"]:
            for ref in self._forecast.records():
                self._maybe_sample(ref)

    def _add_vanished(self, dry_run: DryRunReader) -> None:
        """Add what listings named before and name no more: a run asks whether it is gone."""
        before = self._forecast.listed_before(self._keys) if self._forecast else ()
        gone = [ref for ref in before if not dry_run.has_listed(ref)]
        states = self._forecast.states(gone) if self._forecast else {}
        asked = [known for known in states.values() if "metadata" not in known.owed]
        self.plan.vanished = len(gone)
        self.plan.items_pending += sum(not known.owed for known in asked)
        self._owed["metadata"] += len(asked)

    def _room_left(self) -> int | None:
        """Tell how many bytes of files may still come, None where there is no limit."""
        if not self._config.files.max_total:
            return None
        return int(self._config.files.max_total) - (self._forecast.bytes_here() if self._forecast else 0)

    def _use_room(self, size: int) -> None:
        if self._room is not None:
            self._room -= size

    def _add_known_files(self) -> None:
        """Add the files that are not here, as far as the rules take them and there is room for them."""
        coming: dict[tuple[ItemId, str, int], ItemKey] = {}
        is_limited = self._room is not None
        for known in self._forecast.open_files(in_order=is_limited) if self._forecast else ():
            size = known.file.size
            if not self._is_wanted(known) or (self._room is not None and size > self._room):
                continue
            self._use_room(size)
            if not self._is_linked(known, coming):
                self.plan.files_pending += 1
                self.plan.bytes_pending += size
                self.plan.requests["api"] += known.private

    def _is_wanted(self, known: KnownFile) -> bool:
        return known.is_open and self._config.files.accepts(full_name(known.file), known.file.size)

    def _is_linked(self, known: KnownFile, coming: dict[tuple[ItemId, str, int], ItemKey]) -> bool:
        """Tell whether another version of its item has the same bytes; `coming`: those to be fetched."""
        file, is_current = known.file, known.item_key == key_of(known.item_id)
        if not (known.has_twins and file.md5) or (is_current and self._config.versions == LATEST):
            return False
        assert self._forecast is not None
        first = coming.setdefault((known.item_id, file.md5, file.size), known.item_key)
        return first != known.item_key or self._forecast.has_twin(file, known.item_id, known.item_key)

    # -- what a sample of records tells ---------------------------------------------------------------

    async def _estimate(self) -> None:
        """Add what the records that are owed will make owed in their turn."""
        sampled = Sampled()
        for ref in self._sample:
            with suppress(PermanentError, TransientError):
                await self._look_at(ref, sampled)
        self.plan.sampled = sampled.records
        if not sampled.records:
            self.plan.files_known = not self._unread or "files" not in self._config.tasks
            return
        share = self._unread / sampled.records
        self.plan.requests["stats"] -= round(sampled.excluded * share) * sum(self._price.values())
        files, size = sampled.files * share, sampled.size * share
        part = min(1.0, max(0, self._room) / size) if self._room is not None and size > 0 else 1.0
        self.plan.files_pending += round(files * part)
        self.plan.bytes_pending += round(size * part)
        self.plan.versions = round(sampled.versions * share)
        self.plan.requests["api"] += round((sampled.api + sampled.files_through_api * part) * share)

    async def _look_at(self, ref: ItemRef, sampled: Sampled) -> None:
        record = await self._records.fetch(ref)
        sampled.records += 1
        sampled.api += requests_for(record) + self._records.needs_two_requests(ref, record)
        conditions = (ref.condition,) if ref.condition else ()
        if not is_wanted_by(record.raw, conditions, private=record.private):
            sampled.excluded += 1
            return
        before = self._forecast.files_of(ref) if self._forecast else []
        here = {each.file.id: (each.file, each.path) for each in before if each.status is FileStatus.DONE}
        files = self._files_of(record, here, is_current=not ref.version)
        added = {_bytes_of(known.file) for known in before if self._is_wanted(known)}
        sampled.add_files(
            [each for each in files if _bytes_of(each) not in added], through_api=record.private
        )
        if not ref.version:
            current = [*files, *(file for file, _ in here.values())]
            await self._look_at_versions(ref, end_of_earlier(record.article), current, sampled)

    async def _look_at_versions(
        self, ref: ItemRef, number: int, current: Sequence[RemoteFile], sampled: Sampled
    ) -> None:
        """Look at the earlier versions that are wanted and not here; `number`: of the current one."""
        wanted = self._config.versions
        known = self._forecast.versions(ref.id) if self._forecast else frozenset[ItemId]()
        if not has_earlier(number, wanted) or (wanted != ALL and known.issuperset(wanted)):
            return
        sampled.api += 1  # the list of them
        earlier = [
            each
            for each in await self._figshare.versions(ref.id) or ()
            if each < number and each not in known and is_wanted(each, wanted, is_current=False)
        ]
        sampled.versions += len(earlier)
        sampled.api += len(earlier)
        if earlier:
            await self._look_at_a_version(ref, self._chance.choice(earlier), current, len(earlier), sampled)

    async def _look_at_a_version(
        self, ref: ItemRef, version: int, current: Sequence[RemoteFile], times: int, sampled: Sampled
    ) -> None:
        """Let one version stand for all; a file that the current one has too is not fetched twice."""
        record = await self._figshare.record(ref.id, private=False, version=version)
        sampled.api += times * requests_for(record)
        here = {(file.md5, file.size) for file in current if file.md5}
        fresh = [file for file in self._files_of(record, {}) if (file.md5, file.size) not in here]
        sampled.add_files(fresh, times=times)

    def _files_of(
        self, record: Record, here: Mapping[int, tuple[RemoteFile, str]], *, is_current: bool = False
    ) -> list[RemoteFile]:
        """
        Return the files of a record that a run would fetch; of an earlier version, one that is wanted.

        `here`: see `plan_files`.
        """
        if "files" not in self._config.tasks:
            return []
        number = number_of(record.article)
        wanted = not is_current or is_wanted(number, self._config.versions, is_current=True)
        placed = plan_files(record.article, here, self._config.files, is_wanted=wanted, own=record.private)
        return [each.file for each in placed if each.status is FileStatus.PENDING]


def _bytes_of(file: RemoteFile) -> tuple[int, str | None, int]:
    """Tell a file as it is from what it was."""
    return file.id, file.md5, file.size


async def make_plan(
    config: Config, *, sample_size: int = 20, quick: bool = False, hooks: RunHooks = DEFAULT_HOOKS
) -> Plan:
    """Tell what a run of this config, or a `quick` one, would ask now; nothing is recorded."""
    config.check_for("plan")
    async with connect(config, hooks) as connected:
        reader = Reader(config.folder) if exists(config.folder) else None
        try:
            return await Planner(
                config,
                connected.figshare,
                connected.client.traffic,
                reader=reader,
                sample_size=sample_size,
                quick=quick,
                clock=hooks.wall_clock,
            ).make()
        finally:
            if reader is not None:
                reader.close()
