"""Standard output and error, as far as they go: they may be closed, full, or left by whoever read them."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator

from harvester.errors import FatalError
from harvester.text.display import ascii_json, one_line


def begin() -> bool:
    """Make standard output take any text; return False where whoever started this has closed it."""
    if sys.stderr is None:
        _complain_nowhere()
    if sys.stdout is None:
        print_nowhere()  # or the next file that is opened would get its number
        return False
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _MAY_FAIL:
        codecs.register_error(_ANY_TEXT, _escape)
        sys.stdout.reconfigure(errors=_MAY_FAIL[sys.stdout.errors])
    return True


_ANY_TEXT = "harvester.any-text"
_MAY_FAIL = {"strict": "backslashreplace", "surrogateescape": _ANY_TEXT}
"""A path may be no text, a terminal may lack …; in the C locale Python prints such paths, and fails at …"""


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print the bytes of a path that is no text as they are, and escape what the charset lacks."""
    if isinstance(error, UnicodeEncodeError):
        char = error.object[error.start]
        if "\udc80" <= char <= "\udcff":
            return bytes([ord(char) - 0xDC00]), error.start + 1
    return codecs.backslashreplace_errors(error)


def print_raw(text: object) -> None:
    """
    Print for other programs.

    Raises:
        BrokenPipeError: whoever read it has gone.
        FatalError: standard output does not take it, as a full disk.
    """
    with _translated():
        sys.stdout.write(f"{text}\n")


def print_json(text: str) -> None:
    """Print JSON for other programs, whatever charset they use; raises what `print_raw` raises."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print_raw(text if is_utf8 else ascii_json(text))


def flush() -> None:
    """Let nothing that was printed wait any longer; raises what `print_raw` raises."""
    with _translated():
        sys.stdout.flush()


def print_text(text: str) -> None:
    """Print for people; what names, titles or servers put into it cannot command the terminal."""
    for line in text.splitlines():
        print_raw(one_line(line))


def print_note(text: str) -> None:
    """As `print_text`, beside the work of a command: a reader that has gone does not end the work."""
    with contextlib.suppress(BrokenPipeError):
        print_text(text)


def print_error(text: str) -> None:
    """Say on standard error what is wrong; that nobody can read it there changes nothing."""
    with contextlib.suppress(OSError):
        for line in text.splitlines():
            sys.stderr.write(f"{one_line(line)}\n")
    flush_errors()


def flush_errors() -> None:
    """Let no complaint wait any longer; what fails to go out would give the process a status of Python's."""
    try:
        sys.stderr.flush()
    except OSError:
        _complain_nowhere()


def print_nowhere() -> None:
    """Print to nowhere from now on."""
    sys.stdout = _nowhere()


def _complain_nowhere() -> None:
    sys.stderr = _nowhere()


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - until exit


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        print_nowhere()  # Python would try again as it ends
        if isinstance(exc, BrokenPipeError):
            raise
        raise FatalError(f"standard output: {exc.strerror}") from exc
