"""Structured concurrency: work with background tasks, and long computations in a worker thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from anyio import Lock, create_task_group, to_thread

from harvester.errors import HarvestError

T = TypeVar("T")

LARGE = 1_000_000
"""Bytes of JSON that take long enough to block the event loop noticeably."""


async def apart(size: int, work: Callable[..., T], *args: Any) -> T:
    """Return `work(*args)` on `size` bytes of JSON; for many bytes it runs in a worker thread."""
    return await to_thread.run_sync(work, *args) if size > LARGE else work(*args)


@asynccontextmanager
async def background_tasks(*tasks: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """
    Run background tasks during the block; they are cancelled at its end.

    An error of the block or of a task cancels all; it is raised directly, not in a group.
    """
    try:
        async with create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
            yield
            group.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise root_cause(group) from group


def root_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of a group to report: a bug before our own errors, else the first."""
    errors: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            errors.append(error)
    return next((error for error in errors if not isinstance(error, HarvestError)), errors[0])


class KeyedLocks:
    """Mutual exclusion by key: one task at a time holds a key; a free key takes no memory."""

    def __init__(self) -> None:
        self._locks: dict[tuple[int | str, ...], Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, *key: int | str) -> AsyncIterator[None]:
        """Hold a key for the block; wait for a task that holds it."""
        lock = self._locks.setdefault(key, Lock(fast_acquire=True))
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(key, None)
