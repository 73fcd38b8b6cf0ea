"""
Storage protocol: the interface of the place where files are stored.

A key is the path of a file below the output, with "/", as in files.csv. A file is visible at its key only
when it is complete, verified and durable. A storage implements `Storage` and `Upload`, and nothing else has
to change.

Two features are optional. An upload may accept bytes out of order (`Segments`), for downloads over several
connections. A storage may rename files cheaply (`SupportsRenames`); others copy and delete.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from harvester.models import ItemId

Confirm: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Fencing: awaited before a move or removal; raises FolderLocked if another run has the folder."""


async def nothing_to_confirm() -> None:
    """Confirm nothing: for a caller that holds no lease."""


class Expected(NamedTuple):
    """
    The expected content of an upload.

    Attributes:
        item_id: figshare's id of the item.
        file_id: figshare's id of the file; with `item_id` and `md5` it identifies the partial upload to
            resume.
        size: bytes.
        md5: hexadecimal digest, None if figshare gives none: then nothing is resumed.
    """

    item_id: int
    file_id: int
    size: int
    md5: str | None


class PartialUpload(NamedTuple):
    """
    The remains of an upload that was never committed.

    Attributes:
        key: for `Storage.delete`.
        source: ids of item and file, and the md5; None if it cannot be resumed.
    """

    key: str
    source: tuple[ItemId, int, str | None] | None


class RangeWriter(Protocol):
    """
    A byte range of a file, filled in order by one connection.

    Attributes:
        offset: of the next byte, in the whole file.
        until: offset of the first byte after the range that was received already, or the size of the file.
    """

    @property
    def offset(self) -> int: ...
    @property
    def until(self) -> int: ...
    async def write(self, data: bytes) -> None: ...


class Segment(RangeWriter, Protocol):
    """
    A range of bytes that was received before the bytes in front of it.

    Attributes:
        received: bytes it holds.
        is_filling: whether a connection still adds bytes.
    """

    received: int
    is_filling: bool

    async def release(self) -> None:
        """Keep the received bytes; the connection that filled it has ended."""


class Segments(Protocol):
    """The segments of one upload, in the order of their bytes."""

    def __iter__(self) -> Iterator[Segment]: ...

    @property
    def begin(self) -> int:
        """Return the offset of the first segment, or the size of the file if there is none."""

    def divide(self, offset: int) -> Segment | None:
        """
        Start a segment at `offset`, up to the next one.

        Return None if nothing is missing there any more.
        """

    def try_reserve(self, size: int) -> bool:
        """Reserve the additional space for a segment; return False if there is too little."""

    async def absorb(self) -> None:
        """
        Append the first segment to the upload, which has reached it, with the bytes
        that it still receives.
        """


class Upload(Protocol):
    """
    One file that is being stored.

    Attributes:
        received: number of bytes from the first one on; more than 0 at the start if an earlier upload is
            resumed.
        validator: the strong ETag of these bytes, None if none is known.
    """

    received: int
    validator: str | None

    async def write(self, data: bytes) -> None:
        """Append bytes."""

    async def start_over(self) -> None:
        """Discard all that was received, and the validator."""

    async def commit(self, key: str) -> None:
        """
        Verify the file, and make it visible at `key`, durably and atomically.

        Raises:
            CorruptBody: the bytes are wrong; they are discarded, and the upload starts over.
            StorageError: the storage failed.
            FolderLocked: another run has the folder now.
        """

    async def abort(self) -> None:
        """
        End an upload; received bytes may be kept to be resumed. After `commit` it only frees resources.

        Errors of the storage are suppressed: bytes that it does not keep are fetched again.
        """

    def segments(self) -> Segments | None:
        """Return the segments, which accept bytes out of order; None if the storage does not support them."""


class Storage(Protocol):
    """
    Stores the files of a harvest. Every operation may raise `StorageError`, which ends the run.

    Operations that change something may raise `FolderLocked`: another run has the folder now.
    """

    async def open(self, key: str, expected: Expected) -> Upload:
        """
        Open an upload to `key`; resume an earlier one of the same file.

        Raises:
            InsufficientSpace: the missing bytes do not fit.
        """

    async def is_intact(self, key: str, size: int, md5: str | None) -> bool:
        """Return whether the file at `key` exists with this size and, if given, this md5."""

    async def duplicate(self, source: str, key: str) -> bool:
        """
        Make the file at `source` available at `key` too, durably; return False if there is none.

        `source` may be `key`: then it only makes the file durable.
        """

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files or partial uploads; missing keys are skipped."""

    def free_bytes(self) -> int | None:
        """Return the free space in bytes, None if there is no limit."""

    async def partials(self) -> Sequence[PartialUpload]:
        """List the partial uploads that no living process fills."""


class Renames(Protocol):
    """Renames of files, in two steps that can be repeated after a crash: names may be swapped."""

    async def take_out(self, paths: Sequence[tuple[str, str]]) -> None:
        """
        Move files, given by source and target, from their paths to temporary ones.

        Missing ones are skipped.
        """

    async def put_in(self, targets: Sequence[str]) -> None:
        """Move files that were taken out to their targets."""


@runtime_checkable
class SupportsRenames(Protocol):
    """A storage with its own renames."""

    @property
    def renames(self) -> Renames: ...


class RenamesByCopy:
    """Renames by duplicate and delete, for a storage without its own."""

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
    """Return how many bytes an upload has, with its segments."""
    return upload.received + sum(segment.received for segment in upload.segments() or ())
