"""Progress: the counters of a run, and snapshots of them for display; they cover the whole folder."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio

from harvester.client import BYTES, Traffic, Transfer
from harvester.client.limits import RateLimiter, RateStatistics
from harvester.engine.failure_log import FailureLog
from harvester.engine.time_left import SAMPLE_EVERY_SECONDS, Allowed, Meter, Sample
from harvester.engine.workload import Found, Pending, Stages, Workload, estimate
from harvester.system.id_set import IdSet
from harvester.text.redaction import REDACTOR

log = logging.getLogger(__name__)

MOST_WARNINGS = 100
LINE_EVERY_SECONDS = 10.0
WAITS_AFTER_SECONDS = 5.0
"""A service that has not answered for this time is waited for."""
MOST_TRANSFERS = 3
"""The largest files in transfer are shown."""


@dataclass(frozen=True)
class Before:
    """What was here when a run began: items, files and bytes that are done."""

    items: int = 0
    files: int = 0
    bytes: int = 0


@dataclass
class RunCounters:
    """
    The counters of one run.

    ``before``: what earlier runs have done.
    ``listed``: entries of listings. ``entries_left``: those to come of listings whose length is known.
    ``listing_ended``: all listings were read to their end, or failed.
    ``stopping``: the run takes no new work.
    ``bytes_done``: of finished files. ``bytes_left``: of known files that are not finished.
    ``firsts_seen``: processed items, without those that are one version of another item.
    ``versions_found``, ``files_found``, ``bytes_found``: what processed items have added to the work.
    ``no_room``: the message of the last file that did not fit on the disk, "" for none.
    ``files_without_room``: their number.
    ``suspected``: items that may be withdrawn.
    ``empty``: a line for each source that has no items, and for filters that exclude everything.
    ``warnings``: messages for the user that are no failures, at most `MOST_WARNINGS`.
    ``stages``: the requests of listings, items and files.
    ``failures``: logs them.
    ``keys_done``, ``keys_failed``: of the items that are counted; one may be processed several times.
    """

    before: Before = Before()
    listed: int = 0
    entries_left: int = 0
    listing_ended: bool = False
    stopping: bool = False
    items_pending: int = 0
    items_done: int = 0
    items_failed: int = 0
    files_pending: int = 0
    files_done: int = 0
    files_failed: int = 0
    bytes_done: int = 0
    bytes_left: int = 0
    firsts_seen: int = 0
    versions_found: int = 0
    files_found: int = 0
    bytes_found: int = 0
    no_room: str = ""
    files_without_room: int = 0
    suspected: int = 0
    empty: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)
    failures: FailureLog = field(default_factory=FailureLog)
    keys_done: IdSet = field(default_factory=IdSet)
    keys_failed: IdSet = field(default_factory=IdSet)

    @property
    def items_left(self) -> int:
        return max(0, self.items_pending - self.items_done - self.items_failed)

    @property
    def files_left(self) -> int:
        return max(0, self.files_pending - self.files_done - self.files_failed)

    def add_listed(self, new: int, requeued: Sequence[int]) -> None:
        """Count items that listings have added to the work; `requeued`: known ones, by their keys."""
        again = sum(key not in self.keys_done and key not in self.keys_failed for key in requeued)
        self.items_pending += new + again
        self.before = replace(self.before, items=max(0, self.before.items - again))

    def count_item(self, key: int, *, is_version: bool, has_failed: bool) -> None:
        """Count the result of an item once, however often it is processed; a failure stays one."""
        was_done, was_failed = key in self.keys_done, key in self.keys_failed
        self.firsts_seen += not (is_version or was_done or was_failed)
        if was_failed or (was_done and not has_failed):
            return
        (self.keys_failed if has_failed else self.keys_done).add(key)
        if not has_failed:
            self.items_done += 1
            return
        self.items_failed += 1
        self.items_done -= was_done
        self.keys_done.discard(key)

    def retry_items(self, number: int) -> None:
        """Count failed items as pending again."""
        self.items_failed -= number
        self.keys_failed.clear()

    def add_versions(self, number: int) -> None:
        """Count versions that an item has added to the work."""
        self.items_pending += number
        self.versions_found += number

    def add_files(self, number: int, size: int) -> None:
        """Count files that an item has added to the work, and their bytes."""
        self.files_pending += number
        self.files_found += number
        self.bytes_left += size
        self.bytes_found += size

    def workload(self, received: int) -> Workload | None:
        """Estimate what is to come, None if nothing is known; `received`: bytes of unfinished files."""
        if not (self.items_pending or self.files_pending or self.entries_left):
            return None
        pending = Pending(
            self.entries_left,
            self.items_pending / self.listed if self.listed else 1.0,
            self.items_left,
            self.files_left,
            max(0, self.bytes_left - received),
        )
        items = self.stages.items.finished
        found = Found(items, self.firsts_seen, self.versions_found, self.files_found, self.bytes_found)
        return estimate(pending, found, self.stages)

    def warn_empty(self, text: str) -> None:
        """Warn of a source without items, or of filters that exclude everything."""
        if text not in self.empty:
            self.empty.append(text)
            self.warn(text)

    def warn_of_item(self, text: str) -> None:
        """Warn of one item or entry: as there may be many, only the first ones are logged."""
        self._store(text, self.failures.warn_of_item)

    def warn(self, text: str) -> None:
        """Log a warning and store it for the summary; the same text only once."""
        self._store(text, functools.partial(log.warning, "%s"))

    def _store(self, text: str, write: Callable[[str], object]) -> None:
        text = REDACTOR.text(text)
        if text in self.warnings:
            return
        write(text)
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


@dataclass(frozen=True)
class ProgressSnapshot:
    """
    The counters of one run with its traffic and rates, as they are at the moment.

    ``clock``: seconds. ``began``: when, by this clock. ``meter``: see `keep_measuring`.
    ``missing``: returns for how long each service has not answered, without those that answer.
    """

    counters: RunCounters
    traffic: Traffic
    limiters: Mapping[str, RateLimiter]
    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    meter: Meter = field(default_factory=Meter)
    missing: Callable[[], Mapping[str, float]] = dict

    @property
    def seconds(self) -> float:
        return max(self.clock() - self.began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds for the rest; None before anything was answered."""
        return None if self.counters.stopping else self.meter.seconds_left(self.clock())

    @property
    def workload(self) -> Workload | None:
        """The estimate of what is still to come, None if nothing is known."""
        received = sum(transfer.received for transfer in self.traffic.transfers.values())
        return self.counters.workload(received)

    @property
    def transfers(self) -> list[Transfer]:
        """The files of which bytes are here, and more are received; the largest are first."""
        receiving = [transfer for transfer in self.traffic.transfers.values() if transfer.received]
        return sorted(receiving, key=lambda transfer: transfer.size, reverse=True)

    @property
    def bytes_a_second(self) -> float:
        """The speed of all downloads in the last seconds."""
        return self.meter.per_second(BYTES) or 0.0

    async def keep_measuring(self) -> None:
        """Measure the rates and estimate the time left every second, until cancelled."""
        while True:
            self.measure()
            await anyio.sleep(SAMPLE_EVERY_SECONDS)

    def measure(self) -> None:
        """Take a sample of the counters, and estimate the time left again."""
        traffic, names = self.traffic, (*self.limiters, BYTES)
        done = {**traffic.answered(), BYTES: traffic.file_bytes}
        used = {name: traffic.usage.seconds(name) for name in names}
        self.meter.add(Sample(self.clock(), done, used))
        if self.waiting_seconds():
            self.meter.wait()
            return
        answered = traffic.requests.total() > traffic.errors.total()
        workload = self.workload if answered else None
        to_come = None if workload is None else {**workload.requests, BYTES: workload.bytes}
        allowed = {name: Allowed(rate.per_second, rate.paused_seconds) for name, rate in self.rates().items()}
        self.meter.update(to_come, allowed)

    def waiting_seconds(self) -> dict[str, float]:
        """Return for how long each service is waited for: it is needed, and does not answer."""
        missing = {
            name: seconds for name, seconds in self.missing().items() if seconds >= WAITS_AFTER_SECONDS
        }
        if self.bytes_a_second:
            missing.pop("files", None)  # others of its connections work
        if not missing:
            return {}
        workload, lists = self.workload, not self.counters.listing_ended
        return {
            name: seconds
            for name, seconds in missing.items()
            if workload is None or workload.requests.get(name) or (name == "api" and lists)
        }

    def rates(self) -> dict[str, RateStatistics]:
        """Return the present rate of each service."""
        return {name: limiter.statistics() for name, limiter in self.limiters.items()}

    def requests_a_second(self, service: str) -> float:
        """Return the present rate of answered requests to a service; at first, that since the start."""
        rate = self.meter.per_second(service)
        return self.traffic.answered()[service] / self.seconds if rate is None else rate

    def state(self) -> dict[str, Any]:
        """Return everything that is displayed, for lines and logs."""
        counters, traffic, workload = self.counters, self.traffic, self.workload
        left = self.seconds_left
        return {
            "items_before": counters.before.items,
            "items_done": counters.items_done,
            "items_failed": counters.items_failed,
            "items_pending": counters.items_pending,
            "listing_ended": counters.listing_ended,
            "files_before": counters.before.files,
            "files_done": counters.files_done,
            "files_failed": counters.files_failed,
            "files_pending": counters.files_pending,
            "files_to_come": None if workload is None else round(workload.files),
            "file_bytes": traffic.file_bytes,
            "file_bytes_before": counters.before.bytes,
            "file_bytes_to_come": None if workload is None else round(workload.bytes),
            "file_bytes_per_second": round(self.bytes_a_second),
            "transfers": [
                {"path": each.path, "size": each.size, "received": each.received}
                for each in self.transfers[:MOST_TRANSFERS]
            ],
            "requests": dict(traffic.requests),
            "errors": dict(traffic.errors),
            "rates": {
                name: round(rate.per_second, 3)
                for name, rate in self.rates().items()
                if math.isfinite(rate.per_second)
            },
            "paused_seconds": {
                name: round(rate.paused_seconds, 1)
                for name, rate in self.rates().items()
                if rate.paused_seconds
            },
            "waiting_seconds": {name: round(seconds, 1) for name, seconds in self.waiting_seconds().items()},
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }
