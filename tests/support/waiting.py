"""Waiting for what can be seen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import anyio


async def until(has_come: Callable[[], bool], *, seconds: float = 30, every: float = 0.01) -> None:
    """Wait for something that can be seen, however long a busy machine takes to get there."""
    with anyio.fail_after(seconds):
        while not has_come():
            await anyio.sleep(every)


async def side_by_side(cases: Iterable[str], claim: Callable[[str], Awaitable[None]]) -> None:
    """Check a claim for all cases at once, for each waits most of the time; a failure names its case."""

    async def one(case: str) -> None:
        try:
            await claim(case)
        except Exception as fault:
            fault.add_note(f"case: {case}")
            raise

    async with anyio.create_task_group() as group:
        for case in cases:
            group.start_soon(one, case)
