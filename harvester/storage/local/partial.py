"""
A file on its way: filled by pieces, proven by md5, published by rename.

Hashing and writing happen together in a worker thread, one call in flight for each file, so that the event
loop never waits for the disk and memory holds at most one buffer for each file in transfer, and one for each
further connection that fills it. A file that fits into its buffer touches the disk only when it is published.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from io import FileIO

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import CorruptBody, InsufficientSpace, StorageError
from harvester.models import RemoteFile
from harvester.storage.local.commit import Publisher
from harvester.storage.local.directory import (
    Directory,
    OutputTree,
    StagedFile,
    begin_to_sync,
    map_disk_errors,
)
from harvester.storage.local.partial_owner import FREE, PartName
from harvester.storage.local.reservation import DiskReservation
from harvester.storage.local.resume import Leftovers, discard, take_over
from harvester.storage.local.segments import BUFFER_SIZE, PARTIAL, Segment, Segments, write_all
from harvester.storage.local.verify import hash_stream


class Partial:
    """
    A file on its way: filled piece by piece, hashed as it grows.

    ``received`` counts the bytes that are part of it so far; ``validator`` is the ETag that they
    belong to, where this process learned it. ``pieces``: what is here of the bytes after that.
    """

    def __init__(
        self,
        tree: OutputTree,
        name: PartName,
        file: RemoteFile,
        threads: CapacityLimiter,
        publisher: Publisher,
        leftovers: Leftovers,
        room: DiskReservation,
    ) -> None:
        self.file = file
        self.pieces = Segments(tree, name, file.size, threads, room)
        self.validator: str | None = None
        self.received = 0
        self._tree = tree
        self._part_name, self._name = name, str(name)
        self._path = tree.root / PARTIAL / self._name
        self._threads = threads
        self._publisher = publisher
        self._leftovers = leftovers
        self._room = room
        self._written = 0
        self._buffered: list[bytes] = []
        self._waiting = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._folder: Directory
        self._handle: FileIO | None = None
        self._opened = ExitStack()

    def take_over(self, found: Sequence[PartName]) -> None:
        """
        Go on with what an earlier try left, in this thread: its beginning is hashed again.

        Raises:
            StorageError: the disk does not let that be done.
        """
        if self.file.md5 is None:
            # Nothing would prove that an old beginning belongs to a new end.
            discard(self._tree, found)
            return
        begins = take_over(self._tree, found, self._part_name.owner, self.file.size, self._room)
        with map_disk_errors(str(self._path)):
            handle = self._open()
            self._md5 = hash_stream(handle)
            self.received = self._written = handle.tell()
            self.pieces.find(self.received, begins)

    def _open(self) -> FileIO:
        with ExitStack() as opened:
            self._folder = opened.enter_context(self._tree.folder(PARTIAL, make=True))
            # Unbuffered: pieces are gathered here, and closing must have nothing left to write.
            descriptor = self._folder.resume(self._name)
            self._handle = opened.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            self._opened = opened.pop_all()
        return self._handle

    @property
    def position(self) -> int:
        """The place where the next byte goes."""
        return self.received

    @property
    def held(self) -> int:
        """So many bytes are here, in it and in its pieces."""
        return self.received + sum(piece.received for piece in self.pieces)

    @property
    def until(self) -> int:
        """Where the first piece, or the end, is: nothing is missing from there."""
        return self.pieces.begin

    def reserve(self) -> AbstractContextManager[None]:
        """
        Set disk aside for what is still to come of it, as long as it is in transfer.

        Raises:
            InsufficientSpace: that is not there.
        """
        return self._room.reserve(self._missing)

    def _missing(self) -> int:
        """Count the bytes that are on no disk yet; what a piece holds twice is in the room made for it."""
        return self.file.size - self._written - sum(piece.written for piece in self.pieces)

    def has_room(self) -> bool:
        """Set disk aside for appending the pieces; tell whether there is, besides what is still to come."""
        longest = max((piece.until - piece.begin for piece in self.pieces), default=0)  # is there twice
        try:
            with self.reserve():
                return self.pieces.make_room(longest)
        except InsufficientSpace:
            return not self.pieces

    def divide(self, place: int) -> Segment | None:
        """
        Let somebody else bring what is missing from `place` on, up to the next piece.

        None where there is nothing left to bring: others have come so far meanwhile.
        """
        begins = [piece for piece in self.pieces if piece.begin <= place]
        if begins and begins[-1].position == place and not begins[-1].is_filling:
            piece = begins[-1]  # somebody began it, and left
        elif (begins[-1] if begins else self).position < place < (begins[-1] if begins else self).until:
            piece = self.pieces.add(place)
        else:
            return None
        piece.fill()
        return piece

    async def absorb(self) -> None:
        """Append the first piece, where the beginning has grown so far, and what more comes for it."""
        piece = self.pieces.first
        may_grow = True
        while may_grow:
            while self.received < piece.begin + piece.written:
                await to_thread.run_sync(self._append, piece, limiter=self._threads)
            may_grow = await piece.grows()
        self.pieces.take_out(piece)
        await to_thread.run_sync(self._let_go, piece, limiter=self._threads)

    async def write(self, piece: bytes) -> None:
        """Add the next bytes."""
        self._buffered.append(piece)
        self.received += len(piece)
        self._waiting += len(piece)
        if self._waiting >= BUFFER_SIZE:
            await self.flush()

    async def flush(self) -> None:
        """Hand what is buffered to the disk and the md5."""
        if self._buffered:
            # Whoever is cancelled waits for the thread: what is hashed but not written, or the other way
            # round, would make the rest worthless.
            await to_thread.run_sync(self._absorb, limiter=self._threads)

    async def start_over(self) -> None:
        """Forget everything received so far."""
        await to_thread.run_sync(self._restart, limiter=self._threads)

    async def publish(self, path: str) -> None:
        """
        Prove the whole file and rename it to `path` below the output folder; see `Publisher.publish`.

        Raises:
            CorruptBody: it is not what was promised; it has been deleted.
            StorageError: the disk does not take it.
        """
        await self._publisher.publish(self, path, self.file.size)

    def prove(self, path: str) -> StagedFile:
        """
        Write what is buffered and prove the whole file, in this thread.

        Raises:
            Damaged, StorageError: as `publish`.
        """
        handle = self._absorb()
        self._refuse_another(handle)
        got = self._md5.hexdigest()
        if self.received != self.file.size or self.file.md5 not in {None, got}:
            self._restart()
            raise CorruptBody(f"received md5 {got}, promised {self.file.md5}", md5=got)
        return StagedFile(handle, self._folder, self._name, path)

    def _refuse_another(self, handle: FileIO) -> None:
        """See that what was hashed is what is on the disk under this name: this very file, of this length."""
        with map_disk_errors(str(self._path)):
            status = os.fstat(handle.fileno())
            try:
                is_it = os.path.samestat(status, self._folder.look(self._name))
            except FileNotFoundError:
                return  # so it is told where it is moved
        if not is_it or status.st_size != self.received:
            told = "was changed while it was written; see what else works here and run again"
            raise StorageError(f"{self._path}: {told}")

    def published(self) -> None:
        """Let go of a file that is in its place, in this thread."""
        with suppress(OSError), self._opened:
            self._folder.remove(self._name)  # a second name of the same file is not moved but stays
        self._handle = None

    def unsynced(self) -> None:
        """
        Begin anew, in this thread, as the disk has failed to take some of it.

        What is read back may be in memory only, and a second sync may have nothing to say against it.
        """
        with suppress(StorageError):  # there is one already, and it is to be heard of
            self._restart()

    async def close(self) -> None:
        """
        Keep what was received for another try, and close the file.

        Raises nothing of the disk's: what it does not take now is fetched again.
        """
        self.pieces.give_room_back()
        if self._handle is not None or self._buffered or self.pieces:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._close, limiter=self._threads)

    def _absorb(self) -> FileIO:
        data, self._buffered, self._waiting = b"".join(self._buffered), [], 0
        with map_disk_errors(str(self._path)):
            handle = self._handle
            if handle is None:
                handle = self._open()
                handle.truncate()  # nothing that lies there is known to be part of it
            self._md5.update(data)
            write_all(handle, data)
            self._written += len(data)
            if len(data) >= BUFFER_SIZE:  # else all of a big file would be written to the disk at its end
                begin_to_sync(handle, handle.tell() - len(data))
        return handle

    def _append(self, piece: Segment) -> None:
        data = piece.read(self.received)
        self._buffered.append(data)
        self.received += len(data)
        self._absorb()

    def _let_go(self, piece: Segment) -> None:
        handle = self._absorb()
        try:
            with map_disk_errors(str(self._path)):  # else a power cut might keep neither of both
                self._tree.sync(handle)
        except StorageError:
            piece.close()
            self.unsynced()
            raise
        self.pieces.remove(piece)

    def _restart(self) -> None:
        self._buffered, self._waiting, self.validator = [], 0, None
        self.pieces.drop()
        if self._handle is not None:
            with map_disk_errors(str(self._path)):
                self._handle.seek(0)
                self._handle.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.received = self._written = 0

    def _close(self) -> None:
        # Whoever closes an unfinished file was led here by an error, and that one is to be heard of.
        with suppress(StorageError):
            self._absorb()
        left = self.pieces.close()
        with suppress(OSError), self._opened:
            if self._handle is not None:
                self._handle.close()  # Windows removes and moves no open file
                if self.received == 0:
                    self._folder.remove(self._name)
                else:
                    left.append(self._part_name)
        self._handle = None
        self._let_be(left)

    def _let_be(self, names: Sequence[PartName]) -> None:
        """Leave files to whoever goes on with them."""
        for name in names:
            left = name
            with (
                suppress(StorageError),
                self._tree.folder(PARTIAL) as folder,
                map_disk_errors(str(self._path)),
            ):
                folder.move(str(name), folder, str(name.of(FREE)))
                left = name.of(FREE)
            self._leftovers.add(left)
