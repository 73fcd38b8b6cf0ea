"""
Segment policy: when one more connection for a file is worth it, and which range it should fetch.

This is arithmetic; nothing is waited for. What limits a download may be each connection, or something that
all of them share. Neither side announces which, so it is tried: one more connection is opened, and stays if
the total rate has grown by it. The number of connections then stays constant: a finished segment is replaced
by half of the largest remaining gap, without a trial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from yarl import URL


@dataclass(frozen=True)
class SegmentPolicy:
    """
    When files are fetched over several connections.

    Attributes:
        connections: in use at once, for all files together.
        connections_per_file: at most, for a file of at least `min_size`.
        min_size: bytes; smaller files come over one connection.
        settle_seconds: what comes in such a time is a rate.
        worth_seconds: one more is opened where its range keeps it busy for so long.
        replace_seconds: one that was worth it and has ended is replaced where that keeps it busy for so long.
        min_gain: one more stays if the total rate is so many times as high.
    """

    connections: int = 8
    connections_per_file: int = 4
    min_size: int = 64 << 20
    settle_seconds: float = 1.0
    worth_seconds: float = 2.0
    replace_seconds: float = 1.0
    min_gain: float = 1.25

    def pays(self, before: float, after: float, connections: int) -> bool:
        """Return whether the last of so many connections was worth it; rates in bytes a second."""
        # The fourth one adds a third at best, so that half of what is due must do there.
        return after >= before * min(self.min_gain, 1 + 0.5 / (connections - 1))


DEFAULT_POLICY = SegmentPolicy()


class ByteRange(NamedTuple):
    """What is missing of a file from ``offset`` to ``until``; ``is_filling``: a connection fetches it."""

    offset: int
    until: int
    is_filling: bool

    @property
    def size(self) -> int:
        return self.until - self.offset

    def for_another(self) -> ByteRange:
        """Return what one more connection should fetch of it: the second half, or all if none fetches it."""
        middle = self.offset + self.size // 2
        return ByteRange(middle if self.is_filling else self.offset, self.until, is_filling=False)


def next_range(gaps: Sequence[ByteRange]) -> ByteRange:
    """Return what one more connection should fetch: of all that it could take over, the most."""
    return max((gap.for_another() for gap in gaps), key=lambda each: each.size)


class Advice(Enum):
    """What to do about the number of connections."""

    STAY = auto()
    MORE = auto()
    FEWER = auto()


class SegmentTuner:
    """
    Judges by the bytes that came, and when, whether one more connection for a file is worth it.

    Times are seconds of one clock.

    Attributes:
        policy: the thresholds.
        most: connections at most; it falls to the number that has been worth it.
    """

    def __init__(self, policy: SegmentPolicy, most: int) -> None:
        self.most = most
        self._policy = policy
        self._proven = 1
        self._since = math.inf
        self._received = 0
        self._rate, self._measured_with = 0.0, 0
        self._rates, self._is_steady = 0, False  # since the last change
        self._before: float | None = None  # the rate without the one that is tried

    def changed(self, now: float, received: int, connections: int) -> None:
        """Note that one was opened or has ended: what comes from now on is measured anew."""
        # Not on trial: one that replaces another, and the first one where it comes back to as many as may be.
        is_tried = self._proven < connections <= self.most and connections == self._measured_with + 1
        self._before = self._rate if is_tried else None
        self._since, self._received = now, received
        self._rates, self._is_steady = 0, False

    def preempted(self, connections: int) -> None:
        """Note that another file took one and these are left: it is not replaced; another may be tried."""
        self._proven = max(1, min(self._proven, connections))

    def advise(self, now: float, received: int, connections: int, size: int) -> Advice:
        """Return what to do when `received` bytes are here, and one more would take over `size` bytes."""
        if received < self._received:  # it was begun anew
            self.changed(now, received, connections)
        advice = Advice.STAY
        if connections and now - self._since >= self._policy.settle_seconds:
            self._measure(now, received, connections)
            advice = self._judge(connections, size)
        has_lost_one = 0 < connections < min(self._proven, self.most)
        if has_lost_one and self._lasts(size, self._policy.replace_seconds):
            advice = Advice.MORE
        return advice

    def _measure(self, now: float, received: int, connections: int) -> None:
        last, self._rate = self._rate, (received - self._received) / (now - self._since)
        self._measured_with = connections
        self._since, self._received = now, received
        self._rates += 1
        # A connection begins slowly, from far away for seconds: what still grows is no measure of others, and
        # speaks for the one that is tried at most, not against it.
        self._is_steady = self._rates > 1 and self._rate < last * self._policy.min_gain

    def _judge(self, connections: int, size: int) -> Advice:
        is_known = self._is_steady
        if self._before is not None:
            if self._policy.pays(self._before, self._rate, connections):
                self._proven, self._before = connections, None
                is_known = True
            elif is_known:
                self.most, self._before = connections - 1, None
                return Advice.FEWER
        may_try = is_known and connections < self.most
        return Advice.MORE if may_try and self._lasts(size, self._policy.worth_seconds) else Advice.STAY

    def _lasts(self, size: int, seconds: float) -> bool:
        """Return whether a range keeps one connection busy for so long, as fast as each was lately."""
        return size * self._measured_with >= self._rate * seconds > 0


class HostLimits:
    """How many connections for one file are worth it, by the origin that is requested; kept for one run."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[URL, int] = {}

    def most(self, url: URL) -> int:
        """Return how many connections to the host of `url` one file may have."""
        return self._found.get(url.origin(), self._most)

    def note(self, url: URL, most: int) -> None:
        """Note that no more than `most` are worth it at the host of `url`."""
        self._found[url.origin()] = most
