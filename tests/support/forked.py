"""The program with both streams in one file: for tests that start it again and again and kill it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.fork_server import ForkedProcess, fork
from tests.support.program import Ended, environment


@dataclass(frozen=True)
class Forked:
    """The running program; ``output``: the file that it prints to."""

    process: ForkedProcess
    output: Path

    async def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        return await self.process.wait()

    def kill(self) -> None:
        """End it as the system does that has no memory left."""
        self.process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.terminate()


@asynccontextmanager
async def forked(words: tuple[object, ...], output: Path, **more: str) -> AsyncIterator[Forked]:
    """Start the program; ``output``: the file that it prints to. It is killed at the end if it still runs."""
    with output.open("wb") as out, Path(os.devnull).open("rb") as nothing:
        streams = (nothing.fileno(), out.fileno(), out.fileno())
        process = fork(words, env=environment(**more), streams=streams)
    try:
        yield Forked(process, output)
    finally:
        process.kill()
        process.wait_blocking()


async def harvester(*words: object, output: Path, **more: str) -> Ended:
    """Run the program to its end; what it prints is in ``output``, and in ``out``, both streams in one."""
    async with forked(words, output, **more) as running:
        status = await running.wait()
    text = output.read_text(encoding="utf-8", errors="backslashreplace")
    return Ended(status, text, text)
