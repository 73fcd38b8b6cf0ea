"""
Symlink safety and durability: directories are entered without following links, and fsync makes writes
durable.

Another user with write access to the output folder could plant a link there; nothing is read or written
through it. A folder is entered from its parent and held open, and all operations are relative to it, so that
a link planted meanwhile has no effect. Windows cannot hold folders open: there it checks before and after.

Durable means as far as fsync reaches: on macOS the cache of the drive itself is not flushed.
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
from harvester.system.failpoints import failpoint
from harvester.system.paths import from_disk, on_disk

HOLDS_FOLDERS = {os.open, os.mkdir, os.rename, os.stat, os.unlink} <= os.supports_dir_fd
MOST_SYNCED_FOLDERS = 10_000

Sync = Callable[[int], None]

_LEFT = -1
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_CAN_ADVISE = hasattr(os, "posix_fadvise")
_FILE = _NO_LINK | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # does not wait for a pipe

_TO_SYNC = os.O_RDONLY if HOLDS_FOLDERS else os.O_RDWR  # Windows syncs only files open for writing


def begin_to_sync(handle: BinaryIO, begin: int = 0) -> None:
    """Ask the system to start writing an open file to the disk, from the byte `begin` on, without waiting."""
    if _CAN_ADVISE:
        with suppress(OSError):  # a hint, which not every file system supports
            os.posix_fadvise(handle.fileno(), begin, 0, os.POSIX_FADV_DONTNEED)


class Directory:
    """
    One folder, held open; its methods take plain names in it, which are UTF-8 on the disk.

    Errors are OSErrors, or `StorageError` if the message can say more than the system does.
    """

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor  # None: operations use the path

    @classmethod
    def enter(cls, path: Path, *, held: bool = HOLDS_FOLDERS) -> Directory:
        """Enter a folder that the user named; links in its path are the user's choice and are followed."""
        with map_disk_errors(str(path)):
            if held:
                return cls(path, os.open(path, _FOLDER))
            os.scandir(path).close()  # raises what opening it would raise
            return cls(path, None)

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Close it; any later operation fails."""
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
        except OSError:  # the errno for a link differs between systems
            self._refuse_a_link(name)
            raise
        return Directory(self.path / on_disk(name), descriptor)

    def make(self, name: str) -> bool:
        """Make a folder in this one; return False if it existed."""
        try:
            os.mkdir(self._at(name), dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def names(self) -> list[str]:
        """Return the names in it."""
        with os.scandir(self.path if self._descriptor is None else self._descriptor) as entries:
            return [from_disk(entry.name) for entry in entries]

    def look(self, name: str) -> os.stat_result:
        """Return the status of a name; of a link, that of the link itself."""
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def open(self, name: str) -> int:
        """Open a file for reading."""
        return self._open(name, os.O_RDONLY)

    def sync_file(self, name: str, sync: Sync) -> None:
        """Make the content of a file durable."""
        with os.fdopen(self._open(name, _TO_SYNC), "rb", buffering=0) as handle:
            sync(handle.fileno())

    def create(self, name: str) -> int:
        """Open a new file; remove any file or link of that name first."""
        self.remove(name)
        return self._open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def resume(self, name: str) -> int:
        """Open a file to append to; a new one if there is none, or if it has a second hard link."""
        with suppress(FileNotFoundError):
            seen = self.look(name)
            if is_ours_alone(seen):
                descriptor = self._open(name, os.O_RDWR)
                # The name may belong to another file since, whose second link was removed again.
                if os.path.samestat(seen, os.fstat(descriptor)):
                    return descriptor
                os.close(descriptor)
        return self.create(name)

    def remove(self, name: str) -> None:
        """Remove a file or a link, if it exists."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(name), dir_fd=self._descriptor)

    def remove_all(self, name: str) -> None:
        """Remove a folder with its content; links are removed, not followed."""
        shutil.rmtree(self._at(name), dir_fd=self._descriptor)

    def move(self, name: str, to: Directory, new_name: str) -> None:
        """Move a file, and replace a file or link of the new name; a link is not followed."""
        source, target = self._at(name), to._at(new_name)
        try:
            os.replace(source, target, src_dir_fd=self._descriptor, dst_dir_fd=to._descriptor)
        except FileNotFoundError as exc:
            reason = "was removed while it was written; see what else works here and run again"
            raise StorageError(f"{self.path / name}: {reason}") from exc

    def link(self, name: str, to: Directory, new_name: str) -> None:
        """Make a hard link to a file, and replace a file or link of the new name."""
        to.remove(new_name)
        os.link(
            self._at(name),
            to._at(new_name),
            src_dir_fd=self._descriptor,
            dst_dir_fd=to._descriptor,
            follow_symlinks=False,
        )

    def sync(self, sync: Sync) -> None:
        """Make the names in it durable, if the system supports that."""
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
        if self._descriptor is None:  # Windows has several kinds of links
            leads_away = leads_away or path.resolve().parent != self.path.resolve()
        if leads_away:
            raise StorageError(f"{path}: a link leads out of the output folder; remove it")


def is_ours_alone(status: os.stat_result) -> bool:
    """Return whether it is a regular file with a single link."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


@dataclass
class StagedFile:
    """
    A written file that is going to be renamed.

    ``handle``: the open file. ``name``, ``folder``: where it is now.
    ``path``: where it goes, below the output folder.
    ``problem``: the error that prevents that. ``is_synced``: its bytes are durable.
    """

    handle: BinaryIO
    folder: Directory
    name: str
    path: str
    problem: StorageError | None = None
    is_synced: bool = False


class OutputTree:
    """
    The output folder with all folders below it; paths are relative to it, with "/".

    It is never created here: if it is gone, another program has removed it.
    """

    def __init__(self, root: Path, *, sync: Sync, held: bool) -> None:
        self.root = root
        self._sync = sync
        self._held = held
        self._synced_folders: set[str] = set()

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[Directory]:
        """
        Enter a folder, never through a link; `make`: create missing folders.

        Raises:
            StorageError: there is a link in the path, or a folder cannot be entered or made.
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
        """Make the content of an open file durable."""
        self._sync(handle.fileno())

    def sync_descriptor(self, descriptor: int) -> None:
        """Make the content of an open file or folder durable."""
        self._sync(descriptor)

    def publish(self, files: Sequence[StagedFile], before_moving: Callable[[], None] = lambda: None) -> None:
        """
        Move written files to their paths; each file without a ``problem`` is durable then.

        Each changed folder is synced once for all files. If `before_moving` raises, no file is moved.
        """
        for file in files[1:]:  # the disk writes these while we wait for the first
            begin_to_sync(file.handle)
        for file in files:
            with _noted_in([file]), map_disk_errors(str(self.root / file.path)):
                self._sync(file.handle.fileno())
                file.is_synced = True
                file.handle.close()  # Windows cannot move an open file
        before_moving()
        failpoint("file: before the commit")
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
        """Make an existing file durable, with the names of all folders above it."""
        folder, _, name = path.rpartition("/")
        with map_disk_errors(str(self.root / path)), self.folder(folder) as here:
            here.sync_file(name, self._sync)
            here.sync(self._sync)
        self.sync_folders(folder)

    def sync_folders(self, folder: str) -> None:
        """Make the names of a folder and of its parents durable."""
        for above, step in self._unsynced_folders(folder):
            with self.folder(above) as here, map_disk_errors(str(self.root / above)):
                here.sync(self._sync)
                self._note_synced({step})

    def _unsynced_folders(self, folder: str) -> list[tuple[str, str]]:
        """
        Return the folders in a path whose names may not be durable, each with its parent.

        Existing ones too: another thread, or a killed run, may have made them a moment ago. Folders that this
        process has synced are not synced again.
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
        if len(self._synced_folders) >= MOST_SYNCED_FOLDERS:  # bounded memory; a second sync does no harm
            self._synced_folders.clear()
        self._synced_folders |= folders


def _by_folder(files: Sequence[StagedFile]) -> dict[str, list[StagedFile]]:
    """Group the files without a problem by their target folders."""
    grouped: dict[str, list[StagedFile]] = {}
    for file in files:
        if file.problem is None:
            grouped.setdefault(file.path.rpartition("/")[0], []).append(file)
    return grouped


@contextmanager
def _noted_in(files: Sequence[StagedFile]) -> Iterator[None]:
    """Store a StorageError of the block as the problem of its files."""
    try:
        yield
    except StorageError as error:
        for file in files:
            file.problem = file.problem or error
