"""A terminal with the program on it: what a person sees, from the bytes that the program writes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pyte

from tests.support.fork_server import ForkedProcess, fork
from tests.support.program import environment
from tests.support.waiting import until

ROWS = 24


class Terminal:
    """The screen (a `pyte.Screen`, with colours), and the program that draws on it."""

    def __init__(self, descriptor: int, process: ForkedProcess, columns: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self.screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""

    def read(self) -> None:
        """Take what the program has written."""
        try:
            data = os.read(self._descriptor, 1 << 16)
        except OSError:  # the program has ended
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.written += data
        self._stream.feed(data)

    @property
    def text(self) -> str:
        """What is on the screen, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip("\n")

    def resize(self, columns: int) -> None:
        """Change the width, as a person does with the mouse; old text is cut, and not wrapped."""
        _set_size(self._descriptor, columns)
        self.screen.resize(ROWS, columns)

    async def redrawn(self, times: int) -> None:
        """Wait until the last line of the display was written again, and again."""
        before = len(self.written)
        await until(lambda: self.written[before:].count(b"time ") >= times)

    async def shows(self, pattern: str) -> str:
        """Wait until the screen shows something; return all that it shows."""
        shown = ""

        seen = -1

        def has_come() -> bool:
            nonlocal shown, seen
            if seen == len(self.written):  # nothing new, and to read a screen takes a while
                return False
            seen, shown = len(self.written), self.text
            return re.search(pattern, shown, re.MULTILINE) is not None

        try:
            await until(has_come, every=0.05)
        except TimeoutError as error:
            error.add_note(f"{pattern!r} is not in\n{self.text}")
            raise
        return shown


def _set_size(descriptor: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))


@asynccontextmanager
async def on_terminal(
    *words: object, columns: int = 80, cwd: Path | str | None = None, **more: str
) -> AsyncIterator[Terminal]:
    """Start the program on a terminal; it is killed at the end if it still runs. `more`: variables."""
    ours, its = os.openpty()
    _set_size(its, columns)
    env = environment(**{"TERM": "xterm-256color", "XTERM_VERSION": "370", **more})  # it cuts lines too
    for name in ("TMUX", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if name not in more:
            env.pop(name, None)
    process = fork(words, env=env, cwd=Path(cwd) if cwd else None, streams=(its,) * 3)
    os.close(its)
    terminal = Terminal(ours, process, columns)
    asyncio.get_running_loop().add_reader(ours, terminal.read)
    try:
        yield terminal
    finally:
        process.kill()
        process.wait_blocking()
        with suppress(OSError):
            asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
