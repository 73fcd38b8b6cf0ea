"""Doing one thing while others run beside it, and what takes long apart from them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from anyio import create_task_group, to_thread

from harvester.errors import HarvestError

T = TypeVar("T")

LARGE = 1_000_000
"""Bytes of JSON on which work takes so long that others should not wait for it."""


async def apart(size: int, work: Callable[..., T], *args: Any) -> T:
    """Do work on `size` bytes of JSON: at once, or in a thread where they are many."""
    return await to_thread.run_sync(work, *args) if size > LARGE else work(*args)


async def run_with_background(
    work: Callable[[], Awaitable[T]], *companions: Callable[[], Coroutine[Any, Any, None]]
) -> T:
    """
    Do `work` while the companions run, and cancel them at its end.

    An error of the work or of a companion ends all of it and comes out by itself, not in a group.
    """
    try:
        async with create_task_group() as group:
            for companion in companions:
                group.start_soon(companion)
            result = await work()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise root_cause(group) from group
    return result


def root_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a group that a person should read: a bug before ours, else the first."""
    errors: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            errors.append(error)
    return next((error for error in errors if not isinstance(error, HarvestError)), errors[0])
