"""
Leaky bucket without a burst (GCRA), as arithmetic: when a request may start, and how throttling lowers the
rate.

Times are seconds of one clock; nothing here waits.
"""

from __future__ import annotations

import math

LATENESS_FORGIVEN_SECONDS = 0.02
"""How much lateness of a start is made up for: a timer that fires late would cost throughput for good."""

SLOWEST_SHARE = 1 / 64
RECOVERY_SHARE = 0.02
"""Each good answer gives back this share of the configured rate."""


class Rate:
    """
    A fixed rate: halved when a request is throttled, then given back step by step.

    Attributes:
        configured: requests a second that it may come to.
        per_second: requests a second at the moment.
        paused_until: no request starts before.
    """

    def __init__(self, per_second: float) -> None:
        self.configured = per_second
        self.per_second = per_second
        self.paused_until = -math.inf
        self._next = -math.inf
        self._last_penalty = -math.inf
        self._pause = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether the next request may start `now`."""
        return now >= self._next and now >= self.paused_until

    def delay(self, now: float) -> float:
        """Return how many seconds after `now` the next request may start."""
        return max(0.0, self._next - now, self.paused_until - now)

    def count_start(self, now: float) -> None:
        """Count a request that starts `now`."""
        # Counted from when it was due, if it is hardly late. What was idle for longer gains nothing by it.
        on_time = now - self._next <= LATENESS_FORGIVEN_SECONDS
        self._next = (self._next if on_time else now) + 1 / self.per_second

    def throttle(self, now: float, started: float, pause_seconds: float) -> bool:
        """
        Pause the service and halve its rate, once for all requests that were under way together.

        Return whether this lowered the rate: a request that `started` before the last throttling only
        lengthens the pause.
        """
        self.paused_until = max(self.paused_until, now + pause_seconds)
        if not self.is_news(started):
            return False
        self._last_penalty, self._pause = now, pause_seconds
        self._slow_down(started)
        return True

    def is_news(self, started: float) -> bool:
        """Return whether a request that `started` then was sent at the present rate."""
        return started > self._last_penalty

    def recover(self, started: float = math.inf) -> None:
        """Give back `RECOVERY_SHARE` of the rate; `started`: when the answered request started."""
        if self.per_second < self.configured:
            self.per_second = min(self.configured, self.per_second + self.configured * RECOVERY_SHARE)

    def _slow_down(self, started: float) -> None:
        if math.isfinite(self.configured):
            self.per_second = max(self.configured * SLOWEST_SHARE, self.per_second / 2)
