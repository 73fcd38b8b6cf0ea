"""
Adaptive rate: finds the highest rate that a service accepts, by raising it until requests are throttled.

It works like TCP congestion control (AIMD), but with a memory: it keeps the highest proven rate and the
lowest refused rate. The rate grows between them, in steps that get smaller. The smaller the next step, the
longer a rate must hold, because a service may accept a second's worth of extra requests before it refuses (a
token bucket). When nothing is left to find out, the rate stays a little below the refused one. From time to
time a probe goes above it, as the service may accept more by then. This is arithmetic only: nothing here
waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harvester.client.limits.rate import Rate

START_RATE = 1.0
"""Requests a second that figshare asks for: every run begins with it."""
SLOWEST_RATE_SHARE = 1 / 16
"""Of the first rate: a 429 or a block may have another cause, and must not bring the rate to nothing."""

SLICE_SECONDS = 1.0
SLICE_STARTS = 2
BOUND_SHARE = 0.9
"""When this share of the allowed requests is used in a slice of time, the limiter is what binds."""

LENT_SECONDS = 1.0
SHORTEST_HOLD_SECONDS = 2.0
CALM_SECONDS = 4.0

MARGIN = 0.96
"""A rate stays at this share of a refused one: requests come less evenly there than they start here."""
SMALLEST_STRIDE = 1.02
LARGEST_STRIDE = 2.0

PROBE_STRIDE = 1.06
PROBE_HOLD_SECONDS = 25.0
REST_SECONDS = 120.0
REST_REQUESTS = 400
LONGEST_REST_SECONDS = 300.0
REST_PAUSES = 20
"""A failed probe costs a refusal and a pause; this much rest before it keeps both small."""


@dataclass
class _Trial:
    """
    What was observed at the present rate.

    Attributes:
        rate: requests a second.
        began: when it was set, in seconds of the limiter's clock.
        held: seconds in which it was used to the full.
        answers: those to requests that started at it.
    """

    rate: float
    began: float
    held: float = 0.0
    answers: int = 0
    slice_began: float = math.inf
    slice_starts: int = 0

    def count_start(self, now: float) -> bool:
        """Count a request; return whether a slice of time has ended that was used to the full."""
        if now < self.slice_began:  # the first one
            self.slice_began = now
            return False
        self.slice_starts += 1
        seconds = now - self.slice_began
        if seconds < SLICE_SECONDS or self.slice_starts < SLICE_STARTS:
            return False
        is_full = self.slice_starts >= BOUND_SHARE * self.rate * seconds
        self.slice_began, self.slice_starts = now, 0
        if is_full:
            self.held += seconds
        return is_full

    @property
    def has_been_heard(self) -> bool:
        """Whether a second's worth of answers has come, so that a refusal would have come too."""
        return self.answers >= max(SLICE_STARTS, self.rate)

    @property
    def proven_rate(self) -> float:
        """The rate that the service accepts even after its whole token bucket is used up."""
        answered = min(self.held, self.answers / self.rate)  # the last ones may still be refused
        return self.rate * answered / (answered + LENT_SECONDS)


class AdaptiveRate(Rate):
    """A rate that begins at one request a second and rises to what the service accepts, up to a ceiling."""

    def __init__(self, ceiling: float) -> None:
        super().__init__(ceiling)
        self.per_second = min(START_RATE, ceiling)
        self._slowest = self.per_second * SLOWEST_RATE_SHARE
        self._proven = self._slowest
        self._refused = math.inf
        self._stride = LARGEST_STRIDE
        self._failures = 0
        self._is_answered = False
        self._earlier_rate = self.per_second
        self._trial = _Trial(self.per_second, -math.inf)

    def count_start(self, now: float) -> None:
        """Count a request that starts `now`; the rate may rise after it."""
        super().count_start(now)
        if self._trial.count_start(now) and self._trial.has_been_heard:
            self._go_on(now)

    def recover(self, started: float = math.inf) -> None:
        """Count a good answer; `started`: when its request started."""
        if started >= self._trial.began:
            self._trial.answers += 1
        if started > self._last_penalty:
            self._is_answered = True

    def _go_on(self, now: float) -> None:
        """Try the next rate if the present one has held for long enough."""
        held = self._trial.held
        if held >= CALM_SECONDS:
            self._failures = 0
        if self.per_second >= self._refused:  # a probe; it holds where a rate was refused before
            if held < PROBE_HOLD_SECONDS:
                return
            self._refused, self._stride = math.inf, 2 * PROBE_STRIDE - 1
        rate, needed = self._next_step()
        if rate <= self.per_second or held < needed:
            return
        self._proven = max(self._proven, self._trial.proven_rate)
        if math.isinf(self._refused):
            self._stride = min(LARGEST_STRIDE, 2 * self._stride - 1)
        self._try(rate, now)

    def _next_step(self) -> tuple[float, float]:
        """Return the rate to try next, and the seconds that the present one must have held before."""
        rate = self._above(self.per_second)
        if rate < self.per_second * SMALLEST_STRIDE:
            rest = min(max(REST_SECONDS, REST_REQUESTS / self.per_second), LONGEST_REST_SECONDS)
            rate, needed = self.per_second * PROBE_STRIDE, max(rest, self._pause * REST_PAUSES)
        else:
            needed = max(SHORTEST_HOLD_SECONDS, LENT_SECONDS / (rate / self.per_second - 1))
        return min(rate, self.configured), needed

    def _above(self, rate: float) -> float:
        """Return a rate between this one and what was refused, if anything was."""
        if math.isinf(self._refused):
            return rate * self._stride
        return min(math.sqrt(rate * self._refused), self._refused * MARGIN)

    def _slow_down(self, started: float) -> None:
        if not self._is_answered:  # it refuses everything: that says nothing about the rate
            return
        self._is_answered = False
        rate = self._earlier_rate
        if started >= self._trial.began:
            rate = self.per_second
            self._proven = max(self._proven, self._trial.proven_rate)
        self._refused = min(self._refused, rate)
        self._failures += 1
        if self._proven >= self._refused or self._failures >= 3:  # it accepts less than before
            self._proven = min(self._proven, self._refused / 2)
        self._try(self._above(self._proven), self._last_penalty)

    def _try(self, rate: float, now: float) -> None:
        self._earlier_rate = self.per_second
        self.per_second = max(self._slowest, min(rate, self.configured))
        self._trial = _Trial(self.per_second, now)
