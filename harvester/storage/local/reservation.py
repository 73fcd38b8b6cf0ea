"""Space reservation: reserves free disk space for the missing bytes of each file, so that all files fit."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.errors import InsufficientSpace
from harvester.storage.disk_errors import map_disk_errors
from harvester.text.units import human_bytes

UNLIMITED = 2**62
"""The free bytes of a file system that does not say how many there are."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that this user can still write to the disk of a folder."""
    usage = shutil.disk_usage(folder)
    return usage.free if usage.total else UNLIMITED


class DiskReservation:
    """The free disk space of one folder; `free_bytes` returns how much there is."""

    def __init__(self, folder: Path, free_bytes: Callable[[Path], int]) -> None:
        self._folder = folder
        self._free_bytes = free_bytes
        self._reservations: dict[object, Callable[[], int]] = {}
        self._lock = threading.Lock()  # uploads are opened in several threads

    def free_bytes(self) -> int:
        """
        Return the free bytes, including reserved ones.

        Raises:
            StorageError: the disk failed.
        """
        with map_disk_errors(str(self._folder)):
            return self._free_bytes(self._folder)

    @contextmanager
    def reserve(self, needed: Callable[[], int]) -> Iterator[None]:
        """
        Reserve as many bytes as `needed` returns; later reservations call it again, as the number may shrink.

        Raises:
            InsufficientSpace: there is too little space.
        """
        key = object()
        with self._lock:
            size = max(0, needed())
            left = max(0, self.free_bytes() - sum(other() for other in self._reservations.values()))
            if size > left:
                raise InsufficientSpace(f"{self._folder}: {_missing(size, left)}; make room and run again")
            self._reservations[key] = needed
        try:
            yield
        finally:
            with self._lock:
                del self._reservations[key]


def _missing(size: int, left: int) -> str:
    needed, free = human_bytes(size), human_bytes(left)
    if needed == free:  # the difference is small
        needed, free = f"{size} bytes", f"{left} bytes"
    return f"{needed} are needed and {free} are free"
