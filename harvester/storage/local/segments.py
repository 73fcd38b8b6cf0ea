"""
Pieces of a file that come before their turn, each in a file of its own beside the partial one.

A piece has the bytes from some place on and is only ever appended to: its length says what it holds, whenever
the process dies. When the beginning of the file has grown as far as a piece, the piece is appended to that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import InsufficientSpace, StorageError
from harvester.storage.local.directory import OutputTree, is_ours_alone, map_disk_errors
from harvester.storage.local.partial_owner import PartName
from harvester.storage.local.reservation import DiskReservation

BUFFER_SIZE = 1 << 20
PARTIAL = ".partial"


def write_all(handle: FileIO, data: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part first and fails at the next."""
    rest = memoryview(data)
    while rest:
        rest = rest[handle.write(rest) :]


class Segment:
    """
    The bytes of a file from ``begin`` on, as far as they are here.

    ``received`` counts them, ``written`` those on the disk. ``is_filling``: somebody brings more.
    """

    def __init__(
        self, pieces: Segments, tree: OutputTree, name: str, begin: int, threads: CapacityLimiter
    ) -> None:
        self.begin = begin
        self.received = self.written = 0
        self.is_filling = False
        self.is_dropped = False
        self._pieces = pieces
        self._tree = tree
        self._name = name
        self._path: Path = tree.root / PARTIAL / name
        self._threads = threads
        self._changed: anyio.Event
        self._buffered: list[bytes] = []
        self._waiting = 0
        self._handle: FileIO | None = None
        self._reader: FileIO | None = None
        # Bytes may be on their way to the disk in one thread while the piece is dropped in another.
        self._lock = threading.Lock()

    @property
    def position(self) -> int:
        """The place in the whole file where the next byte goes."""
        return self.begin + self.received

    @property
    def until(self) -> int:
        """Where the next piece, or the end, is: nothing is missing from there."""
        return self._pieces.end_of(self)

    def fill(self) -> None:
        """Announce that more comes, until `release`."""
        self.is_filling, self._changed = True, anyio.Event()

    async def write(self, data: bytes) -> None:
        """Add the next bytes."""
        self._buffered.append(data)
        self.received += len(data)
        self._waiting += len(data)
        if self._waiting >= BUFFER_SIZE:
            await to_thread.run_sync(self._append, limiter=self._threads)
            self._tell()

    async def release(self) -> None:
        """
        Keep what has come; nothing more comes for now.

        Raises nothing of the disk's: what it does not take is missing, and fetched again.
        """
        with anyio.CancelScope(shield=True):
            with suppress(StorageError):
                await to_thread.run_sync(self._append, limiter=self._threads)
            await to_thread.run_sync(self.close, limiter=self._threads)
        self.received = self.written
        self.is_filling = False
        self._tell()

    async def grows(self) -> bool:
        """Wait for more to be written; return False where nothing more comes."""
        if self.is_filling:
            await self._changed.wait()
            return True
        return False

    def read(self, place: int) -> bytes:
        """Return what is written from that place of the whole file on, a buffer of it at most."""
        with self._lock, map_disk_errors(str(self._path)):
            if self._reader is None:
                with self._tree.folder(PARTIAL) as folder:
                    self._reader = os.fdopen(folder.open(self._name), "rb", buffering=0)
            self._reader.seek(place - self.begin)
            data = self._reader.read(min(BUFFER_SIZE, self.begin + self.written - place))
            if data:
                return data
        raise StorageError(
            f"{self._path}: was cut while it was written; see what else works here and run again"
        )

    def close(self) -> None:
        """Close its file, in this thread."""
        with self._lock:
            self._close()

    def remove(self) -> None:
        """Remove its file, in this thread; what is still on its way to it is dropped."""
        with self._lock, map_disk_errors(str(self._path)):
            self.is_dropped = True
            self._buffered.clear()
            self._close()  # Windows removes no open file
            if self._pieces.have_a_file(self.begin):
                with self._tree.folder(PARTIAL) as folder:
                    folder.remove(self._name)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _append(self) -> None:
        with self._lock, map_disk_errors(str(self._path)):
            data, self._buffered, self._waiting = b"".join(self._buffered), [], 0
            if self.is_dropped or not data:
                return
            handle = self._handle or self._open()
            try:
                write_all(handle, data)
            finally:  # a disk that is full has taken the first of it
                self.written = handle.tell()

    def _open(self) -> FileIO:
        with self._tree.folder(PARTIAL, make=True) as folder:
            self._handle = os.fdopen(folder.resume(self._name), "r+b", buffering=0)
        if self._handle.seek(0, os.SEEK_END) < self.written:
            told = "was cut while it was written; see what else works here and run again"
            raise StorageError(f"{self._path}: {told}")
        self._handle.seek(self.written)
        self._handle.truncate()  # nothing more that lies there is known to be part of it
        self._pieces.note(self.begin)
        return self._handle

    def _close(self) -> None:
        for handle in (self._handle, self._reader):
            if handle is not None:
                with suppress(OSError):
                    handle.close()
        self._handle = self._reader = None


class Segments:
    """
    The pieces of one file, in the order of their bytes.

    `name`: of the partial file that they belong to. `room`: the free disk.
    """

    def __init__(
        self,
        tree: OutputTree,
        name: PartName,
        size: int,
        threads: CapacityLimiter,
        room: DiskReservation,
    ) -> None:
        self._tree = tree
        self._name = name
        self._size = size
        self._threads = threads
        self._have_files: set[int] = set()
        self._free = room
        self._room = ExitStack()
        self._room_size = 0
        self._all: list[Segment] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    @property
    def first(self) -> Segment:
        """The one that comes next."""
        return self._all[0]

    @property
    def begin(self) -> int:
        """Where the first one begins; the end of the file where there is none."""
        return self._all[0].begin if self._all else self._size

    def end_of(self, piece: Segment) -> int:
        """Tell where the one after it begins, or the file ends; one that was dropped lacks nothing."""
        every = self._all  # another thread may drop them now
        if piece not in every:
            return piece.position
        place = every.index(piece) + 1
        return every[place].begin if place < len(every) else self._size

    def make_room(self, size: int) -> bool:
        """Set disk aside for a piece that is there twice while it is appended; tell whether there is."""
        if size > self._room_size:
            try:
                more = size - self._room_size
                self._room.enter_context(self._free.reserve(lambda: more))
            except InsufficientSpace:
                return False
            self._room_size = size
        return True

    def give_room_back(self) -> None:
        """Let others have the disk that was set aside."""
        self._room.close()
        self._room_size = 0

    def find(self, received: int, begins: Collection[int]) -> None:
        """
        Go on with those that begin at `begins`, in this thread; `received`: so much of the beginning is here.

        What overlaps, or is no piece of this file, is removed: only the one that was being appended when the
        process died may begin before the end of what is here.
        """
        end = 0
        self._have_files.update(begins)
        for begin in sorted(begins):
            piece = self._make(begin)
            with self._tree.folder(PARTIAL) as folder, suppress(FileNotFoundError):
                status = folder.look(str(self._name_of(begin)))
                if is_ours_alone(status):
                    piece.received = piece.written = status.st_size
            if end <= begin and received < piece.position <= self._size and piece.received:
                self._all.append(piece)
                end = piece.position
            else:
                self.remove(piece)

    def add(self, begin: int) -> Segment:
        """Begin a new one, which has no byte yet."""
        piece = self._make(begin)
        self._all = sorted([*self._all, piece], key=lambda each: each.begin)
        return piece

    def take_out(self, piece: Segment) -> None:
        """Let go of one: what comes after the one before it begins where this one ended."""
        self._all.remove(piece)

    def remove(self, piece: Segment) -> None:
        """Remove the file of one that was taken out, in this thread."""
        piece.remove()
        self._have_files.discard(piece.begin)

    def drop(self) -> None:
        """Remove all of them, in this thread."""
        dropped, self._all = self._all, []
        known = {piece.begin for piece in dropped}
        strays = self._have_files - known
        for piece in [*dropped, *map(self._make, strays)]:
            self.remove(piece)

    def close(self) -> list[PartName]:
        """Close their files, in this thread; return those that hold something, for another try."""
        for piece in self._all:
            piece.close()
        self._all = [piece for piece in self._all if piece.written]
        return [self._name_of(piece.begin) for piece in self._all]

    def note(self, begin: int) -> None:
        """Remember that one has a file now."""
        self._have_files.add(begin)

    def have_a_file(self, begin: int) -> bool:
        """Tell whether the one that begins there has a file."""
        return begin in self._have_files

    def _make(self, begin: int) -> Segment:
        return Segment(self, self._tree, str(self._name_of(begin)), begin, self._threads)

    def _name_of(self, begin: int) -> PartName:
        return replace(self._name, begin=begin)
