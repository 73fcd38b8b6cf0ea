"""Fixity check: compares the size and the md5 of a stored file."""

from __future__ import annotations

import hashlib
import os
import stat
from io import FileIO

from harvester.errors import StorageError
from harvester.storage.disk_errors import is_absence, map_disk_errors
from harvester.storage.local.directory import Directory, OutputTree
from harvester.storage.local.segments import BUFFER_SIZE
from harvester.system.paths import below


def is_whole(tree: OutputTree, path: str, size: int | None, md5: str | None) -> bool:
    """
    Return whether a file at `path` has the given `size` in bytes and md5; runs in this thread.

    A file behind a link counts as missing.

    Raises:
        StorageError: the disk failed.
    """
    folder, _, name = path.rpartition("/")
    try:
        with map_disk_errors(str(tree.root / path)), tree.folder(folder) as here:
            status = here.look(name)
            if stat.S_ISREG(status.st_mode) and size in {None, status.st_size}:
                return md5 is None or _hash_file(here, name) == md5
    except StorageError as error:
        if not is_absence(error):
            raise
    return False


def is_absent(tree: OutputTree, path: str) -> bool:
    """Return whether nothing exists at this path for certain; faster than starting a thread."""
    try:
        os.lstat(below(tree.root, path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # `is_whole` maps the error
        pass
    return False


def hash_stream(handle: FileIO) -> hashlib._Hash:
    """Hash an open file from its current offset to its end."""
    md5 = hashlib.md5(usedforsecurity=False)
    while block := handle.read(BUFFER_SIZE):
        md5.update(block)
    return md5


def _hash_file(folder: Directory, name: str) -> str:
    with os.fdopen(folder.open(name), "rb", buffering=0) as handle:
        return hash_stream(handle).hexdigest()
