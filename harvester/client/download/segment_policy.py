"""
Segment policy: when one more connection for a file pays, and which range it should fetch.

This is arithmetic only: nothing here waits. The limit of a download may be each connection, or something that
all connections share. Neither side announces which, so the policy tries: one more connection is opened, and
stays if the total rate has grown. The number of connections then stays constant: a finished segment is
replaced by half of the largest remaining gap, without a trial.
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
        settle_seconds: seconds over which a rate is measured.
        worth_seconds: one more is opened if its range keeps it busy for at least this many seconds.
        replace_seconds: a finished one is replaced if its range keeps it busy for at least this many seconds.
        min_gain: one more stays if the total rate is at least this multiple of the rate before.
    """

    connections: int = 8
    connections_per_file: int = 4
    min_size: int = 64 << 20
    settle_seconds: float = 1.0
    worth_seconds: float = 2.0
    replace_seconds: float = 1.0
    min_gain: float = 1.25

    def pays(self, before: float, after: float, connections: int) -> bool:
        """Return whether the last of `connections` was worth it; rates in bytes a second."""
        # The fourth connection adds a third at best, so half of the expected gain must be enough.
        return after >= before * min(self.min_gain, 1 + 0.5 / (connections - 1))


DEFAULT_POLICY = SegmentPolicy()


class ByteRange(NamedTuple):
    """A missing range of a file, from ``offset`` to ``until``; ``is_filling``: a connection fetches it."""

    offset: int
    until: int
    is_filling: bool

    @property
    def size(self) -> int:
        return self.until - self.offset

    def for_another(self) -> ByteRange:
        """Return the part for one more connection: the second half, or all if none fetches it yet."""
        middle = self.offset + self.size // 2
        return ByteRange(middle if self.is_filling else self.offset, self.until, is_filling=False)


def next_range(gaps: Sequence[ByteRange]) -> ByteRange:
    """Return the largest range that one more connection could take over."""
    return max((gap.for_another() for gap in gaps), key=lambda each: each.size)


class Advice(Enum):
    """What to do about the number of connections."""

    STAY = auto()
    MORE = auto()
    FEWER = auto()


class SegmentTuner:
    """
    Decides from the received bytes and their times whether one more connection for a file pays.

    Times are seconds of one clock.

    Attributes:
        policy: the thresholds.
        most: connections at most; it falls to the number that proved worth it.
    """

    def __init__(self, policy: SegmentPolicy, most: int) -> None:
        self.most = most
        self._policy = policy
        self._proven = 1
        self._since = math.inf
        self._received = 0
        self._rate, self._measured_with = 0.0, 0
        self._rates, self._is_steady = 0, False  # since the last change
        self._before: float | None = None  # the rate without the connection on trial

    def changed(self, now: float, received: int, connections: int) -> None:
        """Note that a connection was opened or has ended: a new measurement begins."""
        # Not on trial: a replacement, and the first one when it comes back to the allowed number.
        is_tried = self._proven < connections <= self.most and connections == self._measured_with + 1
        self._before = self._rate if is_tried else None
        self._since, self._received = now, received
        self._rates, self._is_steady = 0, False

    def preempted(self, connections: int) -> None:
        """Note that another file took a connection: it is not replaced; another one may be tried."""
        self._proven = max(1, min(self._proven, connections))

    def advise(self, now: float, received: int, connections: int, size: int) -> Advice:
        """Return what to do after `received` bytes if one more connection would take over `size` bytes."""
        if received < self._received:  # the download restarted
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
        # A connection starts slowly, over a long distance for seconds (TCP slow start). A rate that still
        # grows is no measure of other connections; it may only count in favour of the one on trial.
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
        """Return whether a range keeps a connection busy for `seconds`, at the recent rate of each."""
        return size * self._measured_with >= self._rate * seconds > 0


class HostLimits:
    """Remembers for each origin how many connections for one file pay; kept for one run."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[URL, int] = {}

    def most(self, url: URL) -> int:
        """Return how many connections to the host of `url` one file may have."""
        return self._found.get(url.origin(), self._most)

    def note(self, url: URL, most: int) -> None:
        """Note that no more than `most` are worth it at the host of `url`."""
        self._found[url.origin()] = most
