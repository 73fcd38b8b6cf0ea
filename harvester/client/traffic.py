"""
Traffic counters: the requests and bytes of a run, and how long each service was in use.

They are counted here for every request. The display, the summary and the estimate of the time left read them.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from harvester.storage.protocol import Upload, held_bytes

BYTES = "bytes of files"
"""The key of `Usage` for the connections that receive files."""


@dataclass
class Unit:
    """
    One unit of work: the requests made for it so far, by service.

    ``files``, ``bytes``: of the files that it has brought so far; None before its record was read.
    """

    requests: Counter[str] = field(default_factory=Counter)
    files: int | None = None
    bytes: int = 0


_UNIT: ContextVar[Unit | None] = ContextVar("harvester_unit", default=None)


@contextmanager
def working_on(unit: Unit) -> Iterator[None]:
    """Count the requests of this block, and of the tasks that it starts, for a unit too."""
    token = _UNIT.set(unit)
    try:
        yield
    finally:
        _UNIT.reset(token)


def note_files(number: int, size: int) -> None:
    """Note the files that the unit in work has brought, and their bytes."""
    if (unit := _UNIT.get()) is not None:
        unit.files, unit.bytes = (unit.files or 0) + number, unit.bytes + size


class Usage:
    """
    How long each service was in use: at least one request waited for its turn there, or for its answer.

    So the requests of a service divided by its seconds in use are the rate that it allows, although it may
    have had nothing to do for most of the time. `clock`: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._active: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, names: Sequence[str]) -> Iterator[None]:
        """Count the time of this block for these services."""
        for name in names:
            self._active[name] += 1
            if self._active[name] == 1:
                self._since[name] = self._clock()
        try:
            yield
        finally:
            for name in names:
                self._active[name] -= 1
                if not self._active[name]:
                    self._seconds[name] += self._clock() - self._since[name]

    def seconds(self, name: str) -> float:
        """Return for how many seconds a service was in use so far."""
        running = self._clock() - self._since[name] if self._active[name] else 0.0
        return self._seconds[name] + running


@dataclass(frozen=True)
class Transfer:
    """A file that is being downloaded: its path in the folder, its bytes, and when it began (seconds)."""

    path: str
    size: int
    upload: Upload
    began: float

    @property
    def received(self) -> int:
        """The bytes that are here, those of an earlier run included."""
        return held_bytes(self.upload)


@dataclass
class Traffic:
    """
    Network traffic so far: counted by the client, read by the display and the summary.

    Attributes:
        requests: sent so far, by service.
        errors: attempts that failed, by service.
        unanswered: requests whose connection failed before an answer came, by service.
        file_bytes: bytes of files received.
        transfers: the files that are being downloaded, those that wait for their turn included.
        usage: how long each service was in use, and the connections that receive files (`BYTES`).
        clock: returns seconds.
    """

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    file_bytes: int = 0
    transfers: dict[int, Transfer] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    usage: Usage = field(init=False)

    def __post_init__(self) -> None:
        self.usage = Usage(self.clock)

    def count(self, service: str) -> None:
        """Count a request to a service."""
        self.requests[service] += 1
        if (unit := _UNIT.get()) is not None:
            unit.requests[service] += 1

    def answered(self) -> Counter[str]:
        """Return the requests without those that got no answer, by service."""
        return self.requests - self.unanswered

    @contextmanager
    def transfer(self, path: str, size: int, upload: Upload) -> Iterator[None]:
        """Show a file as being downloaded during this block."""
        transfer = Transfer(path, size, upload, self.clock())
        self.transfers[id(transfer)] = transfer
        try:
            yield
        finally:
            del self.transfers[id(transfer)]
