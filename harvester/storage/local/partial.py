"""
Partial file: the upload of one file, verified by md5 and committed by an atomic rename.

Hashing and writing run together in a worker thread, one call at a time for each file. So the event loop never
waits for the disk, and memory contains at most one buffer for each connection. A file that fits into its
buffer is written only when it is committed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from io import FileIO

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import CorruptBody, InsufficientSpace, StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.commit import Publisher
from harvester.storage.local.directory import Directory, OutputTree, StagedFile, begin_to_sync
from harvester.storage.local.partial_owner import FREE, PartName
from harvester.storage.local.reservation import DiskReservation
from harvester.storage.local.resume import StalePartials, discard, take_over
from harvester.storage.local.segments import BUFFER_SIZE, PARTIAL, Segment, Segments, write_all
from harvester.storage.local.verify import hash_stream
from harvester.storage.protocol import Expected


class Partial:
    """
    The `Upload` of the local storage: hashed as it grows.

    Attributes:
        received: number of bytes from the first one on.
        validator: the strong ETag of these bytes, None if this process does not know it.
    """

    def __init__(
        self,
        tree: OutputTree,
        name: PartName,
        expected: Expected,
        threads: CapacityLimiter,
        publisher: Publisher,
        stale_partials: StalePartials,
        space: DiskReservation,
    ) -> None:
        self.validator: str | None = None
        self.received = 0
        self._expected = expected
        self._segments = Segments(self, tree, name, expected.size, threads, space)
        self._tree = tree
        self._part_name, self._name = name, str(name)
        self._path = tree.root / PARTIAL / self._name
        self._threads = threads
        self._publisher = publisher
        self._stale_partials = stale_partials
        self._space = space
        self._reserved = ExitStack()
        self._written = 0
        self._buffered: list[bytes] = []
        self._waiting = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._folder: Directory
        self._handle: FileIO | None = None
        self._opened = ExitStack()

    # -- receiving -------------------------------------------------------------------------------------

    def segments(self) -> Segments:
        """Return the segments, which accept bytes out of order."""
        return self._segments

    async def write(self, data: bytes) -> None:
        """Append bytes."""
        self._buffered.append(data)
        self.received += len(data)
        self._waiting += len(data)
        if self._waiting >= BUFFER_SIZE:
            await self.flush()

    async def flush(self) -> None:
        """Write and hash the buffer."""
        if self._buffered:
            # Shielded: a cancelled caller waits for the thread. Bytes that are hashed but not written, or the
            # reverse, would corrupt the rest.
            await to_thread.run_sync(self._flush, limiter=self._threads)

    async def start_over(self) -> None:
        """Discard all received bytes."""
        await to_thread.run_sync(self._restart, limiter=self._threads)

    def append(self, segment: Segment) -> None:
        """Append a buffer of a segment, in this thread."""
        data = segment.read(self.received)
        self._buffered.append(data)
        self.received += len(data)
        self._flush()

    def seal(self) -> None:
        """
        Make appended bytes durable, in this thread; else a power cut could lose them and their segment.

        Raises:
            StorageError: the disk failed; the upload starts over.
        """
        handle = self._flush()
        try:
            with map_disk_errors(str(self._path)):
                self._tree.sync(handle)
        except StorageError:
            self.unsynced()
            raise

    def _flush(self) -> FileIO:
        data, self._buffered, self._waiting = b"".join(self._buffered), [], 0
        with map_disk_errors(str(self._path)):
            handle = self._handle
            if handle is None:
                handle = self._open()
                handle.truncate()  # old bytes there may not belong to this file
            self._md5.update(data)
            write_all(handle, data)
            self._written += len(data)
            if len(data) >= BUFFER_SIZE:  # else the system would write all of a big file at its end
                begin_to_sync(handle, handle.tell() - len(data))
        return handle

    def _open(self) -> FileIO:
        with ExitStack() as opened:
            self._folder = opened.enter_context(self._tree.folder(PARTIAL, make=True))
            # Unbuffered: this class has its own buffer, and close() must have nothing left to write.
            descriptor = self._folder.resume(self._name)
            self._handle = opened.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            self._opened = opened.pop_all()
        return self._handle

    def _restart(self) -> None:
        self._buffered, self._waiting, self.validator = [], 0, None
        self._segments.drop()
        if self._handle is not None:
            with map_disk_errors(str(self._path)):
                self._handle.seek(0)
                self._handle.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.received = self._written = 0

    # -- resume, and space for the rest --------------------------------------------------------------

    def take_over(self, found: Sequence[PartName]) -> None:
        """
        Resume the bytes of an earlier run, in this thread: they are hashed again.

        Raises:
            StorageError: the disk failed.
        """
        if self._expected.md5 is None:
            # Without an md5 nothing proves that old bytes belong to new ones.
            discard(self._tree, found)
            return
        begins = take_over(self._tree, found, self._part_name.owner, self._expected.size, self._space)
        with map_disk_errors(str(self._path)):
            handle = self._open()
            self._md5 = hash_stream(handle)
            self.received = self._written = handle.tell()
            self._segments.resume(self.received, begins)
        if not self._try_reserve_to_append():
            self._segments.drop()

    def reserve(self) -> None:
        """
        Reserve disk space for the missing bytes, until it is closed.

        Raises:
            InsufficientSpace: there is too little space.
        """
        self._reserved.enter_context(self._space.reserve(self._missing))

    def _missing(self) -> int:
        """Return the number of bytes that are not on the disk yet, with the second copy of a segment."""
        return self._expected.size - self._written - sum(segment.written for segment in self._segments)

    def _try_reserve_to_append(self) -> bool:
        """
        Reserve disk space to append the segments.

        Return False if that and the missing bytes do not fit.
        """
        longest = max((segment.until - segment.begin for segment in self._segments), default=0)
        try:
            with self._space.reserve(self._missing):
                return self._segments.try_reserve(longest)
        except InsufficientSpace:
            return not self._segments

    # -- commit and close ------------------------------------------------------------------------------

    async def commit(self, key: str) -> None:
        """
        Verify the file and rename it to `key` below the output folder; see `Publisher.publish`.

        Raises:
            CorruptBody: its checksum is wrong; it has been deleted.
            StorageError: the disk failed.
        """
        await self._publisher.publish(self, key, self._expected.size)

    def prove(self, key: str) -> StagedFile:
        """
        Write the buffer and verify the file, in this thread; it goes to `key`.

        Raises:
            CorruptBody: its checksum is wrong.
            StorageError: the disk failed.
        """
        handle = self._flush()
        self._refuse_another(handle)
        got, expected = self._md5.hexdigest(), self._expected
        if self.received != expected.size or expected.md5 not in {None, got}:
            self._restart()
            raise CorruptBody(f"received md5 {got}, promised {expected.md5}", md5=got)
        return StagedFile(handle, self._folder, self._name, key)

    def _refuse_another(self, handle: FileIO) -> None:
        """Raise StorageError if the name is now another file than the hashed one, or has another length."""
        with map_disk_errors(str(self._path)):
            status = os.fstat(handle.fileno())
            try:
                is_it = os.path.samestat(status, self._folder.look(self._name))
            except FileNotFoundError:
                return  # the rename will fail and raise
        if not is_it or status.st_size != self.received:
            reason = "was changed while it was written; see what else works here and run again"
            raise StorageError(f"{self._path}: {reason}")

    def published(self) -> None:
        """Close a file that was renamed, in this thread."""
        with suppress(OSError), self._opened:
            self._folder.remove(self._name)  # a rename onto a hard link of itself leaves the old name
        self._handle = None

    def unsynced(self) -> None:
        """
        Start over, in this thread, after a failed sync.

        After a failed fsync, bytes that are read back may be in memory only, and a second fsync may report no
        error.
        """
        with suppress(StorageError):  # the first error is the one to report
            self._restart()

    async def abort(self) -> None:
        """
        Keep the received bytes for a resume, and close the file.

        Errors of the disk are suppressed: bytes that are not written are fetched again.
        """
        self._reserved.close()
        self._segments.free_reserved()
        if self._handle is not None or self._buffered or self._segments:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close, limiter=self._threads)

    def _close(self) -> None:
        # An unfinished file is closed after an error, which is the one to report.
        with suppress(StorageError):
            self._flush()
        left = self._segments.close()
        with suppress(OSError), self._opened:
            if self._handle is not None:
                self._handle.close()  # Windows cannot remove or move an open file
                if self.received == 0:
                    self._folder.remove(self._name)
                else:
                    left.append(self._part_name)
        self._handle = None
        self._free(left)

    def _free(self, names: Sequence[PartName]) -> None:
        """Rename files to mark that no process has them open."""
        for name in names:
            left = name
            with (
                suppress(StorageError),
                self._tree.folder(PARTIAL) as folder,
                map_disk_errors(str(self._path)),
            ):
                folder.move(str(name), folder, str(name.of(FREE)))
                left = name.of(FREE)
            self._stale_partials.add(left)
