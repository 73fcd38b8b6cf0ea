"""
When one more connection for a file is worth it, and what it should bring: arithmetic, nothing is waited for.

What limits a download may be each connection, or something that all of them share. Nobody tells which, so it
is tried: one more connection is opened, and stays if the rate of all together has grown by it. So many are
then kept at work: where one has brought its part, the next takes over half of the widest gap without a trial.
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

    ``connections``: in use at once, for all files together; ``connections_a_file``: for one of at least
    ``least_size`` bytes. What comes in ``settle_seconds`` is a rate. One more is opened where what it takes
    over keeps it at work for ``worth_seconds``, and stays if it makes the whole ``gain`` times as fast; one
    that was worth it and has ended is replaced down to ``replace_seconds``.
    """

    connections: int = 8
    connections_a_file: int = 4
    least_size: int = 64 << 20
    settle_seconds: float = 1.0
    worth_seconds: float = 2.0
    replace_seconds: float = 1.0
    gain: float = 1.25

    def pays(self, before: float, after: float, connections: int) -> bool:
        """Tell whether the last of so many connections was worth it; rates in bytes a second."""
        # The fourth one adds a third at best, so that half of what is due must do there.
        return after >= before * min(self.gain, 1 + 0.5 / (connections - 1))


USUAL = SegmentPolicy()


class ByteRange(NamedTuple):
    """What is missing of a file from ``position`` to ``until``; ``is_filling``: a connection brings it."""

    position: int
    until: int
    is_filling: bool

    @property
    def size(self) -> int:
        return self.until - self.position

    def for_another(self) -> ByteRange:
        """Return what one more connection should bring of it: the second half, or all that nobody brings."""
        middle = self.position + self.size // 2
        return ByteRange(middle if self.is_filling else self.position, self.until, is_filling=False)


def next_part(gaps: Sequence[ByteRange]) -> ByteRange:
    """Return what one more connection should bring: of all it could take over, the most."""
    return max((gap.for_another() for gap in gaps), key=lambda part: part.size)


class Advice(Enum):
    """What to do about the number of connections."""

    STAY = auto()
    MORE = auto()
    FEWER = auto()


class SegmentTuner:
    """
    Judges by what has come when whether one more connection for a file is worth it.

    `most`: connections at most; it falls to what has been worth it. Times are seconds of one clock.
    """

    def __init__(self, splitting: SegmentPolicy, most: int) -> None:
        self.most = most
        self._splitting = splitting
        self._proven = 1
        self._since = math.inf
        self._received = 0
        self._rate, self._measured_with = 0.0, 0
        self._rates, self._is_steady = 0, False  # since the last change
        self._before: float | None = None  # the rate without the one that is tried

    def changed(self, now: float, received: int, connections: int) -> None:
        """Note that one has come or gone: what comes from now on is measured anew."""
        # Not on trial: one that replaces another, and the first one where it comes back to as many as may be.
        is_tried = self._proven < connections <= self.most and connections == self._measured_with + 1
        self._before = self._rate if is_tried else None
        self._since, self._received = now, received
        self._rates, self._is_steady = 0, False

    def gave_way(self, connections: int) -> None:
        """Note that one had to end and these are left: it is not replaced, but another may be tried."""
        self._proven = max(1, min(self._proven, connections))

    def look(self, now: float, received: int, connections: int, part: int) -> Advice:
        """Say what to do when `received` bytes are here, and one more would take over `part` bytes."""
        if received < self._received:  # it was begun anew
            self.changed(now, received, connections)
        advice = Advice.STAY
        if connections and now - self._since >= self._splitting.settle_seconds:
            self._measure(now, received, connections)
            advice = self._judge(connections, part)
        has_lost_one = 0 < connections < min(self._proven, self.most)
        if has_lost_one and self._lasts(part, self._splitting.replace_seconds):
            advice = Advice.MORE
        return advice

    def _measure(self, now: float, received: int, connections: int) -> None:
        last, self._rate = self._rate, (received - self._received) / (now - self._since)
        self._measured_with = connections
        self._since, self._received = now, received
        self._rates += 1
        # A connection begins slowly, from far away for seconds: what still grows is no measure of others, and
        # speaks for the one that is tried at most, not against it.
        self._is_steady = self._rates > 1 and self._rate < last * self._splitting.gain

    def _judge(self, connections: int, part: int) -> Advice:
        is_known = self._is_steady
        if self._before is not None:
            if self._splitting.pays(self._before, self._rate, connections):
                self._proven, self._before = connections, None
                is_known = True
            elif is_known:
                self.most, self._before = connections - 1, None
                return Advice.FEWER
        may_try = is_known and connections < self.most
        return Advice.MORE if may_try and self._lasts(part, self._splitting.worth_seconds) else Advice.STAY

    def _lasts(self, part: int, seconds: float) -> bool:
        """Tell whether a part keeps one connection at work for so long, as fast as each was lately."""
        return part * self._measured_with >= self._rate * seconds > 0


class HostLimits:
    """Remembers for this run how many connections for one file are worth it, by the origin that is asked."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[URL, int] = {}

    def most(self, url: URL) -> int:
        return self._found.get(url.origin(), self._most)

    def note(self, url: URL, most: int) -> None:
        self._found[url.origin()] = most
