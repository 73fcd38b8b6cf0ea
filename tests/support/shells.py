"""Interactive shells on a terminal of their own, in which a test types words and presses Tab."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

PROMPT: Final = "ready> "


class Shell:
    """A shell that has a terminal; ``shown`` is what it has printed on the present line."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self.shown = ""

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def has_shown(self, text: str, *, seconds: float = 20) -> bool:
        """Wait until the shell shows a text."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._terminal], [], [], left)[0]:
                return False
            with contextlib.suppress(OSError):
                self.shown += re.sub(
                    r"\x1b\[[0-9;?]*[A-Za-z]|\x07", "", os.read(self._terminal, 65536).decode()
                )
        return True

    def complete(self, line: str) -> None:
        """Begin a new line, type words and press Tab."""
        self.press("\x15")  # removes what is there
        self.shown = ""
        self.press(f"{line}\t")


@contextlib.contextmanager
def shell(command: Sequence[str], env: Mapping[str, str], cwd: Path, *first: str) -> Iterator[Shell]:
    """Start an interactive shell, which runs the `first` lines."""
    pid, terminal = pty.fork()
    if pid == 0:
        try:
            os.chdir(cwd)
            os.execvpe(command[0], list(command), dict(env))
        finally:
            os._exit(127)
    try:
        running = Shell(terminal)
        for line in first:
            running.press(f"{line}\n")
        assert running.has_shown(f"\n{PROMPT}"), running.shown
        yield running
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
