"""
Large answers take turns: one at a time is in memory with all that is made of it, however many ask.

An answer asks for the turn when it turns out to be large. Who reads it within `MemoryGate.hold` keeps the
turn until the end of that block, where what came of it has been saved; others until it is decoded.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio

from harvester.errors import ConnectionFailed

LARGE = 4 << 20
"""Bytes of an answer that needs the turn."""
HEAVY = 12 << 20
"""Bytes of memory that decoding a smaller answer may take without it; a page of 1,000 entries takes fewer."""
LONGEST_SECONDS = 300.0
"""So long an answer may take to come while it keeps others waiting."""


class MemoryPermit:
    """One block's turn, which it may never need."""

    def __init__(self, turns: anyio.Semaphore, clock: Callable[[], float]) -> None:
        self._turns = turns
        self._clock = clock
        self._since: float | None = None

    async def take(self) -> None:
        """Wait for the turn, where this block does not have it yet; an answer's time begins now."""
        if self._since is None:
            await self._turns.acquire()
        self._since = self._clock()

    def must_not_last(self) -> None:
        """
        See that an answer does not keep others waiting for ever.

        Raises:
            ConnectionFailed: it does.
        """
        passed = 0.0 if self._since is None else self._clock() - self._since
        if passed > LONGEST_SECONDS and self._turns.statistics().tasks_waiting:
            raise ConnectionFailed(
                f"a large response took more than {LONGEST_SECONDS:.0f} s while others waited"
            )

    def end(self) -> None:
        """Let others have the turn."""
        if self._since is not None:
            self._since = None
            self._turns.release()


_current: ContextVar[MemoryPermit | None] = ContextVar("_current", default=None)


class MemoryGate:
    """Hands out the turn; `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = anyio.Semaphore(1)
        self._clock = clock

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[MemoryPermit]:
        """Keep a turn that is taken in this block until its end; within another such block, until its end."""
        if (outer := _current.get()) is not None:
            yield outer
            return
        turn = MemoryPermit(self._turns, self._clock)
        token = _current.set(turn)
        try:
            yield turn
        finally:
            _current.reset(token)
            turn.end()
