"""Signal handling, from the first line of a command to the end of the process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator

from harvester.cli import console
from harvester.cli.events import EVENTS
from harvester.errors import ExitStatus

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has neither
_REPORT = getattr(signal, "SIGUSR1", None)


class Signals:
    """
    Handles Ctrl-C, SIGTERM and SIGHUP, which stop a command, and SIGUSR1, which asks how far it is.

    SIGHUP stays ignored under `nohup`.

    Before the work a signal ends the command. During the work it is passed to it. After the work the first
    one is ignored. A second one always ends the process immediately. One handler does all of this: when
    asyncio's handler, which anyio uses, is removed, the default action of SIGTERM is restored, and the system
    would kill the process until another handler is set.
    """

    def __init__(self) -> None:
        self._was_one = False
        self._act: Callable[[], object] = _interrupt
        self._report: Callable[[], object] = _nothing

    def begin(self) -> None:
        """Install the handler."""
        self._was_one, self._act = False, _interrupt
        with contextlib.suppress(ValueError):  # signals reach the main thread only
            for number in _stopping_signals():
                signal.signal(number, self._handle)
                # At exit Python removes its handlers, but ignored signals stay ignored.
                atexit.register(signal.signal, number, signal.SIG_IGN)
            if _REPORT is not None:
                signal.signal(_REPORT, lambda *_: self._report())
                atexit.register(signal.signal, _REPORT, signal.SIG_IGN)

    def _handle(self, number: int, _: object) -> None:
        if number == _HANGUP:
            console.leave_terminal()
        if self._was_one:
            _exit_at_once()
        self._was_one = True
        self._act()

    def ignore_one(self) -> None:
        """Ignore the first signal, unless `first` waits for it."""
        self._act = _nothing

    @contextlib.contextmanager
    def reporting(self, report: Callable[[], object]) -> Iterator[None]:
        """Call `report` in the event loop for every SIGUSR1 during the block; none before or after it."""
        import asyncio  # noqa: PLC0415 - help and config errors need none

        self._report = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, report)
        try:
            yield
        finally:
            self._report = _nothing

    async def first(self) -> None:
        """Wait for the first signal, which may have come since `ignore_one`."""
        import asyncio  # noqa: PLC0415 - help and config errors need none

        came = asyncio.Event()
        self._act = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, came.set)
        try:
            if not self._was_one:
                await came.wait()
        finally:
            self.ignore_one()


def _stopping_signals() -> Iterator[int]:
    yield from (signal.SIGINT, signal.SIGTERM)
    if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:  # ignored under nohup
        yield _HANGUP


def _interrupt() -> None:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass


def _exit_at_once() -> None:
    """Exit immediately; the ledger's transactions make that safe at any moment."""
    EVENTS.end(ExitStatus.INTERRUPTED, "state saved: run the same command again to continue")
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h\n")  # the live display has hidden the cursor
        sys.stderr.flush()
    os._exit(ExitStatus.INTERRUPTED)


SIGNALS = Signals()
"""The handlers of this process: there can be only one for each signal."""
