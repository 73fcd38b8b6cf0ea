"""Waits that take too long end, and nothing else does."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from harvester.client.deadlines import Deadlines

pytestmark = pytest.mark.anyio

FOREVER = 3600.0


async def test_a_wait_that_takes_too_long_ends() -> None:
    deadlines = Deadlines(0.01)
    began = anyio.current_time()
    with pytest.raises(TimeoutError), deadlines.within(0.05):
        await anyio.sleep(FOREVER)
    assert anyio.current_time() - began >= 0.05
    await anyio.sleep(0)  # the task is not cancelled any more
    with deadlines.within(FOREVER):
        await anyio.sleep(0.03)


async def test_only_the_one_that_takes_too_long_ends() -> None:
    deadlines = Deadlines(0.01)
    ended: list[str] = []

    async def wait(name: str, seconds: float, takes: float) -> None:
        try:
            with deadlines.within(seconds):
                await anyio.sleep(takes)
        except TimeoutError:
            ended.append(f"{name} too long")
        else:
            ended.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(wait, "a", 0.02, FOREVER)
        group.start_soon(wait, "b", FOREVER, 0.1)
    assert ended == ["a too long", "b"]


async def test_a_cancellation_is_not_lost() -> None:
    deadlines = Deadlines(0.01)
    reached = False
    with anyio.CancelScope() as scope:
        scope.cancel()
        with deadlines.within(FOREVER):
            await anyio.sleep(FOREVER)
        reached = True
    assert scope.cancelled_caught
    assert not reached


async def test_cancelled_and_too_late_at_once_is_cancelled() -> None:
    """The deadline must not hide a cancellation of the task."""
    deadlines = Deadlines(FOREVER)
    scope = anyio.CancelScope()

    async def wait() -> None:
        with scope:
            with deadlines.within(FOREVER):
                await anyio.sleep(FOREVER)
            pytest.fail("it was cancelled")

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.sleep(0.01)
        scope.cancel()
        next(iter(deadlines._open)).expire()
    assert scope.cancelled_caught


async def test_too_late_by_one_turn_of_the_event_loop_is_too_late() -> None:
    """The deadline expires when the wait is over and the task has not gone on yet."""
    deadlines = Deadlines(FOREVER)
    done = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        with deadlines.within(FOREVER):
            await done

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    (deadline,) = deadlines._open
    done.set_result(None)
    deadline.expire()
    with pytest.raises(TimeoutError):
        await task
    assert not deadlines._open


async def test_nothing_is_left_behind() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(3):
        with deadlines.within(FOREVER):
            assert len(deadlines._open) == 1
    assert not deadlines._open
    await anyio.sleep(0.05)
    assert not deadlines._is_looking
