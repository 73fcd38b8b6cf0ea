"""
Plan: counts the requests of a run and estimates its time; nothing is recorded or fetched.

The code of a run reads the listings and decides what is pending, on a copy of the ledger's state. Listings
contain no files, sizes and versions. So these are exact for items whose record is in the ledger, and
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

import anyio
from anyio import to_thread
from anyio.lowlevel import checkpoint

from harvester.client import Traffic
from harvester.config import Config
from harvester.config.keys import ALL, LATEST, STATISTICS_TASKS
from harvester.engine.activity import Activity
from harvester.engine.listing import Producer
from harvester.engine.progress import RunCounters
from harvester.errors import PermanentError, TransientError
from harvester.figshare.client_side_filters import is_wanted_by
from harvester.figshare.file_lists import requests_for
from harvester.figshare.listing_names import listing_name
from harvester.figshare.protocol import Figshare
from harvester.figshare.statistics import requests_per_item
from harvester.jobs.config_argument import checked
from harvester.jobs.output_folder import free_space
from harvester.jobs.plan_totals import Plan, Sampled
from harvester.jobs.run_spec import run_spec
from harvester.jobs.services import DEFAULT_HOOKS, RunHooks, connect
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RECORD
from harvester.models import ItemId, PendingItem, Record, RemoteFile
from harvester.states import FileStatus
from harvester.tasks.file_plan import plan_files
from harvester.tasks.record_access import Records, access_of
from harvester.tasks.wanted_versions import end_of_earlier, has_earlier, is_wanted, number_of
from harvester.text.wording import counted

AT_ONCE = 1000
"""Pending items that are read together."""


class Planner:
    """
    Reads the listings of a config into a copy of a ledger, and counts the requests of a run.

    `ledger`: on a copy of its state, see `Ledger.copied`.
    `traffic`: of the client of `figshare`; it counts the requests for the listings.
    """

    def __init__(
        self,
        config: Config,
        figshare: Figshare,
        traffic: Traffic,
        *,
        ledger: Ledger,
        sample_size: int,
        quick: bool = False,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.time,
        activity: Activity | None = None,
    ) -> None:
        self._activity = activity or Activity()
        self.plan = Plan(quick=quick)
        self._config = config
        self._figshare = figshare
        self._records = Records(figshare, access_of(config))
        self._traffic = traffic
        self._ledger = ledger
        self._sample_size = sample_size
        self._chance = chance or random.Random(0)
        self._spec = run_spec(config, quick=quick)
        today = datetime.fromtimestamp(clock(), UTC).date()
        self._price = {
            task: requests_per_item(task, config.stats, today)
            for task in STATISTICS_TASKS
            if task in self._spec.item_tasks
        }
        self._unread = 0
        self._sample: list[PendingItem] = []

    async def make(self) -> Plan:
        """
        Make the plan.

        Raises:
            UsageError: a list of names cannot be read, or the folder holds the private items of another
                account.
            Others: as the client raises if the API cannot be used at all.
        """
        plan = self.plan
        await self._read_listings()
        await self._add_items()
        await self._add_files()
        if RECORD in self._spec.item_tasks:
            await self._estimate()
        plan.requests["files"] = plan.files_pending
        rates = self._config.rate
        plan.seconds = {name: n / rates.at_most(name) for name, n in plan.requests.items()}
        plan.free_bytes = await to_thread.run_sync(free_space, self._config.folder)
        return plan

    # -- what the ledger decides ----------------------------------------------------------------------

    async def _read_listings(self) -> None:
        ledger, plan, counters = self._ledger, self.plan, RunCounters()
        before = Counter(self._traffic.requests)
        producer = Producer(
            ledger=ledger,
            figshare=self._figshare,
            sources=self._config.sources,
            tasks=self._spec.item_tasks,
            counters=counters,
            stopping=anyio.Event(),
            quick=self._spec.quick,
        )
        self._activity.begin(lambda: f"reading listings: {counted(counters.listed, 'entry', 'entries')}")
        await producer.prepare()
        await ledger.begin(self._spec)
        read = await producer.read()
        for name, number in (self._traffic.requests - before).items():
            plan.requests[name] += number
        plan.listed = counters.listed
        keys = [reading.key for _, reading in read]
        plan.items = await ledger.read(ledger.forecast.count_listed, keys)
        plan.client_side_filters = {
            listing.display_name: here for listing, _ in read if (here := list(listing.client_side_filters))
        }
        plan.vanished = len(await producer.requeue_vanished())
        await producer.warn_of_empty()
        plan.empty = counters.empty
        await ledger.flush()
        failed = await ledger.read(ledger.forecast.listing_failures)
        plan.incomplete = [f"{listing_name(subject)}: {error}" for subject, error in failed]

    async def _add_items(self) -> None:
        """Add the pending tasks of all items, listed now or not."""
        seq, pending = 0, Counter[str]()
        while items := await self._ledger.pending_items(seq, AT_ONCE):
            for item in items:
                tasks = item.tasks & self._spec.item_tasks
                self.plan.items_pending += bool(tasks)
                pending.update(tasks)
                if RECORD in tasks and not item.etag:  # else it is a conditional request
                    self._maybe_sample(item)
            seq = items[-1].seq
        self.plan.requests["api"] += pending[RECORD]
        self.plan.requests["stats"] += sum(pending[task] * price for task, price in self._price.items())

    def _maybe_sample(self, item: PendingItem) -> None:
        """Add an item to the sample with equal probability (reservoir sampling)."""
        self._unread += 1
        if len(self._sample) < self._sample_size:
            self._sample.append(item)
        elif (slot := self._chance.randrange(self._unread)) < self._sample_size:
            self._sample[slot] = item

    async def _add_files(self) -> None:
        """Add the pending files of known records, as far as they fit into `max_total`."""
        if self._spec.with_files:
            latest_only = self._config.versions == LATEST
            pending = await self._ledger.read(self._ledger.forecast.pending_files, latest_only)
            self.plan.files_pending, self.plan.bytes_pending, private = pending
            self.plan.requests["api"] += private

    # -- estimate from a sample of records ------------------------------------------------------------------

    async def _estimate(self) -> None:
        """Add the files and versions that pending records will make pending, by an estimate."""
        sampled = Sampled()
        for number, item in enumerate(self._sample, 1):
            self._activity.begin(partial("record {} of {} of the sample".format, number, len(self._sample)))
            with suppress(PermanentError, TransientError):
                await self._look_at(item, sampled)
        self.plan.sampled = sampled.records
        if not sampled.records:
            self.plan.files_known = not (self._unread and self._spec.with_files)
            return
        share = self._unread / sampled.records
        self.plan.requests["stats"] -= round(sampled.excluded * share) * sum(self._price.values())
        files, size = sampled.files * share, sampled.size * share
        left = self._ledger.forecast.bytes_left
        part = min(1.0, max(0, left) / size) if left is not None and size > 0 else 1.0
        self.plan.files_pending += round(files * part)
        self.plan.bytes_pending += round(size * part)
        self.plan.versions = round(sampled.versions * share)
        self.plan.requests["api"] += round((sampled.api + sampled.files_through_api * part) * share)

    async def _look_at(self, item: PendingItem, sampled: Sampled) -> None:
        record = await self._records.fetch(item)
        assert record is not None, "there is no ETag to compare with"
        sampled.records += 1
        sampled.api += requests_for(record) + self._records.needs_two_requests(item, record)
        if not is_wanted_by(record.raw, item.conditions, private=record.private):
            sampled.excluded += 1
            return
        ledger = self._ledger
        history = await ledger.histories.of_item(item, None, checkpoint)
        here = history.harvested.files if history.harvested else {}
        files = self._files_of(record, here, is_current=not item.version)
        added = await ledger.read(ledger.forecast.pending_of, item.item_key)
        fresh = [file for file in files if (file.id, file.md5, file.size) not in added]
        sampled.add_files(fresh, through_api=record.private)
        if not item.version:
            current = [*files, *(file for file, _ in here.values())]
            number = end_of_earlier(record.article)
            await self._look_at_versions(item.item_id, number, history.versions, current, sampled)

    async def _look_at_versions(
        self,
        item_id: ItemId,
        number: int,
        known: frozenset[int],
        current: Sequence[RemoteFile],
        sampled: Sampled,
    ) -> None:
        """Add the wanted earlier versions that are not `known`; `number`: of the current one."""
        wanted = self._config.versions
        if not has_earlier(number, wanted) or (wanted != ALL and known.issuperset(wanted)):
            return
        sampled.api += 1  # the list of versions
        earlier = [
            each
            for each in await self._figshare.versions(item_id) or ()
            if each < number and each not in known and is_wanted(each, wanted, is_current=False)
        ]
        sampled.versions += len(earlier)
        sampled.api += len(earlier)
        if earlier:
            version = self._chance.choice(earlier)
            await self._look_at_a_version(item_id, version, current, len(earlier), sampled)

    async def _look_at_a_version(
        self, item_id: ItemId, version: int, current: Sequence[RemoteFile], times: int, sampled: Sampled
    ) -> None:
        """
        Add all earlier versions, estimated from one.

        Files of the current version are not fetched twice.
        """
        record = await self._figshare.record(item_id, private=False, version=version)
        sampled.api += times * requests_for(record)
        here = {(file.md5, file.size) for file in current if file.md5}
        fresh = [file for file in self._files_of(record, {}) if (file.md5, file.size) not in here]
        sampled.add_files(fresh, times=times)

    def _files_of(
        self, record: Record, here: Mapping[int, tuple[RemoteFile, str]], *, is_current: bool = False
    ) -> list[RemoteFile]:
        """
        Return the files of a record that a run would fetch.

        `here`: see `plan_files`.
        """
        if not self._spec.with_files:
            return []
        number = number_of(record.article)
        wanted = not is_current or is_wanted(number, self._config.versions, is_current=True)
        placed = plan_files(record.article, here, self._config.files, is_wanted=wanted, own=record.private)
        return [each.file for each in placed if each.status is FileStatus.PENDING]


async def plan(
    config: Config,
    *,
    sample_size: int = 20,
    quick: bool = False,
    activity: Activity | None = None,
    hooks: RunHooks | None = None,
) -> Plan:
    """
    Return the plan of a run of this config; nothing is recorded.

    `quick`: of a quick run. `activity`: shows how far it is.
    """
    hooks = hooks or DEFAULT_HOOKS
    checked(config).check_for("plan")
    ledger = Ledger(config.folder, clock=hooks.wall_clock)
    async with connect(config, hooks) as connected, ledger.copied():
        return await Planner(
            config,
            connected.figshare,
            connected.client.traffic,
            ledger=ledger,
            sample_size=sample_size,
            quick=quick,
            clock=hooks.wall_clock,
            activity=activity,
        ).make()
