"""Rate limiter of one process: who may start when several wait, one queue for each service."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

import anyio

from harvester.client.limits.rate import Rate
from harvester.client.limits.rate_limiter import Outcome, RateStatistics
from harvester.client.retry import backoff_seconds
from harvester.system.log_events import event
from harvester.text.repeats import is_milestone, is_shown

log = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 60.0
LONG_PAUSE_SECONDS = 10.0
"""A pause of this length is always logged, of shorter ones only the first: "auto" causes some every hour."""


class Limiter:
    """
    The rate limiter of one service. First come, first served; waiting can be cancelled.

    `longest_pause`: seconds; the longest pause after a throttled request without a `Retry-After`.
    """

    def __init__(
        self,
        name: str,
        rate: Rate | float,
        *,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.name = name
        self.rate = rate if isinstance(rate, Rate) else Rate(rate)
        self._longest_pause = longest_pause
        self._throttled = 0  # in a row; those of one burst count once
        self._pauses = 0
        self._clock = clock
        self._sleep = sleep
        # Requests queue for `_queue`. The first of it, or of another service's queue that needs this one too,
        # holds `_front`. So a request for two services waits for at most one other here, and it holds up no
        # request here while it waits there, for its place in the queue or until that service is due.
        self._queue = anyio.Lock(fast_acquire=True)
        self._front = anyio.Lock(fast_acquire=True)

    def statistics(self) -> RateStatistics:
        """Return what is allowed at the moment."""
        paused = max(0.0, self.rate.paused_until - self._clock())
        return RateStatistics(self.rate.per_second, self.rate.configured, paused)

    def report(self, outcome: Outcome) -> None:
        """
        Take the outcome of a request.

        A throttled one pauses the service and lowers its rate, see `Rate`.
        """
        if not outcome.throttle_reason:
            self._throttled = 0
            self.rate.recover(outcome.started)
            return
        self._throttled += self.rate.is_news(outcome.started)
        pause = outcome.retry_after
        if pause is None:
            pause = backoff_seconds(self._throttled, self._longest_pause)
        if self.rate.throttle(self._clock(), outcome.started, pause):
            self._pauses += 1
            log.log(
                _level(self._pauses, pause),
                "%s: %s pauses for %.1f s, then %.3g requests a second (pause %d)",
                outcome.throttle_reason, self.name, pause, self.rate.per_second, self._pauses,
                extra=event("pause", service=self.name, seconds=pause, reason=outcome.throttle_reason),
            )  # fmt: skip

    async def acquire(self, also: Limiter | None = None) -> float:
        """
        Wait until a request may start, count it, and return the time of its start.

        `also`: a second service that the same request counts for, the one that should wait least for it.
        """
        # Fast path: no request waits and the next one is due. Two locks would cost more than all the rest.
        # A request that waits holds a lock, so this overtakes none.
        if not self._queue.locked() and not self._front.locked():
            now = self._clock()
            if self.rate.is_due(now):
                if also is None:
                    self.rate.count_start(now)
                    return now
                if not also._front.locked() and also.rate.is_due(now):
                    self.rate.count_start(now)
                    also.rate.count_start(now)
                    return now
        async with self._queue, self._front:
            while True:
                await self._until_due()
                if also is None:
                    return self._start()
                async with also._front:
                    await also._until_due()
                    if self.rate.is_due(self._clock()):  # it may have been paused meanwhile
                        also._start()
                        return self._start()

    async def _until_due(self) -> None:
        while (delay := self.rate.delay(self._clock())) > 0:
            await self._sleep(delay)

    def _start(self) -> float:
        now = self._clock()
        self.rate.count_start(now)
        return now


def _level(number: int, seconds: float) -> int:
    """Return the log level of the `number`-th pause of a service."""
    is_logged = is_shown(number) or is_milestone(number) or seconds >= LONG_PAUSE_SECONDS
    return logging.WARNING if is_logged else logging.DEBUG
