"""
Path encoding, for locales whose charset is not UTF-8.

Python encodes a path in the charset of the locale. The harvest's own paths are UTF-8 on every disk, so that
another user sees the same names (`on_disk`). Paths that the user gives keep the user's charset (`usable`). If
Python's charset for paths is UTF-8, as on macOS, Windows and most Linux systems, nothing changes.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path


def _is_utf8() -> bool:
    return sys.getfilesystemencoding().lower() in {"utf-8", "utf8"}


def on_disk(path: str) -> str:
    """Return a path of the harvest for a system call: its bytes are UTF-8."""
    return path if _is_utf8() else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_disk(name: str) -> str:
    """Return the harvest's path for a name that a system call returned."""
    return name if _is_utf8() else os.fsencode(name).decode("utf-8", "surrogateescape")


def below(folder: Path, path: str) -> Path:
    """Return a path of the harvest below the user's folder."""
    return folder / on_disk(path)


def is_there(folder: Path, path: str) -> bool:
    """Return whether a path of the harvest exists below the user's folder; a link counts."""
    return os.path.lexists(below(folder, path))


def usable(path: str) -> str:
    """Return a path that the user gave, in UTF-8 if the locale cannot encode it."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return on_disk(path)
    return path


MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 4095
"""Of a name and of a path, on the usual systems."""


def path_fault(path: str) -> str:
    """Return why a text is no path that this machine can have, "" if it may be one."""
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "expected a path without control characters"
    raw = os.fsencode(usable(path))
    if len(raw) > MOST_PATH_BYTES or any(len(name) > MOST_NAME_BYTES for name in raw.split(b"/")):
        return "the name is too long"
    return ""


def as_text(argument: str) -> str:
    """
    Return the text of an argument, decoded as UTF-8 if the locale cannot decode it.

    Raises:
        UnicodeError: it is not text.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode()
    return argument


PATIENCE_SECONDS = 10.0
"""Wait for the first byte from a pipe."""


def contents(path: Path, *, most: int) -> bytes:
    """
    Return the bytes of a small file or pipe, at most `most`, within a time limit.

    Raises:
        OSError: it cannot be read, is neither file nor pipe, is larger, or no process writes to it.
    """
    handle = os.open(usable(str(path)), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        kind = os.fstat(handle).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISDIR(kind)):
            raise OSError(errno.EINVAL, "it is not a file")
        content = bytearray()
        while chunk := _chunk(handle, is_pipe=stat.S_ISFIFO(kind)):
            content += chunk
            if len(content) > most:
                raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        if stat.S_ISFIFO(kind) and not content:
            raise OSError(errno.EPIPE, "no process writes to this pipe")
        return bytes(content)
    finally:
        os.close(handle)


def _chunk(handle: int, *, is_pipe: bool) -> bytes:
    if is_pipe:
        import select  # noqa: PLC0415 - only for a pipe

        if not select.select([handle], [], [], PATIENCE_SECONDS)[0]:
            raise OSError(errno.EPIPE, "no process writes to this pipe")
    return os.read(handle, 1 << 20)
