"""Deduplication by hard link: gives the same bytes a second path, or copies them if links do not work."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.local.directory import Directory, OutputTree
from harvester.storage.local.segments import BUFFER_SIZE, PARTIAL
from harvester.storage.local.verify import is_whole
from harvester.system.failpoints import failpoint

COPY = ".copy"
"""Suffix of an unfinished copy."""
Link: TypeAlias = Callable[[Directory, str, Directory, str], None]
"""Makes a hard link from a name in one folder to a name in another one, like `Directory.link`."""


def link_or_copy(tree: OutputTree, source: str, path: str, link: Link, owner: str) -> bool:
    """
    Link the file at `source` to `path`, durably, or copy it if `link` fails; runs in this thread.

    Returns False if there is none. `owner`: is in the name of the copy, so that no other process writes to
    it.

    Raises:
        StorageError: the disk failed.
    """
    if not is_whole(tree, source, size=None, md5=None):
        return False
    if source != path:
        _link_or_copy(tree, source, path, link, owner)
    tree.keep(path)
    failpoint("file: linked")
    return True


def _link_or_copy(tree: OutputTree, source: str, path: str, link: Link, owner: str) -> None:
    there, _, name = source.rpartition("/")
    folder, _, new_name = path.rpartition("/")
    with (
        map_disk_errors(str(tree.root / path)),
        tree.folder(there) as old_folder,
        tree.folder(folder, make=True) as target,
    ):
        with suppress(OSError):  # not every file system has hard links, and their number is limited
            link(old_folder, name, target, new_name)
            return
        with tree.folder(PARTIAL, make=True) as apart, os.fdopen(old_folder.open(name), "rb") as old:
            name_of_any_length = hashlib.sha256(path.encode()).hexdigest()
            temporary = f"{name_of_any_length}.{owner}{COPY}"
            with os.fdopen(apart.create(temporary), "wb") as new:
                shutil.copyfileobj(old, new, BUFFER_SIZE)
            apart.move(temporary, target, new_name)
