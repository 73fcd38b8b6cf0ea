"""Resume: finds the partial files of earlier runs, and takes them over or removes them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import BinaryIO

from harvester.errors import InsufficientSpace
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import Directory, OutputTree, is_ours_alone
from harvester.storage.local.partial_owner import Ownership, PartName
from harvester.storage.local.reservation import DiskReservation
from harvester.storage.local.segments import BUFFER_SIZE, PARTIAL

_CLONE = 0x40049409
"""Linux' ioctl FICLONE: a second file with the same blocks (reflink), if the file system supports it."""


class StalePartials:
    """The partial files of earlier runs, by the stems of their names; the folder is read once."""

    def __init__(self, tree: OutputTree) -> None:
        self._tree = tree
        self._found: dict[str, set[PartName]] | None = None
        self._lock = threading.Lock()

    @property
    def are_known(self) -> bool:
        """Whether the folder was read."""
        return self._found is not None

    def find(self) -> None:
        """Read the folder, in this thread; a second thread waits for the result."""
        with self._lock:
            if self._found is None:
                found: dict[str, set[PartName]] = {}
                for name in map(PartName.read, names_in(self._tree)):
                    if name is not None:
                        found.setdefault(name.stem, set()).add(name)
                self._found = found  # assigned when complete: other threads read it without the lock

    def add(self, name: PartName) -> None:
        """Add a partial file that was released now."""
        if self._found is not None:
            self._found.setdefault(name.stem, set()).add(name)

    def take(self, stem: str) -> list[PartName]:
        """Return and remove the partial files of a file: only one upload takes them over."""
        return sorted((self._found or {}).pop(stem, ()), key=str)


def names_in(tree: OutputTree) -> list[str]:
    """Return the names in the folder of partial files, in this thread."""
    if not os.path.lexists(tree.root / PARTIAL):
        return []
    with map_disk_errors(str(tree.root / PARTIAL)), tree.folder(PARTIAL) as here:
        return here.names()


def take_over(
    tree: OutputTree, found: Iterable[PartName], owner: str, size: int, space: DiskReservation
) -> list[int]:
    """
    Take over the partial files of a file for an owner, in this thread; return the offsets of its segments.

    `size`: bytes of the file. Of several partial files with the same offset the longest is taken. The others
    are removed, except those of running processes. A file that no process can have open is renamed, any
    other one is copied, or abandoned if there is no space for a copy.

    Raises:
        StorageError: the disk failed.
    """
    begins: list[int] = []
    by_place = sorted(found, key=lambda name: -1 if name.begin is None else name.begin)
    with map_disk_errors(str(tree.root / PARTIAL)), tree.folder(PARTIAL) as folder:
        for begin, names in groupby(by_place, key=lambda name: name.begin):
            longest = _longest(folder, list(names), size - (begin or 0))
            is_taken = longest is not None and _try_take(tree, folder, longest, longest.of(owner), space)
            if is_taken and begin is not None:
                begins.append(begin)
    return begins


def discard(tree: OutputTree, names: Iterable[PartName]) -> None:
    """Remove partial files, in this thread, except those of running processes."""
    with map_disk_errors(str(tree.root / PARTIAL)), tree.folder(PARTIAL) as folder:
        _remove(folder, names)


def _longest(folder: Directory, names: Sequence[PartName], most: int) -> PartName | None:
    """Return the longest of the files with at most `most` bytes, and remove the others."""
    sizes: dict[PartName, int] = {}
    for name in names:
        with suppress(FileNotFoundError):
            status = folder.look(str(name))
            # A pipe, a link or a file with a second hard link is not ours.
            sizes[name] = status.st_size if is_ours_alone(status) and status.st_size <= most else -1
    longest = max(sizes, key=lambda name: (sizes[name], str(name)), default=None)
    if longest is not None and sizes[longest] <= 0:
        longest = None
    _remove(folder, (name for name in names if name != longest))
    return longest


def _remove(folder: Directory, names: Iterable[PartName]) -> None:
    for name in names:
        if name.hold is not Ownership.ALIVE:
            folder.remove(str(name))


def _try_take(
    tree: OutputTree, folder: Directory, old: PartName, new: PartName, space: DiskReservation
) -> bool:
    if old == new:
        return True
    hold = old.hold
    if hold is Ownership.FREE:
        folder.move(str(old), folder, str(new))
        return True
    is_copied = _try_copy(tree, folder, str(old), str(new), space)
    if hold is not Ownership.ALIVE:
        folder.remove(str(old))
    return is_copied


def _try_copy(tree: OutputTree, folder: Directory, old: str, new: str, space: DiskReservation) -> bool:
    """Copy a file that another process may be writing to; return False if it is gone or does not fit."""
    with suppress(FileNotFoundError), os.fdopen(folder.open(old), "rb", buffering=0) as source:
        size = os.fstat(source.fileno()).st_size
        is_there = False
        with os.fdopen(folder.create(new), "wb", buffering=0) as target, suppress(InsufficientSpace):
            if not _try_clone(source, target):
                with space.reserve(lambda: size):
                    _copy_bytes(source, target, size)
            tree.sync(target)  # before the old one is removed: a power cut must not lose both
            is_there = True
        if not is_there:
            folder.remove(new)
        return is_there
    return False


def _try_clone(source: BinaryIO, target: BinaryIO) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.ioctl(target.fileno(), _CLONE, source.fileno())
    except OSError:  # most file systems cannot
        return False
    return True


def _copy_bytes(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size > 0 and (data := source.read(min(BUFFER_SIZE, size))):
        rest = memoryview(data)
        while rest:
            rest = rest[target.write(rest) :]
        size -= len(data)
