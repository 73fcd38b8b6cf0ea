"""Files on their way into a folder."""

from __future__ import annotations

import functools
import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.figshare.downloads import DownloadRoutes
from harvester.models import PendingFile, RemoteFile
from harvester.storage.local.partial import Partial
from harvester.storage.local.store import Store
from harvester.storage.protocol import Expected


def remote(file_id: int, name: str, folder: str = "", content: bytes = b"", md5: bool = True) -> RemoteFile:
    digest = hashlib.md5(content).hexdigest() if md5 else None
    return RemoteFile(file_id, name, folder, len(content), digest, "", is_link=False)


def partial_of(folder: Path, file: RemoteFile, owner: str = ".free") -> Path:
    """Where a partial file is that was let go of; `owner`: "" for where older releases had it."""
    return folder / ".partial" / f"1-{file.id}-{file.md5}{owner}.part"


def held_partial_of(folder: Path, file: RemoteFile) -> Path:
    """Where a partial file is that is being filled."""
    held = folder.glob(f".partial/1-{file.id}-{file.md5}.*-*-*.part")
    (found,) = (path for path in held if "@" not in path.name)
    return found


async def opened(store: Store, item_id: int, file: RemoteFile) -> Partial:
    """Open the upload of a file."""
    return await store.open(f"files/{item_id}/{file.name}", Expected(item_id, file.id, file.size, file.md5))


async def fill(store: Store, file: RemoteFile, content: bytes, path: str) -> None:
    upload = await opened(store, 1, file)
    try:
        for start in range(0, len(content), 7):
            await upload.write(content[start : start + 7])
        await upload.commit(path)
    finally:
        await upload.abort()


async def download(routes: DownloadRoutes, store: Store, pending: PendingFile) -> None:
    """Download a file as the task does."""
    upload = await opened(store, pending.item_id, pending.file)
    try:
        await routes.download(pending, upload, functools.partial(upload.commit, pending.path))
    finally:
        await upload.abort()


def a_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def a_second_name(path: Path, target: Path) -> None:
    path.hardlink_to(target)


def a_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def a_link_to_nothing(path: Path, target: Path) -> None:
    path.symlink_to(target.with_name("not there"))


PLANTED = [a_link, a_second_name, a_pipe, a_link_to_nothing]


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Make every disk a full one, as far as this process is concerned."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
