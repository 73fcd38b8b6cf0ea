"""
Removes what is here and no longer belongs to the harvest, and nothing else.

The ledger says which files these are (`Reader.removable`); a person has seen each of them before. A file that
the ledger has come to count as the harvest's own since then stays, and nothing is reached through a link.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from anyio import CancelScope, get_cancelled_exc_class, to_thread

from harvester.config import Config
from harvester.errors import DiskTrouble
from harvester.ledger.reading import Reader
from harvester.ledger.writing import Ledger
from harvester.moves import Mover
from harvester.paths import below, is_there
from harvester.states import FileStatus
from harvester.store import Store
from harvester.store.disk import HOLDS_FOLDERS, Folder, Tree, disk_errors
from harvester.store.names import steps
from harvester.together import beside

FOLDER = "files"
"""All that may be removed is below it."""
AT_ONCE = 500
"""Files that are removed before the ledger is told: a crash costs it no more than these."""


class Removable(NamedTuple):
    """A file that no longer belongs to the harvest; ``path`` relative to the folder, ``size`` in bytes."""

    path: str
    size: int
    why: str


@dataclass(frozen=True)
class Pruned:
    """What was removed, in paths and bytes, and why the rest was not."""

    removed: tuple[str, ...] = ()
    size: int = 0
    kept: tuple[str, ...] = ()

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.removed + other.removed, self.size + other.size, self.kept + other.kept)


def removable(config: Config) -> list[Removable]:
    """
    List the files that are here and no longer belong to the harvest.

    Raises:
        UsageError: there is no harvest in the folder.
    """
    with Reader(config.folder) as reader:
        # What a killed run may have put in its place is among them, whether or not it did.
        return [each for each in _find(reader) if is_there(config.folder, each.path)]


async def prune(config: Config, paths: Sequence[str]) -> Pruned:
    """
    Remove files that `removable` named; one that belongs to the harvest by now stays.

    Raises:
        UsageError: there is no harvest in the folder.
        FolderInUse: a run is at work there.
    """
    ledger = Ledger(config.folder)
    with Reader(config.folder) as reader:
        ledger.open("prune")
        outcome = "stopped"
        try:
            pruned = await beside(partial(_prune, config, reader, ledger, paths), ledger.keep)
            outcome = "finished"
        except get_cancelled_exc_class():
            outcome = "interrupted"
            raise
        finally:
            await ledger.close(outcome)
    return pruned


async def _prune(config: Config, reader: Reader, ledger: Ledger, paths: Sequence[str]) -> Pruned:
    await Mover(ledger, Store(config.folder)).recover()
    pruner = Pruner(config.folder)
    may_go = {each.path for each in await to_thread.run_sync(_find, reader)}
    await ledger.pruned(await to_thread.run_sync(_gone, config.folder, may_go))
    pruned = Pruned()
    for start in range(0, len(paths), AT_ONCE):
        some = await to_thread.run_sync(pruner.prune, paths[start : start + AT_ONCE], may_go)
        with CancelScope(shield=True):  # they are gone: that is to be told
            await ledger.pruned(some.removed)
        pruned += some
    return pruned


def _gone(folder: Path, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not is_there(folder, path)]


def _find(reader: Reader) -> list[Removable]:
    """List every file that may go; one stays that some file system takes for a file of the harvest."""
    found = {each[0]: Removable(*each) for each in reader.removable()}
    if found:
        as_one = {unicodedata.normalize("NFC", path).casefold(): path for path in found}
        for file in reader.files(FileStatus.DONE):
            twin = as_one.get(unicodedata.normalize("NFC", file.path).casefold())
            if twin is not None and twin != file.path:
                found.pop(twin, None)
    return list(found.values())


@dataclass
class _Found:
    """What becomes of the files while they are removed; see `Pruned`."""

    removed: list[str] = field(default_factory=list)
    size: int = 0
    kept: list[str] = field(default_factory=list)


class Pruner:
    """Removes files of one output folder, and the folders that are empty then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree = Tree(root, sync=os.fsync, held=HOLDS_FOLDERS)

    def prune(self, wanted: Sequence[str], may_go: Container[str]) -> Pruned:
        """
        Remove the files of these paths that may go; what is gone already counts as removed.

        What the disk or a link has against one keeps no other.
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
            self._remove(folder, paths, found)
        for folder in _deepest_first(folders):
            self._remove_if_empty(folder)
        return Pruned(tuple(found.removed), found.size, tuple(found.kept))

    def _remove(self, folder: str, paths: Sequence[str], found: _Found) -> None:
        """Remove files of one folder; its new state outlives a power cut."""
        try:
            with self._tree.folder(folder) as here:
                for path in paths:
                    try:
                        found.size += self._remove_file(here, path)
                        found.removed.append(path)
                    except DiskTrouble as trouble:
                        found.kept.append(str(trouble))
                with disk_errors(str(self._root / folder)):
                    here.sync(os.fsync)
        except DiskTrouble as trouble:
            left = [path for path in paths if path not in found.removed]
            if isinstance(trouble.__cause__, FileNotFoundError):
                found.removed += left
            else:
                found.kept += [f"{path}: {trouble}" for path in left]

    def _remove_file(self, here: Folder, path: str) -> int:
        """Remove a file that is nothing else and return its size, 0 where it is gone."""
        name = path.rpartition("/")[2]
        with disk_errors(str(self._root / path)):
            try:
                status = here.look(name)
            except FileNotFoundError:
                return 0
            if not stat.S_ISREG(status.st_mode):
                raise DiskTrouble(f"{path}: is no plain file; see what it is")
            here.remove(name)
            return status.st_size

    def _remove_if_empty(self, folder: str) -> None:
        above, _, name = folder.rpartition("/")
        try:
            with self._tree.folder(above) as here, disk_errors(str(self._root / folder)):
                if stat.S_ISDIR(here.look(name).st_mode):
                    below(self._root, folder).rmdir()
        except DiskTrouble:  # something is in it, or somebody was faster
            return


def _deepest_first(folders: Iterable[str]) -> list[str]:
    """List these folders and those that they are in, but for the one that all are in."""
    on_the_way = {step for folder in folders for step in steps(folder) if step != FOLDER}
    return sorted(on_the_way, key=lambda folder: (-folder.count("/"), folder))
