"""The program as a user starts it, in processes that are forked from one that has its modules already: tests
that start it hundreds of times need not load them each time, and can kill it as the system does."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import anyio

from tests.support.program import Ended, environment

_LOADED = (
    "harvester.cli.main",
    "harvester.plugins",
    "harvester.jobs.harvest",
    "harvester.cli.progress",
    "harvester.cli.render",
)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["__main__", "tests.support.forked", *_LOADED])


@dataclass(frozen=True)
class Forked:
    """The program at work."""

    process: ForkServerProcess
    told: Path

    async def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        await anyio.wait_readable(self.process.sentinel)
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> None:
        """End it as the system does that has no memory left."""
        with suppress(ProcessLookupError):
            self.process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        with suppress(ProcessLookupError):
            self.process.terminate()


@asynccontextmanager
async def forked(words: tuple[object, ...], told: Path, **more: str) -> AsyncIterator[Forked]:
    """Start the program; ``told``: the file that it prints to. It is killed at the end if it still runs."""
    arguments = ([*map(str, words)], environment(**more), str(told))
    running = Forked(_FORKS.Process(target=_main, args=arguments), told)
    running.process.start()
    try:
        yield running
    finally:
        running.kill()
        running.process.join()
        running.process.close()


async def harvester(*words: object, told: Path, **more: str) -> Ended:
    """Run the program to its end; what it prints is in ``told``, and in ``out``, both streams in one."""
    async with forked(words, told, **more) as running:
        status = await running.wait()
    text = told.read_text(encoding="utf-8", errors="backslashreplace")
    return Ended(status, text, text)


def _main(words: list[str], env: Mapping[str, str], told: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    with open(told, "wb") as handle:  # noqa: PTH123 - of the streams that every child of it has, too
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    from harvester.cli.main import main

    sys.exit(main(words))
