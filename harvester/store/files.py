"""
The files of one output folder: filled by pieces, proven by md5, published by rename.

A `Partial` is filled by pieces, proves itself and is renamed to its place. Hashing and writing
happen together in a worker thread, one call in flight for each file, so that the event loop never
waits for the disk and memory holds at most one buffer for each file in transfer.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import Damaged, DiskTrouble, NoRoom
from harvester.models import RemoteFile
from harvester.store.disk import HOLDS_FOLDERS, Folder, Sync, Tree, disk_errors

BUFFER_SIZE = 1 << 20
_PARTIAL = ".partial"
_UNPROVEN = "unproven"
_NAME = re.compile(rf"(\d+)-(\d+)-([0-9a-f]{{32}}|{_UNPROVEN})\.part")


class Store:
    """
    The files of one output folder.

    `sync`: makes an open file or folder outlive a power cut. `hold_folders`: reach files by open
    folders, not by paths that might lead elsewhere a moment later; not on Windows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writers: int = 8,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        sync: Sync = os.fsync,
        hold_folders: bool = HOLDS_FOLDERS,
    ) -> None:
        self.folder = folder
        self._tree = Tree(folder, sync=sync, held=hold_folders)
        self._threads = CapacityLimiter(writers)
        self._free_bytes = free_bytes
        self._reserved = 0

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """
        Set `size` bytes of the free disk aside while a file is written.

        Raises:
            NoRoom: they are not there.
        """
        with disk_errors(str(self.folder)):
            free = self._free_bytes(self.folder)
        if size > free - self._reserved:
            raise NoRoom(
                f"{self.folder}: {size} bytes are needed and {free - self._reserved} are free; "
                "make room and run again"
            )
        self._reserved += size
        try:
            yield
        finally:
            self._reserved -= size

    async def holds(self, path: str, size: int, md5: str | None) -> bool:
        """Tell whether the file at `path` is there, whole and, where `md5` is given, proven by it."""
        return await to_thread.run_sync(
            self.check, path, size, md5, limiter=self._threads, abandon_on_cancel=True
        )

    def check(self, path: str, size: int, md5: str | None) -> bool:
        """Do what `holds` does, in this thread; what is reached through a link is not here."""
        folder, _, name = path.rpartition("/")
        with suppress(OSError, DiskTrouble), self._tree.folder(folder) as here:
            status = here.look(name)
            if stat.S_ISREG(status.st_mode) and status.st_size == size:
                return md5 is None or _hash_file(here, name) == md5
        return False

    async def partial(self, item_id: int, file: RemoteFile) -> Partial:
        """Open the partial file of `file`, with what an earlier try left in it."""
        name = f"{item_id}-{file.id}-{file.md5 or _UNPROVEN}.part"
        partial = Partial(self._tree, name, file, self._threads)
        await to_thread.run_sync(partial.open, limiter=self._threads)
        return partial

    async def sweep(self, is_of_use: Callable[[int, int, str | None], Awaitable[bool]]) -> None:
        """
        Remove partial files that are of no more use.

        `is_of_use` is asked with the ids of item and file and the md5 that a partial file is for. Such are
        left where a file was replaced at figshare, and where a power cut undid the loss of an old name.
        """
        for name in await to_thread.run_sync(self._partials):
            found = _NAME.fullmatch(name)
            if found is None:
                continue
            md5 = None if found[3] == _UNPROVEN else found[3]
            if not await is_of_use(int(found[1]), int(found[2]), md5):
                await to_thread.run_sync(self._remove_partial, name)

    def _partials(self) -> list[str]:
        if not (self.folder / _PARTIAL).exists():
            return []
        with disk_errors(str(self.folder / _PARTIAL)), self._tree.folder(_PARTIAL) as here:
            return here.names()

    def _remove_partial(self, name: str) -> None:
        with disk_errors(str(self.folder / _PARTIAL / name)), self._tree.folder(_PARTIAL) as here:
            here.remove(name)


class Partial:
    """
    A file on its way: filled piece by piece, hashed as it grows.

    ``received`` counts the bytes that are part of it so far; ``validator`` is the ETag that they
    belong to, where this process learned it.
    """

    def __init__(self, tree: Tree, name: str, file: RemoteFile, threads: CapacityLimiter) -> None:
        self.file = file
        self.validator: str | None = None
        self.received = 0
        self._tree = tree
        self._name = name
        self._path = tree.root / _PARTIAL / name
        self._threads = threads
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._published = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._folder: Folder
        self._handle: FileIO
        self._opened = ExitStack()

    def open(self) -> None:
        """Open or go on with the file, in this thread: what is there is hashed again."""
        with disk_errors(str(self._path)), ExitStack() as opened:
            self._folder = opened.enter_context(self._tree.folder(_PARTIAL, make=True))
            # Unbuffered: pieces are gathered here, and closing must have nothing left to write.
            self._handle = opened.enter_context(
                os.fdopen(self._folder.resume(self._name), "r+b", buffering=0)
            )
            held = os.fstat(self._handle.fileno()).st_size
            # Without an md5 nothing would prove that an old beginning belongs to a new end.
            if held > self.file.size or self.file.md5 is None:
                self._restart()
            else:
                self._md5 = _hash_stream(self._handle)
                self.received = held
            self._opened = opened.pop_all()

    async def write(self, piece: bytes) -> None:
        """Add the next piece."""
        self._pieces.append(piece)
        self.received += len(piece)
        self._waiting += len(piece)
        if self._waiting >= BUFFER_SIZE:
            await self.flush()

    async def flush(self) -> None:
        """Hand what is buffered to the disk and the md5."""
        if self._pieces:
            # Shielded: a piece that is hashed but not written, or the other way round, would
            # make the rest worthless.
            await to_thread.run_sync(self._absorb, limiter=self._threads)

    async def start_over(self) -> None:
        """Forget everything received so far."""
        await to_thread.run_sync(self._restart, limiter=self._threads)

    async def publish(self, path: str) -> None:
        """
        Prove the whole file and rename it to `path` below the output folder.

        What was published outlives a power cut.

        Raises:
            Damaged: it is not what was promised; it has been deleted.
            DiskTrouble: the disk does not take it.
        """
        await to_thread.run_sync(self._publish, path, limiter=self._threads)

    async def close(self) -> None:
        """
        Keep what was received for another try, and close the file.

        Raises nothing of the disk's: what it does not take now is fetched again.
        """
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close, limiter=self._threads)

    def _absorb(self) -> None:
        data, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        self._md5.update(data)
        with disk_errors(str(self._path)):
            _write_all(self._handle, data)

    def _restart(self) -> None:
        self._pieces, self._waiting, self.validator = [], 0, None
        with disk_errors(str(self._path)):
            self._handle.seek(0)
            self._handle.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.received = 0

    def _close(self) -> None:
        # Whoever closes an unfinished file was led here by an error, and that one is to be heard of.
        with suppress(DiskTrouble):
            self._absorb()
        with suppress(OSError), self._opened:
            if self.received == 0 or self._published:
                self._handle.close()  # Windows removes no open file
                self._folder.remove(self._name)

    def _publish(self, path: str) -> None:
        self._absorb()
        got = self._md5.hexdigest()
        if self.received != self.file.size or self.file.md5 not in {None, got}:
            self._restart()
            raise Damaged(f"received md5 {got}, promised {self.file.md5}", md5=got)
        with disk_errors(str(self._tree.root / path)):
            self._tree.publish(self._handle, self._folder, self._name, path)
        self._published = True


def _write_all(handle: FileIO, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part first and fails at the next."""
    rest = memoryview(data)
    while rest:
        rest = rest[handle.write(rest) :]


def _hash_file(folder: Folder, name: str) -> str:
    with os.fdopen(folder.open(name), "rb", buffering=0) as handle:
        return _hash_stream(handle).hexdigest()


def _hash_stream(handle: FileIO) -> hashlib._Hash:
    md5 = hashlib.md5(usedforsecurity=False)
    while piece := handle.read(BUFFER_SIZE):
        md5.update(piece)
    return md5
