"""Timeouts: one timer checks the deadlines of all waits, so a wait costs one entry in a set."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """
    Deadlines that one timer checks every `tick` seconds; a wait may take one tick longer.

    A timer for each wait, as in `asyncio.timeout`, makes a request measurably slower.
    """

    def __init__(self, tick: float) -> None:
        self._tick = tick
        self._open: set[_Deadline] = set()
        self._is_looking = False

    def within(self, seconds: float) -> _Deadline:
        """
        Bound the waits inside a ``with`` block.

        Raises:
            TimeoutError: they took longer; what waited was cancelled.
        """
        return _Deadline(self, seconds)

    def begin(self, deadline: _Deadline) -> None:
        self._open.add(deadline)
        if not self._is_looking:
            self._is_looking = True
            deadline.loop.call_later(self._tick, self._look, deadline.loop)

    def end(self, deadline: _Deadline) -> None:
        self._open.discard(deadline)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for deadline in [each for each in self._open if each.at <= now]:
            deadline.expire()
        self._is_looking = bool(self._open)
        if self._is_looking:
            loop.call_later(self._tick, self._look, loop)


class _Deadline:
    __slots__ = ("_all", "_cancelling", "_expired", "_seconds", "_task", "at", "loop")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._all = deadlines
        self._seconds = seconds
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "only a task can wait"
        self._task, self._cancelling = task, task.cancelling()
        self.loop = task.get_loop()
        self.at = self.loop.time() + self._seconds
        self._all.begin(self)

    def expire(self) -> None:
        self._all.end(self)
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._all.end(self)
        # If the task was cancelled for another reason as well, it stays cancelled.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
