"""
Storage protocol: what a harvest needs of the place where the bytes of files end.

A key is the path of a file below the output, with "/", as files.csv names it. A file is visible at its key
only when it is whole, proven and durable. A storage implements `Storage` and `Upload`, and nothing else has
to change.

Two things are optional. An upload may take bytes out of order (`Segments`), so that a big file can come over
several connections. A storage may rename files at no cost (`SupportsRenames`); others copy and delete.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from harvester.models import ItemId

Confirm: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Fencing: awaited before a move or removal; raises FolderLocked where another run has the folder."""


async def nothing_to_confirm() -> None:
    """Confirm nothing: for a caller that holds no lease."""


class Expected(NamedTuple):
    """
    The file that an upload is to hold.

    Attributes:
        item_id: figshare's id of the item.
        file_id: figshare's id of the file; with `item_id` and `md5` it tells which partial upload to resume.
        size: bytes.
        md5: hexadecimal digest, None where figshare gives none: then nothing is resumed.
    """

    item_id: int
    file_id: int
    size: int
    md5: str | None


class PartialUpload(NamedTuple):
    """
    What an upload that was never committed left behind.

    Attributes:
        key: for `Storage.delete`.
        source: ids of item and file, and the md5; None where it cannot be resumed.
    """

    key: str
    source: tuple[ItemId, int, str | None] | None


class RangeWriter(Protocol):
    """
    A byte range of a file, filled in order by one connection.

    Attributes:
        offset: offset in the whole file where the next byte goes.
        until: offset of the first byte behind the range that is here already, or the size of the file.
    """

    @property
    def offset(self) -> int: ...
    @property
    def until(self) -> int: ...
    async def write(self, data: bytes) -> None: ...


class Segment(RangeWriter, Protocol):
    """
    Bytes that arrived ahead of those before them.

    Attributes:
        received: bytes it holds.
        is_filling: whether a connection still brings more.
    """

    received: int
    is_filling: bool

    async def release(self) -> None:
        """Keep what has come; the connection that filled it has ended."""


class Segments(Protocol):
    """The segments of one upload, in the order of their bytes."""

    def __iter__(self) -> Iterator[Segment]: ...

    @property
    def begin(self) -> int:
        """Return the offset of the first segment, or the size of the file where there is none."""

    def divide(self, offset: int) -> Segment | None:
        """Start a segment at `offset`, up to the next one; None where nothing is missing there by now."""

    def try_reserve(self, size: int) -> bool:
        """Reserve the space that a segment takes besides the file; False where there is too little."""

    async def absorb(self) -> None:
        """Append the first segment to the upload, which has grown up to it, and what still comes to it."""


class Upload(Protocol):
    """
    One file on its way into a storage.

    Attributes:
        received: bytes it holds from the first one on; more than 0 at once where an earlier upload is
            resumed.
        validator: the strong ETag that these bytes came with, None where none is known.
    """

    received: int
    validator: str | None

    async def write(self, data: bytes) -> None:
        """Append bytes."""

    async def start_over(self) -> None:
        """Discard all that was received, and the validator."""

    async def commit(self, key: str) -> None:
        """
        Prove the file against what was expected, and make it visible at `key`, durably and atomically.

        Raises:
            CorruptBody: the bytes are wrong; they are discarded, and the upload starts over.
            StorageError: the storage does not take it.
            FolderLocked: another run has the folder by now.
        """

    async def abort(self) -> None:
        """
        End an upload; what was received may be kept to be resumed. After `commit` it only frees resources.

        Raises nothing that the storage meets: what it does not keep is fetched again.
        """

    def segments(self) -> Segments | None:
        """Return what takes bytes out of order, None where the storage cannot."""


class Storage(Protocol):
    """
    Where the files of a harvest end. Every operation may raise `StorageError`: the storage refuses, the run
    ends.

    Those that change something may raise `FolderLocked`: another run has the folder by now.
    """

    async def open(self, key: str, expected: Expected) -> Upload:
        """
        Open an upload to `key`, and resume what an earlier one received.

        Raises:
            InsufficientSpace: what is still to come does not fit.
        """

    async def is_intact(self, key: str, size: int, md5: str | None) -> bool:
        """Return whether the file at `key` is there with this size and, where it is given, this md5."""

    async def duplicate(self, source: str, key: str) -> bool:
        """
        Make the file at `source` available at `key` too, durably; False where there is none.

        `source` may be `key`: then it only makes the file durable.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files or partial uploads; keys without one are passed over."""

    def free_bytes(self) -> int | None:
        """Return how many bytes more it takes, None where there is no such limit."""

    async def partials(self) -> Sequence[PartialUpload]:
        """List the partial uploads that no living process fills."""


class Renames(Protocol):
    """Renames of files, in two steps that can be repeated after a crash: names may be swapped."""

    async def take_out(self, paths: Sequence[tuple[str, str]]) -> None:
        """Take files, by source and target, out of their places; one that is not there is passed over."""

    async def put_in(self, targets: Sequence[str]) -> None:
        """Put files that were taken out into their new places."""


@runtime_checkable
class SupportsRenames(Protocol):
    """A storage with renames of its own."""

    @property
    def renames(self) -> Renames: ...


class RenamesByCopy:
    """Renames by duplicate and delete, for a storage that has none of its own."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def take_out(self, paths: Sequence[tuple[str, str]]) -> None:
        for source, target in paths:
            await self._move(source, _on_the_way(target))

    async def put_in(self, targets: Sequence[str]) -> None:
        for target in targets:
            await self._move(_on_the_way(target), target)

    async def _move(self, source: str, target: str) -> None:
        if await self._storage.duplicate(source, target):
            await self._storage.delete([source])


def _on_the_way(target: str) -> str:
    return f".moving/{target}"


def renames_of(storage: Storage) -> Renames:
    """Return the renames of a storage, or those by copy."""
    return storage.renames if isinstance(storage, SupportsRenames) else RenamesByCopy(storage)


def held_bytes(upload: Upload) -> int:
    """Return how many bytes an upload holds, its segments included."""
    return upload.received + sum(segment.received for segment in upload.segments() or ())
