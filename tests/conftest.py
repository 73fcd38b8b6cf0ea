"""What the tests share: the sandbox on real sockets, and the program as a user starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from harvester import load_config
from harvester.config import Config
from harvester.sandbox import Sandbox, Settings

TOKEN = "sandbox-token"

# A shell starts what runs in the background with Ctrl-C ignored, and that is inherited; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """The environment of a user with the sandbox's token and nothing of the harvester's."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("HARVESTER_", "FIGSHARE_"))
    }
    return {**kept, "FIGSHARE_TOKEN": TOKEN, **more}


async def harvester(
    *words: object, cwd: Path | None = None, stdin: str = "", env: dict[str, str] | None = None
) -> Ended:
    """Run the program to its end."""
    done = await anyio.run_process(
        [sys.executable, "-m", "harvester", *map(str, words)],
        cwd=cwd,
        input=stdin.encode(),
        env=environment() if env is None else env,
        check=False,
    )
    out, err = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
    return Ended(done.returncode, out, err)


def at(sandbox: Sandbox, rate: str = "inf") -> tuple[str, ...]:
    """The options that point the program at a sandbox, unlimited unless a test is about limits."""
    return ("--api", sandbox.api, "--stats", sandbox.stats, "--rate", rate)


def config(sandbox: Sandbox, folder: Path, **more: object) -> Config:
    """Everything, with short waits: the sandbox's faults pass at once."""
    options = {
        "sources": [{"kind": "search", "query": "survey"}],
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        "rate.api": float("inf"),
        "rate.stats": float("inf"),
        "rate.files": float("inf"),
        "retry.max_wait": 0.05,
        "timeouts.connect": 2.0,
        "timeouts.idle": 0.5,
        **more,
    }
    return load_config(options=options, environ={})


@pytest.fixture
def world() -> Settings:
    return Settings(items=200)


@pytest.fixture
async def sandbox(world: Settings) -> AsyncIterator[Sandbox]:
    async with Sandbox(world) as running:
        yield running


Program = Callable[..., Awaitable[Ended]]


async def until(has_come: Callable[[], bool], *, seconds: float = 30, every: float = 0.01) -> None:
    """Wait for something that can be seen, however long a busy machine takes to get there."""
    with anyio.fail_after(seconds):
        while not has_come():
            await anyio.sleep(every)


@asynccontextmanager
async def started(words: Sequence[object], **more: str) -> AsyncIterator[anyio.abc.Process]:
    """Start the program and leave it running; it is killed at the end if it still runs."""
    process = await anyio.open_process(
        [sys.executable, "-m", "harvester", *map(str, words)],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
