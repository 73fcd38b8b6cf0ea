"""
Circuit breaker: stops requests to what keeps failing, and lets one at a time find out whether it works again.

    closed ── `threshold` failures in a row ──► open ── `rest_seconds` ──► half-open ── a success ──► closed
                                                 ▲                             │
                                                 └────────── a failure ────────┘

One class for all of them: a service (`health.py`), a download route and a kind of statistics. Arithmetic
only: nothing here waits, and times are seconds of one clock.
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
        rest_seconds: how long it stays open before it lets a probe through; `math.inf` for ever.
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
        """When the next probe may begin; `math.inf` while one is under way that has no end of its own."""
        return max(self._rests_until, self._probe_ends)

    def try_acquire_probe(
        self, now: float, owner: Hashable | None = None, *, seconds: float = math.inf
    ) -> bool:
        """
        Return whether a request may find out if all is well again; the others then wait for its result.

        `owner`: what the request is for; it may probe again until it lets go (`release_probe`).
        `seconds`: after so long somebody else may probe, whatever has become of this one.
        """
        is_own = owner is not None and owner == self._prober
        if now < self._rests_until or (now < self._probe_ends and not is_own):
            return False
        self._prober, self._probe_ends = owner, now + seconds
        return True

    def release_probe(self, owner: Hashable) -> None:
        """End a probe that did not find out, as it was cut or cancelled; without effect for any other."""
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
        Count a failure, and return whether it opens from now on; `key`: one of each counts.

        While it is open a failure says nothing new; after the rest one is enough to open it again.
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
        """Let no probe through before."""
        self._rests_until = max(self._rests_until, when)
