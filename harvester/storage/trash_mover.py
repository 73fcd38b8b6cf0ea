"""
Trash: orphaned files are moved there, and permanently deleted when they have expired.

Links are not followed, and an error on one file does not affect the others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harvester.errors import StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import HOLDS_FOLDERS, Directory, OutputTree
from harvester.storage.paths import numbered, parents
from harvester.storage.trash import TRASH, dated, expired, is_date
from harvester.system.failpoints import failpoint
from harvester.system.paths import below

FOLDER = "files"
"""Only files below it may be removed."""


@dataclass(frozen=True)
class Pruned:
    """
    The result of a prune.

    Attributes:
        removed: paths of the files that are now in the trash, or deleted if the trash is disabled.
        size: their bytes.
        kept: why other files stay, one line each.
        trash: the folder in the trash, relative to the output folder.
        deleted: number of files that were permanently deleted from the trash.
        freed: their bytes.
    """

    removed: tuple[str, ...] = ()
    size: int = 0
    kept: tuple[str, ...] = ()
    trash: str = ""
    deleted: int = 0
    freed: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.removed + other.removed,
            self.size + other.size,
            self.kept + other.kept,
            other.trash or self.trash,
            self.deleted + other.deleted,
            self.freed + other.freed,
        )


@dataclass
class _Found:
    """The result of a prune while it runs; see `Pruned`. ``refused``: paths of the files that stay."""

    removed: list[str] = field(default_factory=list)
    size: int = 0
    kept: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def refuse(self, path: str, why: str) -> None:
        self.refused.add(path)
        self.kept.append(why)


class Pruner:
    """
    Moves files of one output folder to the trash, and removes folders that are then empty.

    `today`: ISO 8601, the name of their folder in the trash.
    """

    def __init__(self, root: Path, today: str) -> None:
        self._root = root
        self._tree = OutputTree(root, sync=os.fsync, held=HOLDS_FOLDERS)
        self._trash = f"{TRASH}/{today}"

    def prune(self, wanted: Sequence[str], may_go: Container[str]) -> Pruned:
        """
        Move the files at these paths that are in `may_go`; files that are gone already count as removed.

        An error on one file does not affect the others.
        """
        found = _Found()
        folders: dict[str, list[str]] = {}
        for path in wanted:
            if path not in may_go:
                found.kept.append(f"{path}: belongs to the harvest")
            elif not path.startswith(f"{FOLDER}/"):
                found.kept.append(f"{path}: is not below {FOLDER}/; see who wrote such a path")
            else:
                folders.setdefault(path.rpartition("/")[0], []).append(path)
        for folder, paths in folders.items():
            self._move_all(folder, paths, found)
        for folder in _deepest_first(folders):
            self._remove_if_empty(folder)
        return Pruned(tuple(found.removed), found.size, tuple(found.kept), self._trash)

    def _move_all(self, folder: str, paths: Sequence[str], found: _Found) -> None:
        """Move files of one folder; their new names are durable then."""
        there: list[str] | None = None
        try:
            with self._tree.folder(folder) as here:
                there = [path for path in paths if self._is_plain(here, path, found)]
                if there:
                    with self._in_trash(folder) as trash:
                        self._move(there, here, trash, found)
        except StorageError as error:
            if there is None and isinstance(error.__cause__, FileNotFoundError):
                found.removed += paths
            else:
                reported = {*found.removed, *found.refused}
                found.kept += [f"{path}: {error}" for path in paths if path not in reported]

    def _is_plain(self, here: Directory, path: str, found: _Found) -> bool:
        """Return whether it is a regular file; note a file that is gone, and refuse anything else."""
        try:
            with map_disk_errors(str(self._root / path)):
                status = here.look(path.rpartition("/")[2])
        except StorageError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                found.refuse(path, str(error))
            else:
                found.removed.append(path)
            return False
        if not stat.S_ISREG(status.st_mode):
            found.refuse(path, f"{path}: is not a regular file; inspect it")
            return False
        return True

    def _move(self, paths: Sequence[str], here: Directory, trash: Directory, found: _Found) -> None:
        moved: list[str] = []
        size = 0
        for path in paths:
            name = path.rpartition("/")[2]
            try:
                with map_disk_errors(str(self._root / path)):
                    bytes_here = here.look(name).st_size
                    here.move(name, trash, _free_name(trash, name))
            except StorageError as error:
                found.refuse(path, str(error))
            else:
                moved.append(path)
                size += bytes_here
        failpoint("trash: moved")
        # Sync the new folder first, then the old one: after a power cut both names may exist, never none.
        with map_disk_errors(str(trash.path)):
            trash.sync(os.fsync)
            here.sync(os.fsync)
        found.removed += moved
        found.size += size

    @contextmanager
    def _in_trash(self, folder: str) -> Iterator[Directory]:
        """Enter the trash folder for files of this folder; if its name is taken, use a numbered one."""
        place = self._trash
        for part in folder.split("/"):
            with self._tree.folder(place, make=True) as here:
                place = f"{place}/{_free_name(here, part, or_folder=True)}"
        with self._tree.folder(place, make=True) as there:
            self._tree.sync_folders(place)
            yield there

    def empty(self, today: str, keep_days: int) -> Pruned:
        """
        Permanently delete files that are in the trash for more than `keep_days` days.

        With 0 all of them.
        """
        kept: list[str] = []
        files = size = 0
        for day in expired(dated(self._root), today, keep_days):
            path = f"{TRASH}/{day.date}"
            try:
                with self._tree.folder(TRASH) as trash, map_disk_errors(str(self._root / path)):
                    assert is_date(day.date), "nothing else is listed"
                    trash.remove_all(day.date)
                    trash.sync(os.fsync)
            except StorageError as error:
                kept.append(f"{path}: {error}")
            else:
                files, size = files + day.files, size + day.size
        return Pruned(kept=tuple(kept), deleted=files, freed=size)

    def _remove_if_empty(self, folder: str) -> None:
        above, _, name = folder.rpartition("/")
        try:
            with self._tree.folder(above) as here, map_disk_errors(str(self._root / folder)):
                if stat.S_ISDIR(here.look(name).st_mode):
                    below(self._root, folder).rmdir()
        except StorageError:  # not empty, or gone already
            return


def _deepest_first(folders: Iterable[str]) -> list[str]:
    """Return these folders and their parents, deepest first, except the common root."""
    on_the_way = {step for folder in folders for step in parents(folder) if step != FOLDER}
    return sorted(on_the_way, key=lambda folder: (-folder.count("/"), folder))


def _free_name(folder: Directory, name: str, *, or_folder: bool = False) -> str:
    """Return an unused name in a folder; with `or_folder` it may be that of an existing folder."""
    for free in numbered(name):
        try:
            status = folder.look(free)
        except FileNotFoundError:
            return free
        if or_folder and stat.S_ISDIR(status.st_mode):
            return free
    raise AssertionError("there is always another number")
