"""Deduplication by hard link: the same bytes in a second place, or a copy where a file has only one name."""

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

COPY = ".copy"
"""How the name of a copy ends until it is whole."""
Link: TypeAlias = Callable[[Directory, str, Directory, str], None]
"""Gives a file of a folder, by its name, a second name in another folder, as `Directory.link`."""


def link_or_copy(tree: OutputTree, source: str, path: str, link: Link, owner: str) -> bool:
    """
    Link the file at `source` to `path`, durably, or copy it where `link` cannot; in this thread.

    False where there is none. `owner`: names the copy, so that nobody else writes to it.

    Raises:
        StorageError: the disk does not take it.
    """
    if not is_whole(tree, source, size=None, md5=None):
        return False
    if source != path:
        _link_or_copy(tree, source, path, link, owner)
    tree.keep(path)
    return True


def _link_or_copy(tree: OutputTree, source: str, path: str, link: Link, owner: str) -> None:
    there, _, name = source.rpartition("/")
    folder, _, new_name = path.rpartition("/")
    with (
        map_disk_errors(str(tree.root / path)),
        tree.folder(there) as old_folder,
        tree.folder(folder, make=True) as target,
    ):
        with suppress(OSError):  # not every file system has second names, and none has any number of them
            link(old_folder, name, target, new_name)
            return
        with tree.folder(PARTIAL, make=True) as apart, os.fdopen(old_folder.open(name), "rb") as old:
            name_of_any_length = hashlib.sha256(path.encode()).hexdigest()
            temporary = f"{name_of_any_length}.{owner}{COPY}"
            with os.fdopen(apart.create(temporary), "wb") as new:
                shutil.copyfileobj(old, new, BUFFER_SIZE)
            apart.move(temporary, target, new_name)
