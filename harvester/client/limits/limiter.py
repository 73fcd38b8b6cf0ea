"""Who may start when several wait: one turnstile for each service."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio

from harvester.client.limits.rate import Rate


class Limiter:
    """One service's turnstile. First come, first served; waiting can be cancelled."""

    def __init__(
        self,
        name: str,
        pace: Rate | float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.name = name
        self.pace = pace if isinstance(pace, Rate) else Rate(pace)
        self._clock = clock
        self._sleep = sleep
        # Requests queue in the line; whoever leads it, or leads another service's line and needs this one
        # too, holds the front. So a request for two services waits for at most one other here, and holds up
        # nobody here while it waits there, for its place in the line or until that service is due.
        self._line = anyio.Lock(fast_acquire=True)
        self._front = anyio.Lock(fast_acquire=True)

    @property
    def paused_seconds(self) -> float:
        """Seconds that a pause still lasts."""
        return max(0.0, self.pace.paused_until - self._clock())

    def throttle(self, started: float, pause_seconds: float) -> bool:
        """Pause the service for everybody; see `Rate.throttle`."""
        return self.pace.throttle(self._clock(), started, pause_seconds)

    async def turn(self, also: Limiter | None = None) -> float:
        """
        Wait until a request may start, count it, and return the time of its start.

        `also`: a second service that the same request counts for, the one that should wait least for it.
        """
        # Where nobody waits and the turn is due there is nothing to queue for, and two locks cost more
        # than all the rest. Whoever waits holds a lock, so nobody is overtaken.
        if not self._line.locked() and not self._front.locked():
            now = self._clock()
            if self.pace.is_due(now):
                if also is None:
                    self.pace.take(now)
                    return now
                if not also._front.locked() and also.pace.is_due(now):
                    self.pace.take(now)
                    also.pace.take(now)
                    return now
        async with self._line, self._front:
            while True:
                await self._until_due()
                if also is None:
                    return self._take()
                async with also._front:
                    await also._until_due()
                    if self.pace.is_due(self._clock()):  # it may have been paused meanwhile
                        also._take()
                        return self._take()

    async def _until_due(self) -> None:
        while (delay := self.pace.delay(self._clock())) > 0:
            await self._sleep(delay)

    def _take(self) -> float:
        now = self._clock()
        self.pace.take(now)
        return now
