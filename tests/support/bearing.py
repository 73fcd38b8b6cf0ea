"""Services that bear so much and refuse the rest, and a run against one, under a clock of its own."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from harvester.client.limits import Rate


class Service(Protocol):
    """``limit``: requests a second."""

    limit: float

    def takes(self, now: float) -> bool:
        """Tell whether a request that arrives now is taken, and count it."""
        ...


class Sliding:
    """Counts the requests that it took in the second that has passed."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._taken: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self._taken and self._taken[0] <= now - 1:
            self._taken.popleft()
        if len(self._taken) >= self.limit:
            return False
        self._taken.append(now)
        return True


class Bucket:
    """Takes a token for each request; `rate` of them drop in each second, and the bucket holds some."""

    def __init__(self, limit: float, size: float) -> None:
        self.limit = limit
        self._size = self._tokens = size
        self._filled = -math.inf

    def takes(self, now: float) -> bool:
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self.limit)
        self._filled = now
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Windows:
    """Starts its count again with every second of its own clock."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._second = self._taken = 0

    def takes(self, now: float) -> bool:
        second = math.floor(now + 0.3)
        if second != self._second:
            self._second, self._taken = second, 0
        if self._taken >= self.limit:
            return False
        self._taken += 1
        return True


MODELS: Mapping[str, Callable[[float], Service]] = {
    "sliding window": Sliding,
    "bucket of a second": lambda limit: Bucket(limit, limit),
    "bucket of five": lambda limit: Bucket(limit, min(5, limit)),
    "bucket of one": lambda limit: Bucket(limit, 1),
    "fixed windows": Windows,
}


@dataclass
class Run:
    """What a run asked: when each request started, whether it was taken, and the rate then."""

    starts: list[tuple[float, bool, float]] = field(default_factory=list)

    def taken_a_second(self, begin: float, end: float) -> float:
        return sum(taken for at, taken, _ in self.starts if begin <= at < end) / (end - begin)

    def refused_share(self, begin: float, end: float) -> float:
        answers = [taken for at, taken, _ in self.starts if begin <= at < end]
        return answers.count(False) / max(len(answers), 1)

    def best(self, seconds: float, end: float) -> float:
        """Return the most that any such time before the end brought, a second."""
        taken = [at for at, is_taken, _ in self.starts if is_taken and at < end]
        most, first = 0, 0
        for place, at in enumerate(taken):
            while taken[first] <= at - seconds:
                first += 1
            most = max(most, place - first + 1)
        return most / seconds

    def highest_rate(self) -> float:
        return max(rate for _, _, rate in self.starts)


def ask(
    rate: Rate,
    service: Service,
    *,
    seconds: float,
    latency: float,
    retry_after: float | None = None,
    at_once: float = math.inf,
    changes: Mapping[float, float] | None = None,
) -> Run:
    """
    Ask as often as the rate allows, and tell it what was answered, as the client does.

    `latency`: seconds until an answer; `at_once`: requests under way at most; `changes`: limits by the time
    from which they hold. Without `retry_after` the pauses are those of the client: 1, 2, 4 … seconds.
    """
    run, now, complaints = Run(), 0.0, 0
    under_way: list[tuple[float, float, bool]] = []
    ahead = deque(sorted((changes or {}).items()))
    while now < seconds:
        start = now + rate.delay(now) if len(under_way) < at_once else math.inf
        if under_way and under_way[0][0] <= start:
            now, started, taken = heapq.heappop(under_way)
            if taken:
                complaints = 0
                rate.recover(started)
            else:
                complaints += rate.is_news(started)
                own = min(60.0, 2.0 ** (max(complaints, 1) - 1))
                rate.throttle(now, started, own if retry_after is None else retry_after)
            continue
        now = start
        if ahead and now >= ahead[0][0]:
            service.limit = ahead.popleft()[1]
        rate.count_start(now)
        taken = service.takes(now + latency / 2)
        run.starts.append((now, taken, rate.per_second))
        heapq.heappush(under_way, (now + latency, now, taken))
    return run
