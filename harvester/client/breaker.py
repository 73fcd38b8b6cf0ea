"""
Circuit breaker: stops requests to something that keeps failing, and lets one probe at a time test it again.

    closed ── `threshold` failures in a row ──► open ── `rest_seconds` ──► half-open ── a success ──► closed
                                                 ▲                             │
                                                 └────────── a failure ────────┘

One class serves all of them: services (`health.py`), download routes and kinds of statistics. This is
arithmetic only: nothing here waits, and times are seconds of one clock.
"""

from __future__ import annotations

import math
from collections.abc import Hashable


class CircuitBreaker:
    """
    Counts failures in a row, and says whether a request may pass.

    Attributes:
        threshold: failures in a row that open it; `math.inf` for never.
        first_threshold: the same, as long as nothing has succeeded; `threshold` where it is not given.
        rest_seconds: how long it stays open before it lets a probe through; `math.inf` for the whole run.
        has_succeeded: whether there was ever a success.
    """

    def __init__(
        self, threshold: float, *, rest_seconds: float = 0.0, first_threshold: float | None = None
    ) -> None:
        self.threshold = threshold
        self.first_threshold = threshold if first_threshold is None else first_threshold
        self.rest_seconds = rest_seconds
        self.has_succeeded = False
        self._failures: set[Hashable] = set()
        self._is_open = False
        self._rests_until = -math.inf
        self._prober: Hashable | None = None
        self._probe_ends = -math.inf

    @property
    def is_closed(self) -> bool:
        """Whether every request may pass."""
        return not self._is_open

    @property
    def next_probe(self) -> float:
        """When the next probe may begin; `math.inf` while a probe without a time limit is under way."""
        return max(self._rests_until, self._probe_ends)

    def try_acquire_probe(
        self, now: float, owner: Hashable | None = None, *, seconds: float = math.inf
    ) -> bool:
        """
        Reserve the probe for a request, and return whether it got it; others then wait for the result.

        `owner`: identifies the holder, which may probe again until it calls `release_probe`.
        `seconds`: after this time another one may probe, even if this probe has no result yet.
        """
        is_own = owner is not None and owner == self._prober
        if now < self._rests_until or (now < self._probe_ends and not is_own):
            return False
        self._prober, self._probe_ends = owner, now + seconds
        return True

    def release_probe(self, owner: Hashable) -> None:
        """Release the probe without a result, after a cancellation; no effect if `owner` does not hold it."""
        if owner == self._prober:
            self._prober, self._probe_ends = None, -math.inf

    def record_success(self) -> None:
        """Close it."""
        self.has_succeeded = True
        self._is_open = False
        self._failures.clear()
        self._prober, self._probe_ends, self._rests_until = None, -math.inf, -math.inf

    def record_failure(self, now: float, key: Hashable | None = None) -> bool:
        """
        Count a failure, and return whether it opened the breaker; failures with the same `key` count once.

        A failure while it is open changes nothing. After the rest one failure opens it again.
        """
        if now < self._rests_until:
            return False
        self._failures.add(object() if key is None else key)
        threshold = self.threshold if self.has_succeeded else self.first_threshold
        if self.is_closed and len(self._failures) < threshold:
            return False
        self._failures.clear()
        self._is_open = True
        self.rest_until(now + self.rest_seconds)
        return True

    def rest_until(self, when: float) -> None:
        """Allow no probe before `when`."""
        self._rests_until = max(self._rests_until, when)
