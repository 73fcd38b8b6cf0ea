"""The program as a user starts it, and the options that point it at a sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from harvester import load_config
from harvester.config import Config
from harvester.sandbox import Sandbox

TOKEN = "sandbox-token"


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


Program = Callable[..., Awaitable[Ended]]


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
