"""
Event log: `--log-json` makes standard error a stream of JSON objects, one a line, from `start` to `end`.

`EVENTS` owns standard error then: it takes the place of `sys.stderr`, so that text of a library, a thread or
the argument parser becomes an object too. Lines are written with one system call each, in UTF-8. Without the
option nothing here is used.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from harvester.errors import ExitStatus, HarvestError, UsageError
from harvester.system.version import __version__
from harvester.text.display import one_line

OPTION = "--log-json"
LONGEST_WAIT_SECONDS = 5.0
"""How long one line waits for a reader of a pipe that does not block."""
START_FIELDS = (
    *("command", "config", "folder", "sources", "tasks", "rates", "services"),
    *("has_token", "has_stats_credentials"),
)
OUTCOMES: dict[int, str] = {
    ExitStatus.COMPLETE: "finished",
    ExitStatus.FAILURES: "finished",
    ExitStatus.USAGE: "refused",
    ExitStatus.STOPPED: "stopped",
    ExitStatus.INTERRUPTED: "interrupted",
}
"""The outcome of each exit status; of a defect of the program it is `CRASHED`."""
CRASHED = "crashed"
DEFECT, LIBRARY = "defect", "library"
"""The `kind` of an error that is none of the program's own: it was not expected, or a library logged it."""

Result = Callable[[], Mapping[str, Any]]


def is_wanted(words: Sequence[str]) -> bool:
    """Return whether a command line has the option; wrong usage is found only later."""
    given = [word.partition("=")[0] for word in takewhile(lambda word: word != "--", words)]
    return OPTION in given


def local_time(seconds: float) -> str:
    """Return a moment, in seconds since 1970, as local time with its offset."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def line(event: str, level: str, message: str, fields: Mapping[str, Any]) -> str:
    """Return one event as JSON; texts are safe to print, and hold no secret."""
    import orjson  # noqa: PLC0415 - only this option needs it

    document = {"time": local_time(time.time()), "level": level, "event": event, "message": message, **fields}
    return orjson.dumps(_safe(document)).decode()


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return "\n".join(map(one_line, value.split("\n")))
    if isinstance(value, Mapping):
        return {str(key): _safe(inner) for key, inner in value.items()}
    return [_safe(each) for each in value] if isinstance(value, list | tuple) else value


class Events:
    """The event log of a process; off until `begin` finds the option."""

    def __init__(self) -> None:
        self.is_on = False
        self._descriptor = 2
        self._unwritten = b""
        self._lock: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        self._has_started = False
        self._has_crashed = False
        self._known: dict[str, Any] = {}
        self._start = ""
        self._copy: Callable[[str], object] | None = None
        self._result: Result = dict

    def begin(self, words: Sequence[str]) -> None:
        """Own standard error from here on, if the command line says so."""
        if not is_wanted(words):
            return
        with contextlib.suppress(OSError, ValueError):
            self._descriptor = sys.stderr.fileno()
        self.is_on = True
        sys.stderr = _ForeignText(self)
        self._catch()

    def _catch(self) -> None:
        """Make events of what Python itself would print as text."""
        import threading  # noqa: PLC0415 - only this option needs it
        import warnings  # noqa: PLC0415

        self._lock = threading.RLock()

        def warn(message: Warning | str, *_: object, **__: object) -> None:
            self.emit("warning", "warning", str(message))

        warnings.showwarning = warn
        sys.excepthook = lambda _, error, __: self.crash(error)
        threading.excepthook = lambda args: self.crash(args.exc_value)
        sys.unraisablehook = lambda args: self.crash(args.exc_value)

    def know(self, **fields: Any) -> None:
        """Take what is known of the command before its config is read."""
        self._known = fields

    def start(self, fields: Mapping[str, Any], message: str = "") -> None:
        """Write the first event; a command that ends before it knows its config has one without values."""
        if self._has_started:
            return
        self._has_started = True
        known = {name: {**self._known, **fields}.get(name) for name in START_FIELDS}
        text = message or f"harvester {__version__}"
        self._start = line("start", "info", text, {"version": __version__, **known})
        self._write(f"{self._start}\n")

    def emit(self, event: str, level: str, message: str, /, **fields: Any) -> None:
        """Write one event."""
        text = line(event, level, message, fields)
        self.write(f"{text}\n")
        if self._copy is not None:
            self._copy(text)

    def copy_to(self, copy: Callable[[str], object]) -> None:
        """Give `copy` the first event, and each further one that comes from no log record: for a log file."""
        if self._copy is None:
            copy(self._start)
        self._copy = copy

    def error(self, error: HarvestError, /) -> None:
        """Write the error that ends the command."""
        self.emit("error", "error", str(error), kind=kind_of(type(error)))

    def crash(self, error: BaseException | None) -> None:
        """Write an unexpected error, which is a defect of the program."""
        import traceback  # noqa: PLC0415 - where something failed

        trace = "".join(traceback.format_exception(error)) if error else ""
        text = "this is a defect of the program: please report it in its repository, with the traceback"
        self._has_crashed = True
        self.emit("error", "critical", text, kind=DEFECT, traceback=trace)

    def set_result(self, result: Result) -> None:
        """Set what returns the result of the run for the last event, whenever the process ends."""
        self._result = result

    def end(self, status: int, more: str = "") -> None:
        """
        Write the last event; whatever else is written to standard error is lost.

        `more`: a text after the exit status and the outcome.
        """
        if not self.is_on:
            return
        known: dict[str, Any] = {"counts": None, "summary": None}
        with contextlib.suppress(Exception):  # the event comes with or without its numbers
            known |= self._result()
        outcome = CRASHED if self._has_crashed else OUTCOMES.get(status, CRASHED)
        fields = {"exit_status": int(status), "outcome": outcome, **known}
        level = ("info", "warning")[status] if status < 2 else "error"
        message = f"exit status {int(status)}: {outcome}" + (f"; {more}" if more else "")
        self.emit("end", level, message, **fields)
        self.is_on = False

    def write(self, text: str) -> None:
        """Write a whole line, after the first event; nothing is written after the last one."""
        if self.is_on:
            self.start({})
            self._write(text)

    def flush(self) -> None:
        """Do nothing, as every line is written at once; a log handler calls this."""

    def _write(self, text: str) -> None:
        # A second Ctrl-C may interrupt this, and writes the last event: first the rest of this line.
        with self._lock:
            self._unwritten += text.encode()
            with contextlib.suppress(OSError):  # closed, or on a full disk: the work matters more
                self._write_all()
            self._unwritten = b""

    def _write_all(self) -> None:
        while self._unwritten:
            try:
                written = os.write(self._descriptor, self._unwritten)
            except BlockingIOError:
                if not select.select((), (self._descriptor,), (), LONGEST_WAIT_SECONDS)[1]:
                    return
            else:
                self._unwritten = self._unwritten[written:]


class _ForeignText(io.TextIOBase):
    """What stands in for `sys.stderr`: text that is no event becomes one, line by line."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._text = ""

    def write(self, text: str, /) -> int:
        whole, _, self._text = (self._text + text).rpartition("\n")
        for each in whole.split("\n"):
            if each.strip():
                self._events.emit("warning", "warning", each)
        return len(text)


def kind_of(error: type[HarvestError]) -> str:
    """Return the kind of an error, such as ``token_rejected``; any wrong usage is one kind."""
    error = UsageError if issubclass(error, UsageError) else error
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in error.__name__).strip("_")


EVENTS = Events()
"""The event log of this process: there is only one standard error."""
