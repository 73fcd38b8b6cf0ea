"""
Connection slots: which files have a connection, which wait for one, and which have to release theirs.

Some servers send just fast enough to stay above `timeouts.min_speed`, and a few of them would hold all slots.
So while other files wait, a file that stays below `SLOW` times that speed for `timeouts.idle` seconds is
deferred: its bytes are kept, and it moves to the end of the queue. Each time it may take twice as long, so it
arrives in the end even if all are slow.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio import CancelScope, Semaphore

from harvester.config import Timeouts
from harvester.errors import Deferred

SLOW = 16
"""Less than this multiple of `timeouts.min_speed` is slow while other files wait."""
MOST_DOUBLINGS = 20


class ConnectionSlots:
    """
    At most `most` connections for files.

    A waiting file has priority over a second one for another file.
    """

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
        """Whether a file waits for a slot."""
        return self._firsts.statistics().tasks_waiting > 0

    @asynccontextmanager
    async def first(self) -> AsyncIterator[None]:
        """
        Hold a slot for a file.

        If none is free, cancel an additional connection of another file, or wait.
        """
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
        """Hold an additional slot for a file; its scope is cancelled when another file needs the slot."""
        self._used += 1
        with CancelScope() as scope:
            self._further.append(scope)
            try:
                yield scope
            finally:
                self._used -= 1
                if scope in self._further:
                    self._further.remove(scope)


class SlotUsage:
    """
    Measures how well one file uses its slots.

    Attributes:
        slots: the slots of all files.
        timeouts: what counts as slow, and for how long.
        deferrals: how often the file was deferred before.
        clock: returns seconds.
    """

    def __init__(
        self, slots: ConnectionSlots, timeouts: Timeouts, deferrals: int, clock: Callable[[], float]
    ) -> None:
        self._slots = slots
        self._patience = timeouts.idle * 2 ** min(deferrals, MOST_DOUBLINGS)
        self._least = timeouts.min_speed * SLOW
        self._clock = clock
        self._since = 0.0
        self._seconds = 0.0
        self._size = 0

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Count the time in this block as receiving; waits before the response have other causes."""
        self._since = self._clock()
        try:
            yield
        finally:
            self._seconds += self._clock() - self._since

    def add(self, size: int) -> None:
        """
        Count received bytes, if more are expected.

        Raises:
            Deferred: they come slowly, and another file waits.
        """
        now = self._clock()
        self._size += size
        seconds = self._seconds + now - self._since
        if seconds < self._patience:
            return
        size, self._size, self._seconds, self._since = self._size, 0, 0.0, now
        if self._slots.is_wanted and size < self._least * seconds:
            raise Deferred(
                f"only {size} bytes in {seconds:.0f} s while other files wait: moved to the end of the queue"
            )
