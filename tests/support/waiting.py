"""Waiting for what can be seen."""

from __future__ import annotations

from collections.abc import Callable

import anyio


async def until(has_come: Callable[[], bool], *, seconds: float = 30, every: float = 0.01) -> None:
    """Wait for something that can be seen, however long a busy machine takes to get there."""
    with anyio.fail_after(seconds):
        while not has_come():
            await anyio.sleep(every)
