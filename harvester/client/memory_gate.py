"""
Memory limit by admission control: one large answer at a time is in memory, with everything decoded from it.

An answer acquires the permit when it turns out to be large. Code that reads it within `MemoryGate.hold` keeps
the permit until the end of that block, when the result has been saved; other code until it is decoded.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio

from harvester.errors import ConnectionFailed

LARGE = 4 << 20
"""Bytes of an answer that needs the permit."""
HEAVY = 12 << 20
"""Bytes of memory that decoding a smaller answer may take without it; a page of 1,000 entries takes fewer."""
LONGEST_SECONDS = 300.0
"""How long an answer may take while it keeps others waiting."""


class MemoryPermit:
    """The permit of one block; it is acquired only for a large answer."""

    def __init__(self, semaphore: anyio.Semaphore, clock: Callable[[], float]) -> None:
        self._semaphore = semaphore
        self._clock = clock
        self._since: float | None = None

    async def acquire(self) -> None:
        """Wait for the permit, unless this block holds it; the time limit of the answer begins now."""
        if self._since is None:
            await self._semaphore.acquire()
        self._since = self._clock()

    def must_not_last(self) -> None:
        """
        Enforce the time limit of an answer that keeps others waiting.

        Raises:
            ConnectionFailed: it took too long.
        """
        passed = 0.0 if self._since is None else self._clock() - self._since
        if passed > LONGEST_SECONDS and self._semaphore.statistics().tasks_waiting:
            raise ConnectionFailed(
                f"a large response took more than {LONGEST_SECONDS:.0f} s while others waited"
            )

    def release(self) -> None:
        """Release the permit, if this block holds it."""
        if self._since is not None:
            self._since = None
            self._semaphore.release()


_current: ContextVar[MemoryPermit | None] = ContextVar("_current", default=None)


class MemoryGate:
    """Grants the permit; `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._semaphore = anyio.Semaphore(1)
        self._clock = clock

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[MemoryPermit]:
        """Keep a permit that is acquired in this block until its end, or that of the outermost such block."""
        if (outer := _current.get()) is not None:
            yield outer
            return
        permit = MemoryPermit(self._semaphore, self._clock)
        token = _current.set(permit)
        try:
            yield permit
        finally:
            _current.reset(token)
            permit.release()
