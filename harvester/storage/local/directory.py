"""
Symlink safety and durability: directories are entered without following links, and fsync makes writes
durable.

Another user who can write to the output folder may plant a link there; nothing is read or written through it.
A folder is entered from the one above it and held open, and what is done in it is done relative to it,
so that no link put in its way meanwhile leads elsewhere. Windows cannot hold folders open: there a
plain look before and after has to do.

To last means as far as fsync reaches: the cache of the drive itself is the system's affair (macOS).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harvester.errors import StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.paths import parents
from harvester.system.paths import from_disk, on_disk

HOLDS_FOLDERS = {os.open, os.mkdir, os.rename, os.stat, os.unlink} <= os.supports_dir_fd
MOST_SYNCED_FOLDERS = 10_000

Sync = Callable[[int], None]

_LEFT = -1
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CAN_ADVISE = hasattr(os, "posix_fadvise")
_FILE = _NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for

_TO_SYNC = os.O_RDONLY if HOLDS_FOLDERS else os.O_RDWR  # Windows syncs only what may be written


def begin_to_sync(handle: BinaryIO, begin: int = 0) -> None:
    """Have the system write an open file to the disk, from the byte `begin` on, and do not wait for it."""
    if _CAN_ADVISE:
        with suppress(OSError):  # it is only advice, and not every file system takes it
            os.posix_fadvise(handle.fileno(), begin, 0, os.POSIX_FADV_DONTNEED)


class Directory:
    """
    One folder, held open; its methods take plain names of what is in it, which are UTF-8 on the disk.

    Errors are the disk's own, but where more can be said than the disk does: that is `StorageError`.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor  # None: goes by its path

    @classmethod
    def enter(cls, path: Path, *, held: bool = HOLDS_FOLDERS) -> Directory:
        """Enter a folder that the user named, through links too: they are the user's choice."""
        with map_disk_errors(str(path)):
            if held:
                return cls(path, os.open(path, _FOLDER))
            os.scandir(path).close()  # fails as opening it would
            return cls(path, None)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let go of it; whatever is asked of it after that fails."""
        if self._descriptor not in {None, _LEFT}:
            descriptor, self._descriptor = self._descriptor, _LEFT
            os.close(descriptor)

    def below(self, name: str) -> Directory:
        """Enter a folder in this one, never through a link."""
        if name in {"", ".", ".."}:
            raise StorageError(f"{self.path}/{name}: leads out of its folder; see who wrote such a path")
        if self._descriptor is None:
            self._refuse_a_link(name)
            return Directory.enter(self.path / on_disk(name), held=False)
        try:
            descriptor = os.open(on_disk(name), _FOLDER | _NO_LINK, dir_fd=self._descriptor)
        except FileNotFoundError:
            raise
        except OSError:  # which one it is for a link differs between systems
            self._refuse_a_link(name)
            raise
        return Directory(self.path / on_disk(name), descriptor)

    def make(self, name: str) -> bool:
        """Make a folder in this one; return whether it was missing."""
        try:
            os.mkdir(self._at(name), dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def names(self) -> list[str]:
        """List what is in it."""
        with os.scandir(self.path if self._descriptor is None else self._descriptor) as entries:
            return [from_disk(entry.name) for entry in entries]

    def look(self, name: str) -> os.stat_result:
        """Return the status of what is there, of a link that of the link."""
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def open(self, name: str) -> int:
        """Open a file to read."""
        return self._open(name, os.O_RDONLY)

    def sync_file(self, name: str, sync: Sync) -> None:
        """Make the content of a file durable."""
        with os.fdopen(self._open(name, _TO_SYNC), "rb", buffering=0) as handle:
            sync(handle.fileno())

    def create(self, name: str) -> int:
        """Open a new file in the place of whatever has that name."""
        self.remove(name)
        return self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def resume(self, name: str) -> int:
        """Open a file to go on with; a new one where there is none, or one that is not ours alone."""
        with suppress(FileNotFoundError):
            seen = self.look(name)
            if is_ours_alone(seen):
                descriptor = self._open(name, os.O_RDWR)
                # Another file may have come to this name since, and have lost its second one again.
                if os.path.samestat(seen, os.fstat(descriptor)):
                    return descriptor
                os.close(descriptor)
        return self.create(name)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def remove_all(self, name: str) -> None:
        """Remove a folder and all that is in it; what links in it point to is left alone."""
        shutil.rmtree(self._at(name), dir_fd=self._descriptor)

    def move(self, name: str, to: Directory, new_name: str) -> None:
        """Move a file to where a file or link may be; what that link points to is left alone."""
        source, target = self._at(name), to._at(new_name)
        try:
            os.replace(source, target, src_dir_fd=self._descriptor, dst_dir_fd=to._descriptor)
        except FileNotFoundError as exc:
            reason = "was removed while it was written; see what else works here and run again"
            raise StorageError(f"{self.path / name}: {reason}") from exc

    def link(self, name: str, to: Directory, new_name: str) -> None:
        """Give a file a second name, in the place of a file or link that may be there."""
        to.remove(new_name)
        os.link(
            self._at(name),
            to._at(new_name),
            src_dir_fd=self._descriptor,
            dst_dir_fd=to._descriptor,
            follow_symlinks=False,
        )

    def sync(self, sync: Sync) -> None:
        """Make the names in it durable, where the system can."""
        if self._descriptor is None:
            return
        try:
            sync(self._descriptor)
        except OSError as exc:  # some network file systems sync files but not folders
            if exc.errno not in {errno.EINVAL, errno.ENOTSUP}:
                raise

    def _at(self, name: str) -> str | Path:
        place = on_disk(name)
        return self.path / place if self._descriptor is None else place

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._at(name), flags | _FILE, 0o666, dir_fd=self._descriptor)

    def _refuse_a_link(self, name: str) -> None:
        path = self.path / on_disk(name)
        leads_away = stat.S_ISLNK(self.look(name).st_mode)
        if self._descriptor is None:  # Windows has links of more than one kind
            leads_away = leads_away or path.resolve().parent != self.path.resolve()
        if leads_away:
            raise StorageError(f"{path}: a link leads out of the output folder; remove it")


def is_ours_alone(status: os.stat_result) -> bool:
    """Return whether it is a regular file with no second name; a pipe or a device is none."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


@dataclass
class StagedFile:
    """
    A written file on its way to its place.

    It is still open as ``handle`` and has a ``name`` in ``folder``; ``path`` is where it goes, below the
    output folder. ``problem``: what the disk has against that. ``is_synced``: its bytes are durable.
    """

    handle: BinaryIO
    folder: Directory
    name: str
    path: str
    problem: StorageError | None = None
    is_synced: bool = False


class OutputTree:
    """
    The output folder and what is below it; paths are relative to it, with "/".

    It is never created here: one that has gone was removed by another program.
    """

    def __init__(self, root: Path, *, sync: Sync, held: bool) -> None:
        self.root = root
        self._sync = sync
        self._held = held
        self._synced_folders: set[str] = set()

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[Directory]:
        """
        Enter a folder, never through a link; `make` those on the way that are missing.

        Raises:
            StorageError: a link is in the way, or a folder cannot be entered or made.
        """
        here = Directory.enter(self.root, held=self._held)
        try:
            for step in parents(path) if path else ():
                with map_disk_errors(str(self.root / step)):
                    below = self._below(here, step, make=make)
                here.leave()
                here = below
            yield here
        finally:
            here.leave()

    def sync(self, handle: BinaryIO) -> None:
        """Make what was written to an open file durable."""
        self._sync(handle.fileno())

    def sync_descriptor(self, descriptor: int) -> None:
        """Make what an open file or folder holds durable."""
        self._sync(descriptor)

    def publish(self, files: Sequence[StagedFile], before_moving: Callable[[], None] = lambda: None) -> None:
        """
        Move written files to their places: what has no problem after that is durable.

        Each folder that got a name, of a file or of a folder, is synced once for all of them. Where
        `before_moving` raises nothing is moved.
        """
        for file in files[1:]:  # so that the disk is at work on them while the first is waited for
            begin_to_sync(file.handle)
        for file in files:
            with _noted_in([file]), map_disk_errors(str(self.root / file.path)):
                self._sync(file.handle.fileno())
                file.is_synced = True
                file.handle.close()  # Windows moves no open file
        before_moving()
        changed: dict[str, list[StagedFile]] = {}
        fresh: dict[str, set[str]] = {}
        for folder, inside in _by_folder(files).items():
            with _noted_in(inside), self.folder(folder, make=True) as target:
                for file in inside:
                    with _noted_in([file]), map_disk_errors(str(self.root / file.path)):
                        file.folder.move(file.name, target, file.path.rpartition("/")[2])
            for above, step in self._unsynced_folders(folder):
                changed.setdefault(above, []).extend(inside)
                fresh.setdefault(above, set()).add(step)
            changed.setdefault(folder, []).extend(inside)
        for folder, affected in changed.items():
            with _noted_in(affected), self.folder(folder) as here, map_disk_errors(str(self.root / folder)):
                here.sync(self._sync)
                self._note_synced(fresh.get(folder, set()))

    def keep(self, path: str) -> None:
        """Make a file that was found in its place, and every name that leads to it, durable."""
        folder, _, name = path.rpartition("/")
        with map_disk_errors(str(self.root / path)), self.folder(folder) as here:
            here.sync_file(name, self._sync)
            here.sync(self._sync)
        self.sync_folders(folder)

    def sync_folders(self, folder: str) -> None:
        """Make the names of a folder, and of those that it is in, durable."""
        for above, step in self._unsynced_folders(folder):
            with self.folder(above) as here, map_disk_errors(str(self.root / above)):
                here.sync(self._sync)
                self._note_synced({step})

    def _unsynced_folders(self, folder: str) -> list[tuple[str, str]]:
        """
        List the folders on the way to this one whose names may not last, each behind the one it is in.

        Those that were there already too: another thread, or a run that was killed, may have made them a
        moment ago. Those that this process has settled are not synced again.
        """
        return [
            (step.rpartition("/")[0], step) for step in parents(folder) if step not in self._synced_folders
        ]

    def _below(self, here: Directory, step: str, *, make: bool) -> Directory:
        name = step.rpartition("/")[2]
        try:
            return here.below(name)
        except FileNotFoundError:
            if not make:
                raise
        if here.make(name):
            self._synced_folders.discard(step)
        return here.below(name)

    def _note_synced(self, folders: set[str]) -> None:
        if (
            len(self._synced_folders) >= MOST_SYNCED_FOLDERS
        ):  # it has to end somewhere; to sync twice is no harm
            self._synced_folders.clear()
        self._synced_folders |= folders


def _by_folder(files: Sequence[StagedFile]) -> dict[str, list[StagedFile]]:
    """Group the files that have no problem by the folders that they go to."""
    grouped: dict[str, list[StagedFile]] = {}
    for file in files:
        if file.problem is None:
            grouped.setdefault(file.path.rpartition("/")[0], []).append(file)
    return grouped


@contextmanager
def _noted_in(files: Sequence[StagedFile]) -> Iterator[None]:
    """Note what the disk has against the block in the files that it is about."""
    try:
        yield
    except StorageError as error:
        for file in files:
            file.problem = file.problem or error
