"""
The connections for files: who has one, who waits for one, who gives it back.

Some servers send just enough not to be given up (`timeouts.min_speed`), and a few of them would hold all
connections. So, while other files wait, one that has brought less than `SLOW` times as much for
`timeouts.idle` seconds gives its connection to them. What came of it is kept, and it is asked for again
behind all others; each time it may take twice as long, so that it comes in the end even if all are slow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio import CancelScope, Semaphore

from harvester.config import Timeouts
from harvester.errors import Deferred

SLOW = 16
"""Less than so many times the slowest rate that is borne is slow where others wait."""
MOST_DOUBLINGS = 20


class ConnectionSlots:
    """The connections for files, `most` at once: a file in line goes before a further one for another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._firsts = Semaphore(most, fast_acquire=True)
        self._further: list[CancelScope] = []

    @property
    def has_room(self) -> bool:
        return self._used < self._most

    @property
    def is_wanted(self) -> bool:
        """Whether a file waits for one."""
        return self._firsts.statistics().tasks_waiting > 0

    @asynccontextmanager
    async def first(self) -> AsyncIterator[None]:
        """Use one for a file; where none is left a further one for another file gives way, or it waits."""
        async with self._firsts:
            self._used += 1
            if self._used > self._most and self._further:
                self._further.pop().cancel()
            try:
                yield
            finally:
                self._used -= 1

    @contextmanager
    def further(self) -> Iterator[CancelScope]:
        """Use one more for a file that has one, until it is told to give way."""
        self._used += 1
        with CancelScope() as scope:
            self._further.append(scope)
            try:
                yield scope
            finally:
                self._used -= 1
                if scope in self._further:
                    self._further.remove(scope)


class Holding:
    """
    How one file uses the connections that it had so far.

    `times`: so often it was put off before. `clock`: seconds.
    """

    def __init__(
        self, lanes: ConnectionSlots, timeouts: Timeouts, times: int, clock: Callable[[], float]
    ) -> None:
        self._lanes = lanes
        self._patience = timeouts.idle * 2 ** min(times, MOST_DOUBLINGS)
        self._least = timeouts.min_speed * SLOW
        self._clock = clock
        self._since = 0.0
        self._seconds = 0.0
        self._size = 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count the time while an answer comes; what is waited for before has other reasons."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._seconds += self._clock() - self._since

    def came(self, size: int) -> None:
        """
        Count bytes that came, and there are more to come.

        Raises:
            Deferred: they come slowly, and another file waits.
        """
        now = self._clock()
        self._size += size
        seconds = self._seconds + now - self._since
        if seconds < self._patience:
            return
        size, self._size, self._seconds, self._since = self._size, 0, 0.0, now
        if self._lanes.is_wanted and size < self._least * seconds:
            raise Deferred(
                f"only {size} bytes in {seconds:.0f} s while other files wait: moved to the end of the queue"
            )
