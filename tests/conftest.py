"""What all tests have: the sandbox on real sockets, and Ctrl-C as a terminal sends it."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator

import pytest

from harvester.sandbox import Sandbox, Settings

pytest.register_assert_rewrite("tests.support")

# A shell starts what runs in the background with Ctrl-C ignored, and that is inherited; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world() -> Settings:
    return Settings(items=200)


@pytest.fixture
async def sandbox(world: Settings) -> AsyncIterator[Sandbox]:
    async with Sandbox(world) as running:
        yield running
