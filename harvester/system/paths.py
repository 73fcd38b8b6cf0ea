"""
Paths as the system takes them: where the locale's charset is not UTF-8, and a name may be beyond it.

Python turns the text of a path into bytes of the locale. What a harvest calls its files is UTF-8 on every
disk, whatever the locale (`on_disk`), so that a folder means the same to whoever comes next; what the user
names stays what it is in the user's locale (`usable`). Where Python's charset for paths is UTF-8, as on macOS
and Windows and nearly everywhere, all of this changes nothing.
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
    """Return a path of the harvest as calls of the system take it: so that its bytes are UTF-8."""
    return path if _is_utf8() else os.fsdecode(path.encode("utf-8", "surrogateescape"))


def from_disk(name: str) -> str:
    """Return what the harvest calls a file, from the name that a call of the system gave."""
    return name if _is_utf8() else os.fsencode(name).decode("utf-8", "surrogateescape")


def below(folder: Path, path: str) -> Path:
    """Return the place of a path of the harvest below the user's folder."""
    return folder / on_disk(path)


def is_there(folder: Path, path: str) -> bool:
    """Tell whether anything has this path of the harvest below the user's folder, a link too."""
    return os.path.lexists(below(folder, path))


def usable(path: str) -> str:
    """Return a path that the user named; in UTF-8 where the locale has no bytes for it, as a config may."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return on_disk(path)
    return path


def as_text(argument: str) -> str:
    """Return the text of an argument: UTF-8 where the locale has no characters for its bytes."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode()
    return argument


PATIENCE_SECONDS = 10.0
"""So long is waited for somebody to write to a pipe."""


def contents(path: Path, *, most: int) -> bytes:
    """
    Read a small file, or what is written to a pipe: no more than `most` bytes, and without waiting for ever.

    Raises:
        OSError: it cannot be read, is neither file nor pipe, larger, or nobody writes to it.
    """
    handle = os.open(usable(str(path)), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        kind = os.fstat(handle).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind) or stat.S_ISDIR(kind)):
            raise OSError(errno.EINVAL, "it is not a file")
        told = bytearray()
        while piece := _piece(handle, is_pipe=stat.S_ISFIFO(kind)):
            told += piece
            if len(told) > most:
                raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
        if stat.S_ISFIFO(kind) and not told:
            raise OSError(errno.EPIPE, "no process writes to this pipe")
        return bytes(told)
    finally:
        os.close(handle)


def _piece(handle: int, *, is_pipe: bool) -> bytes:
    if is_pipe:
        import select  # noqa: PLC0415 - where there is one

        if not select.select([handle], [], [], PATIENCE_SECONDS)[0]:
            raise OSError(errno.EPIPE, "no process writes to this pipe")
    return os.read(handle, 1 << 20)
