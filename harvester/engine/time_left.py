"""
Time left: the largest of the times that each service, and the bytes of files, still need at the present rate.

The present rate of a service is what its limiter allows now, or what was achieved while the service was in
use in the last `WINDOW_SECONDS`, whichever is less; pauses count in both. The estimate is smoothed, because a
number that jumps is not believed. Decisions are pure functions of numbers; `Meter` only keeps the samples.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WINDOW_SECONDS = 120.0
SPEED_SECONDS = 10.0
"""The speed of downloads is shown for this time."""
SAMPLE_EVERY_SECONDS = 1.0
SMOOTH_SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """
    The counters of a run at one moment.

    ``at``: seconds. ``done``: requests by service, and bytes of files. ``used``: the seconds in which each of
    them was in use.
    """

    at: float
    done: Mapping[str, float]
    used: Mapping[str, float]


@dataclass(frozen=True)
class Allowed:
    """What a limiter allows: requests a second (`math.inf` for no limit), after a pause in seconds."""

    per_second: float = math.inf
    paused_seconds: float = 0.0


def achieved(first: Sample, last: Sample, name: str) -> float:
    """Return what was achieved for each second in use between two samples; `math.inf` if it was not used."""
    done = last.done.get(name, 0.0) - first.done.get(name, 0.0)
    used = last.used.get(name, 0.0) - first.used.get(name, 0.0)
    return done / used if done > 0 and used > 0 else math.inf


def seconds_needed(
    to_come: Mapping[str, float], first: Sample, last: Sample, allowed: Mapping[str, Allowed]
) -> float:
    """Return the seconds that the slowest part needs; `to_come`: requests by service, and bytes of files."""
    needed = [0.0]
    for name, number in to_come.items():
        limit = allowed.get(name, Allowed())
        rate = min(limit.per_second, achieved(first, last, name))
        if number > 0 and rate > 0:
            needed.append(limit.paused_seconds + number / rate)
    return max(needed)


def smoothed(before: float, fresh: float, passed: float, age: float) -> float:
    """
    Return the next smoothed estimate.

    `before`: the last one, `passed` seconds ago. `age`: seconds since the first one: a young estimate rests
    on few numbers, and follows `fresh` more quickly.
    """
    expected = max(0.0, before - passed)
    weight = max(1 - math.exp(-passed / SMOOTH_SECONDS), min(1.0, passed / max(age, passed)))
    return expected + (fresh - expected) * weight


class Meter:
    """Keeps the samples of the last `WINDOW_SECONDS`, and the smoothed estimate."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()
        self._estimate: float | None = None
        self._began = 0.0
        self._estimated_at = 0.0
        self._has_waited = False

    def add(self, sample: Sample) -> None:
        """Add a sample; older ones than the window are dropped, except one that the window begins with."""
        samples = self._samples
        samples.append(sample)
        while len(samples) > 2 and sample.at - samples[1].at >= WINDOW_SECONDS:
            samples.popleft()

    def wait(self) -> None:
        """Make no estimate, as a needed service does not answer; rates are measured again after that."""
        self._estimate, self._has_waited = None, True

    def update(self, to_come: Mapping[str, float] | None, allowed: Mapping[str, Allowed]) -> None:
        """Estimate again from what is to come, None for unknown; the last sample says when."""
        last = self._samples[-1]
        if self._has_waited:
            self._has_waited = False
            self._samples.clear()
            self._samples.append(last)
        if to_come is None:
            self._estimate = None
            return
        fresh = seconds_needed(to_come, self._samples[0], last, allowed)
        if self._estimate is None:
            self._began, self._estimate = last.at, fresh
        else:
            passed = last.at - self._estimated_at
            self._estimate = smoothed(self._estimate, fresh, passed, last.at - self._began)
        self._estimated_at = last.at

    def seconds_left(self, now: float) -> float | None:
        """Return the estimate, None if there is none."""
        if self._estimate is None:
            return None
        return max(0.0, self._estimate - (now - self._estimated_at))

    def per_second(self, name: str) -> float | None:
        """Return how much of `name` was done a second in the last `SPEED_SECONDS`; None at first."""
        return speed(self._samples, name)


def speed(samples: Iterable[Sample], name: str) -> float | None:
    """Return how much of `name` was done a second between the last sample and one `SPEED_SECONDS` before."""
    listed = list(samples)
    if len(listed) < 2:
        return None
    last = listed[-1]
    first = next(each for each in listed if last.at - each.at <= SPEED_SECONDS or each is listed[-2])
    passed = last.at - first.at
    return (last.done.get(name, 0.0) - first.done.get(name, 0.0)) / passed if passed > 0 else None
