"""Fixity: whether the file in its place is whole, by size and md5."""

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
    Return whether a file is at `path`, has `size` bytes and this md5, where they are given; in this thread.

    What is reached through a link is not here.

    Raises:
        StorageError: the disk does not let that be seen.
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
    """Return whether nothing has this path for certain: a look that takes less than a thread does."""
    try:
        os.lstat(below(tree.root, path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # what that means is for `is_whole` to say
        pass
    return False


def hash_stream(handle: FileIO) -> hashlib._Hash:
    """Hash an open file from where it stands to its end."""
    md5 = hashlib.md5(usedforsecurity=False)
    while block := handle.read(BUFFER_SIZE):
        md5.update(block)
    return md5


def _hash_file(folder: Directory, name: str) -> str:
    with os.fdopen(folder.open(name), "rb", buffering=0) as handle:
        return hash_stream(handle).hexdigest()
