"""Console output: prints to standard output and error, which may be closed, full, or a broken pipe."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from harvester.cli.events import EVENTS
from harvester.errors import FatalError
from harvester.text.display import ascii_json, one_line


def begin() -> bool:
    """Make standard output accept any text; return False if the calling process has closed it."""
    # The next opened file would get the descriptor of a closed stream, the lowest first.
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    if sys.stderr is None:
        _discard_errors()
    if sys.stdout is None:
        print_nowhere()
        return False
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _MAY_FAIL:
        codecs.register_error(_ANY_TEXT, _escape)
        sys.stdout.reconfigure(errors=_MAY_FAIL[sys.stdout.errors])
    return True


_ANY_TEXT = "harvester.any-text"
_MAY_FAIL = {"strict": "backslashreplace", "surrogateescape": _ANY_TEXT}
"""Error handlers: a path may be no valid text, and the terminal's charset may lack characters such as "…"."""


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encode the raw bytes of a path unchanged, and escape characters that the charset lacks."""
    if isinstance(error, UnicodeEncodeError):
        char = error.object[error.start]
        if "\udc80" <= char <= "\udcff":
            return bytes([ord(char) - 0xDC00]), error.start + 1
    return codecs.backslashreplace_errors(error)


def leave_terminal() -> None:
    """Discard further output to a terminal that was closed: writing to it would fail."""
    if _is_closed_terminal(sys.stdout):
        print_nowhere()
    if not EVENTS.is_on and _is_closed_terminal(sys.stderr):
        _discard_errors()


def _is_closed_terminal(stream: TextIO) -> bool:
    try:
        number = stream.fileno()
        return stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number)
    except (OSError, ValueError):
        return False


def print_raw(text: object) -> None:
    """
    Print for other programs.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        FatalError: writing failed, for example on a full disk.
    """
    with _translated():
        sys.stdout.write(f"{text}\n")


def print_json(text: str) -> None:
    """Print JSON for other programs, in ASCII for any charset; raises what `print_raw` raises."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print_raw(text if is_utf8 else ascii_json(text))


def flush() -> None:
    """Flush standard output; raises what `print_raw` raises."""
    with _translated():
        sys.stdout.flush()


def print_text(text: str) -> None:
    """Print for people; control characters in names, titles or answers are removed."""
    for line in text.splitlines():
        print_raw(one_line(line))


def print_note(text: str) -> None:
    """Print like `print_text`, but ignore a broken pipe: the work of the command continues."""
    with contextlib.suppress(BrokenPipeError):
        print_text(text)


def print_progress_note(text: str) -> None:
    """Print a note on what a run does after its work; with `--log-json` it is an event."""
    if EVENTS.is_on:
        EVENTS.emit("note", "info", text)
    else:
        print_note(text)


def read_answer(question: str) -> str:
    """Return the answer that the user types; "" at the end of the input."""
    # Python's `input` would print the question on standard error.
    sys.stdout.write(one_line(question) + " ")
    sys.stdout.flush()
    try:
        return input()
    except EOFError:
        return ""


def print_error(text: str, *, event: str = "error") -> None:
    """Print an error message on standard error; failures to print it are ignored."""
    if EVENTS.is_on:
        EVENTS.emit(event, "error" if event == "error" else "warning", text)
        return
    with contextlib.suppress(OSError):
        for line in text.splitlines():
            sys.stderr.write(f"{one_line(line)}\n")
    flush_errors()
    for copy in _COPIES:
        copy(text)


def copy_errors_to(copy: Callable[[str], object]) -> None:
    """Give `copy` the text of every further error: for a log file."""
    _COPIES[:] = [copy]


_COPIES: list[Callable[[str], object]] = []
"""What gets the text of errors too: one or none."""


def flush_errors() -> None:
    """Flush standard error; an error left for Python's exit would change the exit status."""
    try:
        sys.stderr.flush()
    except OSError:
        _discard_errors()


def print_nowhere() -> None:
    """Discard all further output."""
    sys.stdout = _nowhere()


def _discard_errors() -> None:
    sys.stderr = _nowhere()


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - until exit


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        print_nowhere()  # else Python would try again at exit
        if isinstance(exc, BrokenPipeError):
            raise
        raise FatalError(f"standard output: {exc.strerror}") from exc
