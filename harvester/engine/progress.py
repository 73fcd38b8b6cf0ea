"""Progress: the counters of a run, and snapshots of them for display."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harvester.client import Traffic
from harvester.client.limits import RateLimiter, RateStatistics
from harvester.text.redaction import REDACTOR

log = logging.getLogger(__name__)

MOST_WARNINGS = 100
LINE_EVERY_SECONDS = 10.0


@dataclass
class RunCounters:
    """
    The counters of one run.

    ``listed``: entries of listings.
    ``listing_ended``: all listings were read to their end, or failed.
    ``no_room``: the message of the last file that did not fit on the disk, "" for none.
    ``suspected``: items that may be withdrawn.
    ``empty``: a line for each source that has no items, and for filters that exclude everything.
    ``warnings``: messages for the user that are no failures, at most `MOST_WARNINGS`.
    """

    listed: int = 0
    listing_ended: bool = False
    items_pending: int = 0
    items_done: int = 0
    items_failed: int = 0
    files_pending: int = 0
    files_done: int = 0
    files_failed: int = 0
    no_room: str = ""
    suspected: int = 0
    empty: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def items_left(self) -> int:
        return max(0, self.items_pending - self.items_done - self.items_failed)

    @property
    def files_left(self) -> int:
        return max(0, self.files_pending - self.files_done - self.files_failed)

    def warn_empty(self, text: str) -> None:
        """Warn of a source without items, or of filters that exclude everything."""
        if text not in self.empty:
            self.empty.append(text)
            self.warn(text)

    def warn(self, text: str) -> None:
        """Log a warning and store it for the summary; the same text only once."""
        text = REDACTOR.text(text)
        if text in self.warnings:
            return
        log.warning("%s", text)
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)


@dataclass(frozen=True)
class ProgressSnapshot:
    """The counters of one run with its traffic and rates; ``began``: seconds of `clock`."""

    counters: RunCounters
    traffic: Traffic
    limiters: Mapping[str, RateLimiter]
    clock: Callable[[], float] = time.monotonic
    began: float = 0.0

    @property
    def seconds(self) -> float:
        return max(self.clock() - self.began, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """The estimated seconds for the rest at the rate so far; None before anything is done."""
        counters = self.counters
        waits = [0.0]
        for left, done in (
            (counters.items_left, counters.items_done + counters.items_failed),
            (counters.files_left, counters.files_done + counters.files_failed),
        ):
            if left and not done:
                return None
            waits.append(left * self.seconds / max(done, 1))
        return max(waits)

    def rates(self) -> dict[str, RateStatistics]:
        """Return the present rate of each service."""
        return {name: limiter.statistics() for name, limiter in self.limiters.items()}

    def requests_a_second(self, service: str) -> float:
        return self.traffic.requests[service] / self.seconds

    def state(self) -> dict[str, Any]:
        """Return everything that is displayed, for lines and logs."""
        counters, traffic = self.counters, self.traffic
        left = self.seconds_left
        return {
            "items_done": counters.items_done,
            "items_failed": counters.items_failed,
            "items_pending": counters.items_pending,
            "listing_ended": counters.listing_ended,
            "files_done": counters.files_done,
            "files_failed": counters.files_failed,
            "files_pending": counters.files_pending,
            "file_bytes": traffic.file_bytes,
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
            "seconds": round(self.seconds, 1),
            "seconds_left": None if left is None else round(left, 1),
        }
