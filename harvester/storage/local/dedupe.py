"""The same bytes in a second place: a second name of the file, or a copy where a file has only one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from harvester.storage.local.directory import Directory, OutputTree, map_disk_errors
from harvester.storage.local.segments import BUFFER_SIZE, PARTIAL
from harvester.storage.local.verify import is_whole

COPY = ".copy"
"""How the name of a copy ends until it is whole."""
Link: TypeAlias = Callable[[Directory, str, Directory, str], None]
"""Gives a file of a folder, by its name, a second name in another folder, as `Directory.link`."""


def link_or_copy(
    tree: OutputTree, twin: str, path: str, size: int, md5: str | None, link: Link, owner: str
) -> bool:
    """
    Put the file at `twin` at `path` too, in this thread, and make that outlive a power cut.

    `owner`: who makes the copy where there has to be one; nobody else writes to that.

    False where it is not there, or not whole. Where `link` cannot give it a second name it is copied.

    Raises:
        StorageError: the disk does not take it.
    """
    if twin == path or not is_whole(tree, twin, size, md5):
        return False
    there, _, name = twin.rpartition("/")
    folder, _, new_name = path.rpartition("/")
    with (
        map_disk_errors(str(tree.root / path)),
        tree.folder(there) as source,
        tree.folder(folder, make=True) as target,
    ):
        is_done = False
        with suppress(OSError):  # not every file system has second names, and none has any number of them
            link(source, name, target, new_name)
            is_done = True
        if not is_done:
            with tree.folder(PARTIAL, make=True) as apart, os.fdopen(source.open(name), "rb") as old:
                name_of_any_length = hashlib.sha256(path.encode()).hexdigest()
                temporary = f"{name_of_any_length}.{owner}{COPY}"
                with os.fdopen(apart.create(temporary), "wb") as new:
                    shutil.copyfileobj(old, new, BUFFER_SIZE)
                apart.move(temporary, target, new_name)
    tree.keep(path)
    return True
