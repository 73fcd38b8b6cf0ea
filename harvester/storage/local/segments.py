"""
Segments of a segmented download: ranges that arrive out of order, each in its own file.

A segment contains the bytes from an offset on and is append-only: after a crash its length says which bytes
it has. When the beginning of the file has reached a segment, the segment is appended to it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Protocol

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import InsufficientSpace, StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import OutputTree, is_ours_alone
from harvester.storage.local.partial_owner import PartName
from harvester.storage.local.reservation import DiskReservation
from harvester.system.failpoints import failpoint

BUFFER_SIZE = 1 << 20
"""Bytes that one connection collects in memory before they are written."""
PARTIAL = ".partial"
"""The folder of partial files, below the output folder."""


def write_all(handle: FileIO, data: bytes) -> None:
    """Write all data: on a nearly full disk the first write is short, and the next one fails."""
    rest = memoryview(data)
    while rest:
        rest = rest[handle.write(rest) :]


class Segment:
    """
    The received bytes of a file from an offset on.

    Attributes:
        begin: offset of its first byte in the whole file.
        received: bytes it holds.
        written: bytes of it that are on the disk.
        is_filling: whether a connection still adds bytes.
        is_dropped: whether it was discarded; later bytes are ignored.
    """

    def __init__(
        self, segments: Segments, tree: OutputTree, name: str, begin: int, threads: CapacityLimiter
    ) -> None:
        self.begin = begin
        self.received = self.written = 0
        self.is_filling = False
        self.is_dropped = False
        self._segments = segments
        self._tree = tree
        self._name = name
        self._path: Path = tree.root / PARTIAL / name
        self._threads = threads
        self._changed: anyio.Event
        self._buffered: list[bytes] = []
        self._waiting = 0
        self._handle: FileIO | None = None
        self._reader: FileIO | None = None
        # One thread may write buffered bytes while another one drops the segment.
        self._lock = threading.Lock()

    @property
    def offset(self) -> int:
        """The offset of the next byte in the whole file."""
        return self.begin + self.received

    @property
    def until(self) -> int:
        """The offset of the next segment, or of the end of the file."""
        return self._segments.end_of(self)

    def fill(self) -> None:
        """Mark it as filled by a connection, until `release`."""
        self.is_filling, self._changed = True, anyio.Event()

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._buffered.append(data)
        self.received += len(data)
        self._waiting += len(data)
        if self._waiting >= BUFFER_SIZE:
            await to_thread.run_sync(self._append, limiter=self._threads)
            self._notify()

    async def release(self) -> None:
        """
        Keep the received bytes; no connection fills it any more.

        Errors of the disk are suppressed: bytes that are not written are fetched again.
        """
        with anyio.CancelScope(shield=True):
            with suppress(StorageError):
                await to_thread.run_sync(self._append, limiter=self._threads)
            await to_thread.run_sync(self.close, limiter=self._threads)
        self.received = self.written
        self.is_filling = False
        self._notify()

    async def wait_for_more(self) -> bool:
        """Wait until more is written; return False if no connection fills it any more."""
        if self.is_filling:
            await self._changed.wait()
            return True
        return False

    def read(self, offset: int) -> bytes:
        """Return written bytes from an offset of the whole file on, at most one buffer."""
        with self._lock, map_disk_errors(str(self._path)):
            if self._reader is None:
                with self._tree.folder(PARTIAL) as folder:
                    self._reader = os.fdopen(folder.open(self._name), "rb", buffering=0)
            self._reader.seek(offset - self.begin)
            data = self._reader.read(min(BUFFER_SIZE, self.begin + self.written - offset))
            if data:
                return data
        raise self._was_cut()

    def close(self) -> None:
        """Close its file, in this thread."""
        with self._lock:
            self._close()

    def remove(self) -> None:
        """Remove its file, in this thread; later bytes are ignored."""
        with self._lock, map_disk_errors(str(self._path)):
            self.is_dropped = True
            self._buffered.clear()
            self._close()  # Windows cannot remove an open file
            if self._segments.has_file(self.begin):
                with self._tree.folder(PARTIAL) as folder:
                    folder.remove(self._name)

    def _notify(self) -> None:
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
            finally:  # a full disk may have written a part
                self.written = handle.tell()

    def _open(self) -> FileIO:
        with self._tree.folder(PARTIAL, make=True) as folder:
            self._handle = os.fdopen(folder.resume(self._name), "r+b", buffering=0)
        if self._handle.seek(0, os.SEEK_END) < self.written:
            raise self._was_cut()
        self._handle.seek(self.written)
        self._handle.truncate()  # old bytes there may not belong to this file
        self._segments.note_file(self.begin)
        return self._handle

    def _was_cut(self) -> StorageError:
        return StorageError(
            f"{self._path}: was cut while it was written; see what else works here and run again"
        )

    def _close(self) -> None:
        for handle in (self._handle, self._reader):
            if handle is not None:
                with suppress(OSError):
                    handle.close()
        self._handle = self._reader = None


class Beginning(Protocol):
    """The beginning of a file, to which segments are appended; both calls run in a worker thread."""

    received: int

    def append(self, segment: Segment) -> None: ...
    def seal(self) -> None: ...


class Segments:
    """
    The segments of one file, in the order of their bytes.

    Attributes:
        main: the beginning of the file, which they are appended to.
        tree: the output folder.
        name: of the partial file.
        size: bytes of the whole file.
        threads: limits the threads that write.
        space: the free disk space, for `try_reserve`.
    """

    def __init__(
        self,
        main: Beginning,
        tree: OutputTree,
        name: PartName,
        size: int,
        threads: CapacityLimiter,
        space: DiskReservation,
    ) -> None:
        self._main = main
        self._tree = tree
        self._name = name
        self._size = size
        self._threads = threads
        self._have_files: set[int] = set()
        self._space = space
        self._reserved = ExitStack()
        self._reserved_size = 0
        self._all: list[Segment] = []

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._all)

    @property
    def begin(self) -> int:
        """The offset of the first segment, or the size of the file if there is none."""
        return self._all[0].begin if self._all else self._size

    def end_of(self, segment: Segment) -> int:
        """Return the offset of the next segment, or the file's size; of a dropped one, its own end."""
        every = self._all  # another thread may drop them meanwhile
        if segment not in every:
            return segment.offset
        index = every.index(segment) + 1
        return every[index].begin if index < len(every) else self._size

    def try_reserve(self, size: int) -> bool:
        """
        Reserve disk space for a segment, which exists twice while it is appended; return False if it is
        short.
        """
        if size > self._reserved_size:
            try:
                more = size - self._reserved_size
                self._reserved.enter_context(self._space.reserve(lambda: more))
            except InsufficientSpace:
                return False
            self._reserved_size = size
        return True

    def free_reserved(self) -> None:
        """Release the reserved disk space."""
        self._reserved.close()
        self._reserved_size = 0

    def divide(self, offset: int) -> Segment | None:
        """
        Start a segment at `offset`, or continue one that ends there and that no connection fills.

        Returns None if nothing is missing there any more.
        """
        before = [segment for segment in self._all if segment.begin <= offset]
        last = before[-1] if before else None
        end, until = (last.offset, last.until) if last else (self._main.received, self.begin)
        if last is not None and end == offset and not last.is_filling:
            segment = last  # its connection ended early
        elif end < offset < until:
            segment = self._make(offset)
            self._all = sorted([*self._all, segment], key=lambda each: each.begin)
        else:
            return None
        segment.fill()
        return segment

    async def absorb(self) -> None:
        """Append the first segment to the beginning, with the bytes that it still receives."""
        segment = self._all[0]
        may_grow = True
        while may_grow:
            while self._main.received < segment.begin + segment.written:
                await to_thread.run_sync(self._main.append, segment, limiter=self._threads)
            may_grow = await segment.wait_for_more()
        self._all.remove(segment)  # the gap before the next one begins where this one ended
        await to_thread.run_sync(self._seal, segment, limiter=self._threads)

    def _seal(self, segment: Segment) -> None:
        try:
            self._main.seal()
        except StorageError:
            segment.close()
            raise
        failpoint("segment: appended")
        self._remove(segment)

    def resume(self, received: int, begins: Collection[int]) -> None:
        """
        Resume the segments at the offsets `begins`, in this thread; `received`: bytes of the beginning.

        Segments that overlap, or do not fit this file, are removed. Only the one that was being appended at
        the crash may begin before the end of the received bytes.
        """
        end = 0
        self._have_files.update(begins)
        for begin in sorted(begins):
            segment = self._make(begin)
            with self._tree.folder(PARTIAL) as folder, suppress(FileNotFoundError):
                status = folder.look(str(self._name_of(begin)))
                if is_ours_alone(status):
                    segment.received = segment.written = status.st_size
            if end <= begin and received < segment.offset <= self._size and segment.received:
                self._all.append(segment)
                end = segment.offset
            else:
                self._remove(segment)

    def drop(self) -> None:
        """Remove all segments, in this thread."""
        dropped, self._all = self._all, []
        known = {segment.begin for segment in dropped}
        strays = self._have_files - known
        for segment in [*dropped, *map(self._make, strays)]:
            self._remove(segment)

    def close(self) -> list[PartName]:
        """Close their files, in this thread; return the non-empty ones, for a resume."""
        for segment in self._all:
            segment.close()
        self._all = [segment for segment in self._all if segment.written]
        return [self._name_of(segment.begin) for segment in self._all]

    def note_file(self, begin: int) -> None:
        """Note that the segment at this offset has a file now."""
        self._have_files.add(begin)

    def has_file(self, begin: int) -> bool:
        """Return whether the segment at this offset has a file."""
        return begin in self._have_files

    def _remove(self, segment: Segment) -> None:
        segment.remove()
        self._have_files.discard(segment.begin)

    def _make(self, begin: int) -> Segment:
        return Segment(self, self._tree, str(self._name_of(begin)), begin, self._threads)

    def _name_of(self, begin: int) -> PartName:
        return replace(self._name, begin=begin)
