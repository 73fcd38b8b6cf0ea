"""Atomic write: a file (a table, a summary) is replaced as a whole, by a rename of a new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from harvester.errors import StorageError
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import Directory, Sync


@contextmanager
def atomic_write(path: Path, *, sync: Sync = os.fsync) -> Iterator[BinaryIO]:
    """
    Replace a file as a whole: what is written becomes `path` when the block ends well.

    Then it is also durable. `sync`: makes an open file or folder durable.
    """
    fresh = f".{path.name}.new"
    with map_disk_errors(str(path)), Directory.enter(path.parent) as folder:
        handle = os.fdopen(folder.create(fresh), "wb")
        made = os.fstat(handle.fileno())
        try:
            yield handle
            handle.flush()
            sync(handle.fileno())
            # A run that lost this folder may wake up here when its successor has begun the same file.
            if not _is(folder, fresh, made):
                raise StorageError(f"{path}: another process writes it too; see what works here, run again")
            handle.close()
            folder.move(fresh, folder, path.name)
        except BaseException:
            # Neither what is still buffered nor the file is wanted; the error that led here is.
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
