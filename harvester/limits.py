"""
When the next request to a service may start: rate, shared pause, slowing down and recovering.

Each service has one `Limiter`, and every request of the process waits for its turn there, the first
try like the sixth. Starts are spaced evenly (no bursts): over any window of one second at most
``rate + 1`` requests begin (up to 2 % more at rates above 50, where timers are coarse). A request
that counts for two services waits until both allow it and takes both turns at the same moment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

import anyio

# A timer that fires late would cost throughput for good if the next turn were counted from the late
# start: so much lateness is made up for, and what is idle for longer gains nothing by it.
LATENESS_FORGIVEN_SECONDS = 0.02

SLOWEST_SHARE = 1 / 64
RECOVERY_SHARE = 0.02
"""Each answer that is no complaint gives back this share of the configured rate."""


class Pace:
    """The arithmetic of one service's turns. Times are seconds of one clock; nothing here waits."""

    def __init__(self, rate: float) -> None:
        self.configured = rate
        self.rate = rate
        self.paused_until = -math.inf
        self._next = -math.inf
        self._last_penalty = -math.inf

    def delay(self, now: float) -> float:
        """Tell how many seconds after `now` the next request may start."""
        return max(0.0, self._next - now, self.paused_until - now)

    def take(self, now: float) -> None:
        """Count a request that starts `now`."""
        on_time = now - self._next <= LATENESS_FORGIVEN_SECONDS
        self._next = (self._next if on_time else now) + 1 / self.rate

    def penalise(self, now: float, started: float, pause_seconds: float) -> bool:
        """
        Pause the service and halve its rate, once for all requests that were under way together.

        Returns whether the rate was lowered: a complaint about a request that `started` before the
        last penalty only lengthens the pause.
        """
        self.paused_until = max(self.paused_until, now + pause_seconds)
        if not self.is_news(started):
            return False
        self._last_penalty = now
        if math.isfinite(self.configured):
            self.rate = max(self.configured * SLOWEST_SHARE, self.rate / 2)
        return True

    def is_news(self, started: float) -> bool:
        """Tell whether a complaint about a request that `started` then is about the present pace."""
        return started > self._last_penalty

    def recover(self) -> None:
        """Give back a little of the rate, after an answer that was no complaint."""
        if self.rate < self.configured:
            self.rate = min(self.configured, self.rate + self.configured * RECOVERY_SHARE)


class Limiter:
    """One service's turnstile. First come, first served; waiting can be cancelled."""

    def __init__(
        self,
        name: str,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.name = name
        self.pace = Pace(rate)
        self._clock = clock
        self._sleep = sleep
        # Requests of this service alone queue in the line; whoever leads it, or leads another
        # service's line and needs this one too, holds the front. So a request for two services
        # waits for at most one other here, and holds up nobody while it queues elsewhere.
        self._line = anyio.Lock(fast_acquire=True)
        self._front = anyio.Lock(fast_acquire=True)

    @property
    def paused_seconds(self) -> float:
        """Seconds that a pause still lasts."""
        return max(0.0, self.pace.paused_until - self._clock())

    def penalise(self, started: float, pause_seconds: float) -> bool:
        """Pause the service for everybody; see `Pace.penalise`."""
        return self.pace.penalise(self._clock(), started, pause_seconds)

    async def turn(self, also: Limiter | None = None) -> float:
        """
        Wait until a request may start, count it, and return the time of its start.

        `also`: a second service that the same request counts for.
        """
        async with self._line, self._front:
            if also is None:
                return await self._when_due(self)
            async with also._front:
                return await self._when_due(self, also)

    async def _when_due(self, *limiters: Limiter) -> float:
        while True:
            now = self._clock()
            delay = max(limiter.pace.delay(now) for limiter in limiters)
            if delay <= 0:
                break
            await self._sleep(delay)
        for limiter in limiters:
            limiter.pace.take(now)
        return now
