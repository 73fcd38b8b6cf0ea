"""Ctrl-C and SIGTERM: heeded from the first line of a command to the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable

from harvester.errors import ExitStatus


class Signals:
    """
    Ctrl-C and SIGTERM, from the first line of a command to the end of the process.

    Before the work they end the command, during it they are handed to it, after it the first one comes
    too late to do anything. A second one ends the process at once, always. One handler does all of that:
    asyncio's, which anyio's receiver uses, gives SIGTERM back to the system when it is removed, and until
    another is set the system kills.
    """

    def __init__(self) -> None:
        self._was_one = False
        self._act: Callable[[], object] = _interrupt

    def begin(self) -> None:
        """Heed signals from now on."""
        self._was_one, self._act = False, _interrupt
        with contextlib.suppress(ValueError):  # outside the main thread nobody can be told anything
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)
                # When Python ends it takes its handlers away, but leaves what is ignored.
                atexit.register(signal.signal, number, signal.SIG_IGN)

    def _handle(self, *_: object) -> None:
        if self._was_one:
            _exit_at_once()
        self._was_one = True
        self._act()

    def ignore_one(self) -> None:
        """Do nothing at the first signal, unless somebody waits for it."""
        self._act = _nothing

    async def first(self) -> None:
        """Wait for the first signal, which may have come since `ignore_one`."""
        import asyncio  # noqa: PLC0415 - see the module's docstring

        came = asyncio.Event()
        self._act = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, came.set)
        try:
            if not self._was_one:
                await came.wait()
        finally:
            self.ignore_one()


def _interrupt() -> None:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass


def _exit_at_once() -> None:
    """Leave; the ledger's transactions make that safe at any moment."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the live display had hidden the cursor
        sys.stderr.flush()
    os._exit(ExitStatus.INTERRUPTED)


SIGNALS = Signals()
"""The handlers of this process: there can be only one for each signal."""
