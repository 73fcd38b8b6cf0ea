"""
The files of one output folder: filled by pieces, proven by md5, published by rename.

A `Partial` is filled by pieces, proves itself and is renamed to its place. Hashing and writing
happen together in a worker thread, one call in flight for each file, so that the event loop never
waits for the disk and memory holds at most one buffer for each file in transfer, and one for each
further connection that fills it. A file that fits into its buffer touches the disk only when it is
published.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from io import FileIO
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import Damaged, DiskTrouble, NoRoom
from harvester.models import RemoteFile
from harvester.paths import is_there
from harvester.store.disk import HOLDS_FOLDERS, Finished, Folder, Sync, Tree, begin_to_sync, disk_errors
from harvester.store.linking import COPY, Link, is_linked
from harvester.store.looking import hash_stream, is_kept, is_whole
from harvester.store.moving import Renames
from harvester.store.pieces import BUFFER_SIZE, PARTIAL, Left, Piece, Pieces, write_all
from harvester.store.publishing import Publisher
from harvester.store.room import Room, free_bytes

_UNPROVEN = "unproven"
_NAME = re.compile(rf"((\d+)-(\d+)-([0-9a-f]{{32}}|{_UNPROVEN}))(?:@(\d+))?\.part")


class Store:
    """
    The files of one output folder.

    `sync`: makes an open file or folder outlive a power cut. `link`: see `linking.Link`. `hold_folders`:
    reach files by open folders, not by paths that might lead elsewhere a moment later; not on Windows.
    """

    def __init__(
        self,
        folder: Path,
        *,
        writers: int = 8,
        free_bytes: Callable[[Path], int] = free_bytes,
        sync: Sync = os.fsync,
        link: Link = Folder.link,
        hold_folders: bool = HOLDS_FOLDERS,
    ) -> None:
        self.folder = folder
        self._link = link
        self._tree = Tree(folder, sync=sync, held=hold_folders)
        self._threads = CapacityLimiter(writers)
        self._publisher = Publisher(self._tree, self._threads)
        self.renames = Renames(self._tree, self._threads)
        self._left: Left = {}  # there is nothing to go on with for any other file
        self._has_looked = False
        self._locks: dict[tuple[int, int | str], anyio.Lock] = {}
        self._room = Room(folder, free_bytes)

    def reserve(self, size: int) -> AbstractContextManager[None]:
        """Set `size` bytes of the free disk aside; see `Room.reserve`."""
        return self._room.reserve(lambda: size)

    @asynccontextmanager
    async def alone(self, item_id: int, what: int | str) -> AsyncIterator[None]:
        """Let one at a time bring a file, by what must not be in two hands: its id, its path or its md5."""
        key = (item_id, what)
        lock = self._locks.setdefault(key, anyio.Lock(fast_acquire=True))
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._locks.pop(key, None)

    async def holds(self, path: str, size: int, md5: str | None) -> bool:
        """
        Tell whether the file at `path` is there, whole and, where `md5` is given, proven by it.

        Raises:
            DiskTrouble: the disk does not let that be seen.
        """
        return await self._look(is_whole, path, size, md5)

    async def keeps(self, path: str, size: int, md5: str | None) -> bool:
        """Tell what `holds` tells, and make a file that is there outlive a power cut."""
        return await self._look(is_kept, path, size, md5)

    async def links(self, twin: str, path: str, size: int, md5: str | None) -> bool:
        """Put the whole file at `twin` at `path` too; False where it is not there, or not whole."""
        return await to_thread.run_sync(
            is_linked, self._tree, twin, path, size, md5, self._link, limiter=self._threads
        )

    async def _look(
        self, how: Callable[[Tree, str, int, str | None], bool], path: str, size: int, md5: str | None
    ) -> bool:
        return await to_thread.run_sync(
            how, self._tree, path, size, md5, limiter=self._threads, abandon_on_cancel=True
        )

    def may_hold(self, path: str) -> bool:
        """Tell whether anything has this name; the look takes less than handing it to a thread does."""
        return is_there(self.folder, path)

    async def partial(self, item_id: int, file: RemoteFile) -> Partial:
        """Open the partial file of `file`, with what an earlier try left in it."""
        name = f"{item_id}-{file.id}-{file.md5 or _UNPROVEN}.part"
        if not self._has_looked:
            for found in map(_NAME.fullmatch, await to_thread.run_sync(self._partials)):
                if found is not None:
                    pieces = self._left.setdefault(f"{found[1]}.part", set())
                    pieces.update({int(found[5])} if found[5] else ())
            self._has_looked = True
        partial = Partial(self._tree, name, file, self._threads, self._publisher, self._left, self._room)
        if name in self._left:
            await to_thread.run_sync(partial.open, limiter=self._threads)
            if not partial.has_room():
                await to_thread.run_sync(partial.pieces.drop, limiter=self._threads)
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
                if name.endswith(COPY):  # of a run that was killed: it is made anew
                    await to_thread.run_sync(self._remove_partial, name)
                continue
            md5 = None if found[4] == _UNPROVEN else found[4]
            if not await is_of_use(int(found[2]), int(found[3]), md5):
                await to_thread.run_sync(self._remove_partial, name)

    def _partials(self) -> list[str]:
        if not (self.folder / PARTIAL).exists():
            return []
        with disk_errors(str(self.folder / PARTIAL)), self._tree.folder(PARTIAL) as here:
            return here.names()

    def _remove_partial(self, name: str) -> None:
        with disk_errors(str(self.folder / PARTIAL / name)), self._tree.folder(PARTIAL) as here:
            here.remove(name)


class Partial:
    """
    A file on its way: filled piece by piece, hashed as it grows.

    ``received`` counts the bytes that are part of it so far; ``validator`` is the ETag that they
    belong to, where this process learned it. ``pieces``: what is here of the bytes after that.
    """

    def __init__(
        self,
        tree: Tree,
        name: str,
        file: RemoteFile,
        threads: CapacityLimiter,
        publisher: Publisher,
        left: Left,
        room: Room,
    ) -> None:
        self.file = file
        self.pieces = Pieces(tree, name, file.size, threads, left, room)
        self.validator: str | None = None
        self.received = 0
        self._tree = tree
        self._name = name
        self._path = tree.root / PARTIAL / name
        self._threads = threads
        self._publisher = publisher
        self._left = left
        self._room = room
        self._written = 0
        self._buffered: list[bytes] = []
        self._waiting = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._folder: Folder
        self._handle: FileIO | None = None
        self._opened = ExitStack()

    def open(self) -> None:
        """Go on with what an earlier try left, in this thread: its beginning is hashed again."""
        with disk_errors(str(self._path)):
            handle = self._open()
            held = os.fstat(handle.fileno()).st_size
            # Without an md5 nothing would prove that an old beginning belongs to a new end.
            if held > self.file.size or self.file.md5 is None:
                self._restart()
            else:
                self._md5 = hash_stream(handle)
                self.received = self._written = held
                self.pieces.find(held)

    def _open(self) -> FileIO:
        with ExitStack() as opened:
            self._folder = opened.enter_context(self._tree.folder(PARTIAL, make=True))
            # Unbuffered: pieces are gathered here, and closing must have nothing left to write.
            descriptor = self._folder.resume(self._name)
            self._handle = opened.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            self._opened = opened.pop_all()
        self._left.setdefault(self._name, set())
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
            NoRoom: that is not there.
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
        except NoRoom:
            return not self.pieces

    def divide(self, place: int) -> Piece | None:
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
            Damaged: it is not what was promised; it has been deleted.
            DiskTrouble: the disk does not take it.
        """
        await self._publisher.publish(self, path, self.file.size)

    def prove(self, path: str) -> Finished:
        """
        Write what is buffered and prove the whole file, in this thread.

        Raises:
            Damaged, DiskTrouble: as `publish`.
        """
        handle = self._absorb()
        got = self._md5.hexdigest()
        if self.received != self.file.size or self.file.md5 not in {None, got}:
            self._restart()
            raise Damaged(f"received md5 {got}, promised {self.file.md5}", md5=got)
        return Finished(handle, self._folder, self._name, path)

    def published(self) -> None:
        """Let go of a file that is in its place, in this thread."""
        with suppress(OSError), self._opened:
            self._folder.remove(self._name)  # a second name of the same file is not moved but stays
        self._handle = None
        self._left.pop(self._name, None)

    def unsynced(self) -> None:
        """
        Begin anew, in this thread, as the disk has failed to take some of it.

        What is read back may be in memory only, and a second sync may have nothing to say against it.
        """
        with suppress(DiskTrouble):  # there is one already, and it is to be heard of
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
        with disk_errors(str(self._path)):
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

    def _append(self, piece: Piece) -> None:
        data = piece.read(self.received)
        self._buffered.append(data)
        self.received += len(data)
        self._absorb()

    def _let_go(self, piece: Piece) -> None:
        handle = self._absorb()
        try:
            with disk_errors(str(self._path)):  # else a power cut might keep neither of both
                self._tree.sync(handle)
        except DiskTrouble:
            piece.close()
            self.unsynced()
            raise
        self.pieces.remove(piece)

    def _restart(self) -> None:
        self._buffered, self._waiting, self.validator = [], 0, None
        self.pieces.drop()
        if self._handle is not None:
            with disk_errors(str(self._path)):
                self._handle.seek(0)
                self._handle.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.received = self._written = 0

    def _close(self) -> None:
        # Whoever closes an unfinished file was led here by an error, and that one is to be heard of.
        with suppress(DiskTrouble):
            self._absorb()
        self.pieces.close()
        with suppress(OSError), self._opened:
            if self.received == 0 and self._handle is not None:
                self._handle.close()  # Windows removes no open file
                self._folder.remove(self._name)
                if not self._left.get(self._name):
                    self._left.pop(self._name, None)
        self._handle = None
