"""Atomic write: replaces a file (a table, a summary) by renaming a new one over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harvester.errors import StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import Directory, Sync
from harvester.system.failpoints import failpoint


@contextmanager
def atomic_write(path: Path, *, sync: Sync = os.fsync) -> Iterator[BinaryIO]:
    """
    Yield a new file, which replaces `path` when the block ends without an error.

    It is durable then. `sync`: makes an open file or folder durable.
    """
    fresh = f".{path.name}.new"
    with map_disk_errors(str(path)), Directory.enter(path.parent) as folder:
        handle = os.fdopen(folder.create(fresh), "wb")
        made = os.fstat(handle.fileno())
        try:
            yield handle
            handle.flush()
            sync(handle.fileno())
            # A suspended run that lost this folder may resume here while its successor writes the same file.
            if not _is(folder, fresh, made):
                raise StorageError(f"{path}: another process writes it too; see what works here, run again")
            handle.close()
            failpoint("atomic write: before the rename")
            folder.move(fresh, folder, path.name)
            failpoint("atomic write: after the rename")
        except BaseException:
            # Discard the buffer and the file, and keep the first error.
            is_ours = False
            with suppress(OSError):
                is_ours = _is(folder, fresh, made)
            with suppress(OSError):
                handle.close()
            with suppress(OSError):
                if is_ours:
                    folder.remove(fresh)
            raise
        folder.sync(sync)


def _is(folder: Directory, name: str, status: os.stat_result) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(status, folder.look(name))
    return False
