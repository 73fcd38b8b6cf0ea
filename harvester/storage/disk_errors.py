"""Error mapping: an OSError of the disk becomes `StorageError`, with the path, the cause and advice."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from harvester.errors import StorageError

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_ADVICE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EROFS: "make the disk writable",
    errno.EACCES: "give this user the right to read and write there",
    errno.EPERM: "give this user the right to read and write there",
    errno.ENOENT: "put it back (is its disk mounted?)",
    errno.ENOTDIR: "move away what is in the place of a folder",
    errno.EISDIR: "move away the folder in the place of a file",
    errno.EFBIG: "choose a disk that takes files of this size",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "allow more open files",
    errno.EIO: "check the disk",
}


@contextmanager
def map_disk_errors(what: str) -> Iterator[None]:
    """
    Map the errors of a disk in this block; `what`: the path.

    Raises:
        StorageError: for any OSError.
    """
    try:
        yield
    except OSError as exc:
        advice = _ADVICE.get(exc.errno or 0, "check the output folder")
        raise StorageError(f"{what}: {exc.strerror or exc}; {advice} and run again") from exc


def is_absence(error: StorageError) -> bool:
    """
    Return whether an error means that the file is missing or behind a link, and not
    that the disk failed.
    """
    return not isinstance(error.__cause__, OSError) or error.__cause__.errno in _ABSENT
