"""
Bytes on disk: safe paths, partial files, proof by md5, publishing by rename.

    files/<item_id>/<folder>/<name>            whole and proven, never anything else
    .partial/<item_id>-<file_id>-<md5>.part    on the way there; survives a failed run

A `Partial` is filled by pieces, proves itself and is renamed to its place. Hashing and writing
happen together in a worker thread, one call in flight for each file, so that the event loop never
waits for the disk and memory holds at most one buffer for each file in transfer.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import anyio
from anyio import CapacityLimiter, to_thread

from harvester.errors import Damaged, DiskTrouble
from harvester.models import RemoteFile

BUFFER_SIZE = 1 << 20
LONGEST_STEM = 180  # bytes; with a suffix and an id it stays below the 255 of common file systems
LONGEST_SUFFIX = 20
LONGEST_FOLDER = 1000  # bytes; deeper ones are left out, as whole paths have limits too

_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
}
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\ud800-\udfff]')
# Characters that are not seen but change how a name reads: marks of direction, zero widths.
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def safe_name(name: str) -> str:
    """
    Turn any text into one file name that Linux, macOS and Windows all accept.

    NFC; no separators, reserved or control characters, no leading or trailing dots and blanks, not
    a Windows device, short enough in UTF-8. Two names may become one: see `place`.
    """
    name = unicodedata.normalize("NFC", _UNSEEN.sub("", name))
    name = _UNSAFE.sub("_", name).strip(" ").rstrip(". ") or "_"
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(suffix.encode()) > LONGEST_SUFFIX:
        stem, dot, suffix = name, "", ""
    stem = stem.encode()[:LONGEST_STEM].decode(errors="ignore")
    if stem.partition(".")[0].rstrip(" ").lower() in _RESERVED:
        stem = "_" + stem
    return (stem + dot + suffix).rstrip(". ")


def place(item_id: int, files: Sequence[RemoteFile], kept: Mapping[int, str]) -> dict[int, str]:
    """
    Give every file of an item its own path, relative to the output folder, with "/".

    Files that would share a path, also by case or Unicode form, all get their id before the last
    suffix; one that was published earlier (`kept`: file id to path) keeps its path.
    """
    wanted = {file.id: _path(item_id, file) for file in files}
    asked_for = Counter(_fold(path) for path in wanted.values())
    folders = {_fold(str(parent)) for path in wanted.values() for parent in _parents(path)}
    taken = {_fold(path) for path in kept.values()}
    placed: dict[int, str] = {}
    for file in files:
        path = kept.get(file.id)
        if path is None:
            path = wanted[file.id]
            if any(
                _fold(parent) in taken for parent in _parents(path)
            ):  # a file is where its folder was to be
                path = f"files/{item_id}/{safe_name(file.name)}"
            folded = _fold(path)
            if path != wanted[file.id] or asked_for[folded] > 1 or folded in taken or folded in folders:
                path = _with_id(path, file.id)
        placed[file.id] = path
    return placed


def _path(item_id: int, file: RemoteFile) -> str:
    parts = [safe_name(part) for part in re.split(r"[/\\]", file.folder) if part.strip(". ")]
    folder = "/".join(parts)
    if len(folder.encode()) > LONGEST_FOLDER:
        folder = ""
    return "/".join(filter(None, ["files", str(item_id), folder, safe_name(file.name)]))


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _with_id(path: str, file_id: int) -> str:
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    return f"{folder}/{stem}~{file_id}{dot}{suffix}"


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Translate the errors of a disk that cannot take what has to be written."""
    try:
        yield
    except OSError as exc:
        full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
        advice = "make room" if full else "check the output folder"
        raise DiskTrouble(f"{what}: {exc.strerror or exc}; {advice} and run again") from exc


@contextmanager
def rewrite(path: Path) -> Iterator[BinaryIO]:
    """Replace a file as a whole: what is written becomes `path` when the block ends well."""
    fresh = path.with_name(f".{path.name}.new")
    with disk_errors(str(path)):
        try:
            with fresh.open("wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


class Store:
    """The files of one output folder."""

    def __init__(
        self,
        folder: Path,
        *,
        writers: int = 8,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self.folder = folder
        self._threads = CapacityLimiter(writers)
        self._free_bytes = free_bytes
        self._reserved = 0

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Set `size` bytes of the free disk aside while a file is written; refuse if they lack."""
        with disk_errors(str(self.folder)):
            free = self._free_bytes(self.folder)
        if size > free - self._reserved:
            raise DiskTrouble(
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
        """Do what `holds` does, in this thread."""
        target = self.folder / path
        try:
            if target.is_symlink() or target.stat().st_size != size:
                return False
            return md5 is None or _hash_file(target).hexdigest() == md5
        except OSError:
            return False

    async def partial(self, item_id: int, file: RemoteFile) -> Partial:
        """Open the partial file of `file`, with what an earlier try left in it."""
        name = f"{item_id}-{file.id}-{file.md5 or 'unproven'}.part"
        partial = Partial(self.folder, self.folder / ".partial" / name, file, self._threads)
        await to_thread.run_sync(partial.open, limiter=self._threads)
        return partial


class Partial:
    """
    A file on its way: filled piece by piece, hashed as it grows.

    ``received`` counts the bytes that are part of it so far; ``validator`` is the ETag that they
    belong to, where this process learned it.
    """

    def __init__(self, folder: Path, path: Path, file: RemoteFile, threads: CapacityLimiter) -> None:
        self.file = file
        self.validator: str | None = None
        self.received = 0
        self._folder = folder
        self._path = path
        self._threads = threads
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._published = False
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._handle: BinaryIO

    def open(self) -> None:
        """Open or go on with the file, in this thread: what is there is hashed again."""
        with disk_errors(str(self._path)):
            self._path.parent.mkdir(exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._handle = os.fdopen(os.open(self._path, flags, 0o666), "r+b")
            held = self._handle.seek(0, os.SEEK_END)
            # Without an md5 nothing would prove that an old beginning belongs to a new end.
            if held > self.file.size or self.file.md5 is None:
                self._restart()
            else:
                self._handle.seek(0)
                self._md5 = _hash_stream(self._handle)
                self.received = held

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

        Raises:
            Damaged: it is not what was promised; it has been deleted.
            DiskTrouble: the disk does not take it.
        """
        await to_thread.run_sync(self._publish, path, limiter=self._threads)

    async def close(self) -> None:
        """Keep what was received for another try, and close the file."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._close, limiter=self._threads)

    def _absorb(self) -> None:
        pieces, self._pieces, self._waiting = self._pieces, [], 0
        with disk_errors(str(self._path)):
            for piece in pieces:
                self._md5.update(piece)
                self._handle.write(piece)

    def _restart(self) -> None:
        self._pieces, self._waiting, self.validator = [], 0, None
        with disk_errors(str(self._path)):
            self._handle.seek(0)
            self._handle.truncate()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.received = 0

    def _close(self) -> None:
        try:
            self._absorb()
        finally:
            self._handle.close()
        if self.received == 0 or self._published:
            self._path.unlink(missing_ok=True)

    def _publish(self, path: str) -> None:
        self._absorb()
        got = self._md5.hexdigest()
        if self.received != self.file.size or self.file.md5 not in {None, got}:
            self._restart()
            raise Damaged(f"received md5 {got}, promised {self.file.md5}", md5=got)
        target = self._folder / path
        with disk_errors(str(target)):
            self._handle.flush()
            os.fsync(self._handle.fileno())
            _make_folder(self._folder, target.parent)
            self._path.replace(target)
            self._published = True
            _sync_folder(target.parent)


def _make_folder(root: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(root.resolve()):
        raise DiskTrouble(f"{folder}: a link leads out of the output folder; remove it")


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut; where folders cannot be opened (Windows) there is no way."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash_file(path: Path) -> hashlib._Hash:
    with path.open("rb") as handle:
        return _hash_stream(handle)


def _hash_stream(handle: BinaryIO) -> hashlib._Hash:
    md5 = hashlib.md5(usedforsecurity=False)
    while piece := handle.read(BUFFER_SIZE):
        md5.update(piece)
    return md5
