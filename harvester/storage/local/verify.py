"""What lies in its place: proven by md5, and made to last where it is kept."""

from __future__ import annotations

import hashlib
import os
import stat
from io import FileIO

from harvester.errors import StorageError
from harvester.storage.local.directory import Directory, OutputTree, is_absence, map_disk_errors
from harvester.storage.local.segments import BUFFER_SIZE


def is_whole(tree: OutputTree, path: str, size: int, md5: str | None) -> bool:
    """
    Tell whether the file at `path` is whole, in this thread; what is reached through a link is not here.

    Raises:
        StorageError: the disk does not let that be seen.
    """
    folder, _, name = path.rpartition("/")
    try:
        with map_disk_errors(str(tree.root / path)), tree.folder(folder) as here:
            status = here.look(name)
            if stat.S_ISREG(status.st_mode) and status.st_size == size:
                return md5 is None or _hash_file(here, name) == md5
    except StorageError as trouble:
        if not is_absence(trouble):
            raise
    return False


def ensure_durable(tree: OutputTree, path: str, size: int, md5: str | None) -> bool:
    """Tell what `is_whole` tells, and make a file that is outlive a power cut, as one that is published."""
    if not is_whole(tree, path, size, md5):
        return False
    tree.keep(path)
    return True


def hash_stream(handle: FileIO) -> hashlib._Hash:
    """Hash an open file from where it stands to its end."""
    md5 = hashlib.md5(usedforsecurity=False)
    while piece := handle.read(BUFFER_SIZE):
        md5.update(piece)
    return md5


def _hash_file(folder: Directory, name: str) -> str:
    with os.fdopen(folder.open(name), "rb", buffering=0) as handle:
        return hash_stream(handle).hexdigest()
