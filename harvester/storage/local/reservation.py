"""Free disk, set aside: what is still to come of each file in transfer, so that all that were begun fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.errors import InsufficientSpace
from harvester.storage.local.directory import map_disk_errors


def free_bytes(folder: Path) -> int:
    """Tell how many bytes more the disk of a folder takes from this user."""
    return shutil.disk_usage(folder).free


class DiskReservation:
    """The free disk of one folder; `free_bytes` tells how much there is."""

    def __init__(self, folder: Path, free_bytes: Callable[[Path], int]) -> None:
        self._folder = folder
        self._free_bytes = free_bytes
        self._claims: dict[object, Callable[[], int]] = {}

    @contextmanager
    def reserve(self, needed: Callable[[], int]) -> Iterator[None]:
        """
        Set as many bytes aside as `needed` tells.

        It is asked again whenever somebody else wants some, and shrinks as they are written.

        Raises:
            InsufficientSpace: they are not there.
        """
        size = max(0, needed())
        with map_disk_errors(str(self._folder)):
            free = self._free_bytes(self._folder)
        left = max(0, free - sum(claim() for claim in self._claims.values()))
        if size > left:
            raise InsufficientSpace(
                f"{self._folder}: {size} bytes are needed and {left} are free; make room and run again"
            )
        key = object()
        self._claims[key] = needed
        try:
            yield
        finally:
            del self._claims[key]
