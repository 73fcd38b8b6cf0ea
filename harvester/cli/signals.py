"""Signal handling: Ctrl-C and SIGTERM, from the first line of a command to the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable

from harvester.cli.events import EVENTS
from harvester.errors import ExitStatus


class Signals:
    """
    Handles Ctrl-C and SIGTERM, from the first line of a command to the end of the process.

    Before the work a signal ends the command. During the work it is passed to it. After the work the first
    one is ignored. A second one always ends the process immediately. One handler does all of this: when
    asyncio's handler, which anyio uses, is removed, the default action of SIGTERM is restored, and the system
    would kill the process until another handler is set.
    """

    def __init__(self) -> None:
        self._was_one = False
        self._act: Callable[[], object] = _interrupt

    def begin(self) -> None:
        """Install the handler."""
        self._was_one, self._act = False, _interrupt
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._handle)
                # At exit Python removes its handlers, but ignored signals stay ignored.
                atexit.register(signal.signal, number, signal.SIG_IGN)

    def _handle(self, *_: object) -> None:
        if self._was_one:
            _exit_at_once()
        self._was_one = True
        self._act()

    def ignore_one(self) -> None:
        """Ignore the first signal, unless `first` waits for it."""
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
    """Exit immediately; the ledger's transactions make that safe at any moment."""
    EVENTS.end(ExitStatus.INTERRUPTED)
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the live display has hidden the cursor
        sys.stderr.flush()
    os._exit(ExitStatus.INTERRUPTED)


SIGNALS = Signals()
"""The handlers of this process: there can be only one for each signal."""
