"""
Prune: moves orphaned files into the trash (`storage/trash.py`), and nothing else.

Orphaned files are on disk but no longer belong to the harvest. The ledger names them (`Reader.removable`) and
the user has seen each of them. A file that belongs to the harvest again by then stays, and no link is
followed. Trash that is old enough is permanently deleted.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from anyio import CancelScope, get_cancelled_exc_class, to_thread

from harvester.concurrency import run_with_background
from harvester.config import Config
from harvester.errors import StorageError
from harvester.exporters.summary import SummaryFile
from harvester.jobs.export import export, is_output, make_exporters, write_outputs
from harvester.ledger.ledger import Ledger
from harvester.ledger.reader import Reader
from harvester.models import FileStatus
from harvester.plugins import ALWAYS_EXPORTED
from harvester.storage.local import Store
from harvester.storage.local.directory import HOLDS_FOLDERS, Directory, OutputTree, map_disk_errors
from harvester.storage.paths import numbered, parents
from harvester.storage.trash import TRASH, TRASH_DAYS, dated, expired, is_date
from harvester.system.paths import below, is_there
from harvester.tasks.placement import Placement

FOLDER = "files"
"""Only files below it may be removed."""
AT_ONCE = 500
"""Files that are moved before the ledger records them; after a crash `recover` finds them."""


class Removable(NamedTuple):
    """
    A file that no longer belongs to the harvest; ``path`` relative to the folder, ``size`` in bytes.

    ``kept``: why it stays, if it is the only copy; "" if it may go.
    """

    path: str
    size: int
    why: str
    kept: str = ""


@dataclass(frozen=True)
class Pruned:
    """
    The result of a prune.

    Attributes:
        removed: Paths of the files that are now in the trash, or deleted if the trash keeps nothing.
        size: Their bytes.
        kept: Why other files stay, a line each.
        trash: The folder in the trash, relative to the output folder.
        deleted: Files that were permanently deleted from the trash.
        freed: Their bytes.
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


def removable(config: Config) -> list[Removable]:
    """
    List the files that are here and no longer belong to the harvest.

    Raises:
        UsageError: there is no harvest in the folder.
    """
    with Reader(config.folder) as reader:
        # What a killed run may have put in its place is among them, whether or not it did.
        return [each for each in _find(reader, config) if is_there(config.folder, each.path)]


def prune_blockers(config: Config) -> list[str]:
    """Return why nothing may be removed now: the last run may have missed something."""
    with Reader(config.folder) as reader:
        return reader.prune_blockers()


async def prune(config: Config, paths: Sequence[str], *, trash_days: int = TRASH_DAYS) -> Pruned:
    """
    Move files that `removable` named into the trash; one that belongs to the harvest by now stays.

    What has been in the trash for more than `trash_days` days is deleted for good; with 0 all of it. Where
    there are `prune_blockers`, nothing is moved or deleted.

    Raises:
        UsageError: there is no harvest in the folder.
        FolderLocked: a run is at work there.
    """
    ledger = Ledger(config.folder)
    with Reader(config.folder) as reader:
        await ledger.acquire("prune")
        outcome = "stopped"
        try:
            work = partial(_prune, config, reader, ledger, paths, trash_days)
            pruned = await run_with_background(work, ledger.keep)
            outcome = "finished"
        except get_cancelled_exc_class():
            outcome = "interrupted"
            raise
        finally:
            await ledger.close(outcome)
    return pruned


async def _prune(
    config: Config, reader: Reader, ledger: Ledger, paths: Sequence[str], trash_days: int
) -> Pruned:
    await Placement(ledger, Store(config.folder, confirm=ledger.confirm)).recover()
    today = ledger.now()[:10]
    pruner = Pruner(config.folder, today)
    found = await to_thread.run_sync(_find, reader, config)
    await ledger.pruned(await to_thread.run_sync(_gone, config.folder, [each.path for each in found]))
    if why := "; ".join(reader.prune_blockers()):
        return Pruned(kept=tuple(f"{path}: the last run had doubts: {why}" for path in paths))
    kept = {each.path: each.kept for each in found if each.kept}
    may_go = {each.path for each in found}.difference(kept)
    pruned = Pruned(kept=tuple(f"{path}: {kept[path]}" for path in paths if path in kept))
    wanted = [path for path in paths if path not in kept]
    for start in range(0, len(wanted), AT_ONCE):
        some = await to_thread.run_sync(pruner.prune, wanted[start : start + AT_ONCE], may_go)
        with CancelScope(shield=True):  # they are moved: that must be recorded
            await ledger.pruned(some.removed)
        pruned += some
    return pruned + await to_thread.run_sync(pruner.empty, today, trash_days)


async def recover(folder: Path, ledger: Ledger) -> None:
    """Record the files that an interrupted prune moved before it could record them."""
    with Reader(folder) as reader:
        if reader.prune_was_cut_off():
            gone = await to_thread.run_sync(_gone, folder, [path for path, *_ in reader.removable()])
            await ledger.pruned(gone)


def _gone(folder: Path, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if not is_there(folder, path)]


def _find(reader: Reader, config: Config) -> list[Removable]:
    """
    List every file that may go.

    One stays that an output format has written, or that some file system takes for a file of the harvest.
    """
    found = {each[0]: Removable(*each) for each in reader.removable()}
    exporters = make_exporters(config, ALWAYS_EXPORTED) if found else []
    found = {path: each for path, each in found.items() if not is_output(exporters, path)}
    if found:
        as_one = {unicodedata.normalize("NFC", path).casefold(): path for path in found}
        for file in reader.files(FileStatus.DONE):
            twin = as_one.get(unicodedata.normalize("NFC", file.path).casefold())
            if twin is not None and twin != file.path:
                found.pop(twin, None)
    return list(found.values())


@dataclass
class _Found:
    """What becomes of the files while they are removed; see `Pruned`. ``refused``: paths of those kept."""

    removed: list[str] = field(default_factory=list)
    size: int = 0
    kept: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)

    def refuse(self, path: str, why: str) -> None:
        self.refused.add(path)
        self.kept.append(why)


class Pruner:
    """
    Moves files of one output folder to the trash, and removes the folders that are empty then.

    `today`: ISO 8601, the day under which they lie there.
    """

    def __init__(self, root: Path, today: str) -> None:
        self._root = root
        self._tree = OutputTree(root, sync=os.fsync, held=HOLDS_FOLDERS)
        self._trash = f"{TRASH}/{today}"

    def prune(self, wanted: Sequence[str], may_go: Container[str]) -> Pruned:
        """
        Move the files of these paths that may go; what is gone already counts as removed.

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
            self._move_all(folder, paths, found)
        for folder in _deepest_first(folders):
            self._remove_if_empty(folder)
        return Pruned(tuple(found.removed), found.size, tuple(found.kept), self._trash)

    def _move_all(self, folder: str, paths: Sequence[str], found: _Found) -> None:
        """Move files of one folder; where they are then outlives a power cut."""
        there: list[str] | None = None
        try:
            with self._tree.folder(folder) as here:
                there = [path for path in paths if self._is_plain(here, path, found)]
                if there:
                    with self._in_trash(folder) as trash:
                        self._move(there, here, trash, found)
        except StorageError as trouble:
            if there is None and isinstance(trouble.__cause__, FileNotFoundError):
                found.removed += paths
            else:
                told = {*found.removed, *found.refused}
                found.kept += [f"{path}: {trouble}" for path in paths if path not in told]

    def _is_plain(self, here: Directory, path: str, found: _Found) -> bool:
        """Note a file that is gone, and what is none; tell whether it is one that can go."""
        try:
            with map_disk_errors(str(self._root / path)):
                status = here.look(path.rpartition("/")[2])
        except StorageError as trouble:
            if not isinstance(trouble.__cause__, FileNotFoundError):
                found.refuse(path, str(trouble))
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
            except StorageError as trouble:
                found.refuse(path, str(trouble))
            else:
                moved.append(path)
                size += bytes_here
        # First where they are, then where they were: a power cut may leave both names, never none.
        with map_disk_errors(str(trash.path)):
            trash.sync(os.fsync)
            here.sync(os.fsync)
        found.removed += moved
        found.size += size

    @contextmanager
    def _in_trash(self, folder: str) -> Iterator[Directory]:
        """Enter the folder in the trash where files of this one go; something else there stays as it is."""
        place = self._trash
        for part in folder.split("/"):
            with self._tree.folder(place, make=True) as here:
                place = f"{place}/{_free_name(here, part, or_folder=True)}"
        with self._tree.folder(place, make=True) as there:
            self._tree.settle(place)
            yield there

    def empty(self, today: str, keep_days: int) -> Pruned:
        """Delete for good what has been in the trash for more than `keep_days` days; with 0 all of it."""
        kept: list[str] = []
        files = size = 0
        for day in expired(dated(self._root), today, keep_days):
            path = f"{TRASH}/{day.date}"
            try:
                with self._tree.folder(TRASH) as trash, map_disk_errors(str(self._root / path)):
                    assert is_date(day.date), "nothing else is listed"
                    trash.remove_all(day.date)
                    trash.sync(os.fsync)
            except StorageError as trouble:
                kept.append(f"{path}: {trouble}")
            else:
                files, size = files + day.files, size + day.size
        return Pruned(kept=tuple(kept), deleted=files, freed=size)

    def _remove_if_empty(self, folder: str) -> None:
        above, _, name = folder.rpartition("/")
        try:
            with self._tree.folder(above) as here, map_disk_errors(str(self._root / folder)):
                if stat.S_ISDIR(here.look(name).st_mode):
                    below(self._root, folder).rmdir()
        except StorageError:  # something is in it, or somebody was faster
            return


def _deepest_first(folders: Iterable[str]) -> list[str]:
    """List these folders and those that they are in, but for the one that all are in."""
    on_the_way = {step for folder in folders for step in parents(folder) if step != FOLDER}
    return sorted(on_the_way, key=lambda folder: (-folder.count("/"), folder))


def _free_name(folder: Directory, name: str, *, or_folder: bool = False) -> str:
    """Return a name that nothing has in a folder, or, `or_folder`, that another folder may have."""
    for free in numbered(name):
        try:
            status = folder.look(free)
        except FileNotFoundError:
            return free
        if or_folder and stat.S_ISDIR(status.st_mode):
            return free
    raise AssertionError("there is always another number")


async def prune_and_export(config: Config, paths: Sequence[str], *, trash_days: int = TRASH_DAYS) -> Pruned:
    """
    Move files that no longer belong to the harvest to the trash, and have all outputs say so.

    `paths`: some of those that `prune.removable` names. `trash_days`: see `prune`.
    """
    pruned = await prune(config, paths, trash_days=trash_days)
    if pruned.removed:
        await export(config)
    elif pruned.deleted:
        await write_outputs(config, [SummaryFile()])
    return pruned
