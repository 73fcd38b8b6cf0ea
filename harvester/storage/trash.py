"""
Trash of an output folder: `.trash/<date>/files/…` contains pruned files until they are permanently deleted.

This module lists its content and its age; `jobs/prune.py` moves files in and empties it. Only folders named
like dates, directly in `.trash`, belong to it; anything else there is left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

from harvester.summary import FileTotals

TRASH = ".trash"
"""The folder below the output folder."""
TRASH_DAYS = 30
"""Days for which pruned files are kept by default."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Dated(NamedTuple):
    """The files pruned on one day (``date`` in ISO 8601): their number and their bytes."""

    date: str
    files: int
    size: int


def dated(root: Path) -> list[Dated]:
    """Return the content of the trash by date; links are not followed."""
    trash = root / TRASH
    found: list[Dated] = []
    with suppress(OSError):
        if not trash.is_symlink():
            with os.scandir(trash) as entries:
                found = [_counted(each) for each in entries if _is_of_trash(each)]
    return sorted(found)


def in_trash(root: Path) -> FileTotals:
    """Count the files in the trash of an output folder, and their bytes."""
    days = dated(root)
    return FileTotals(sum(day.files for day in days), sum(day.size for day in days))


def expired(days: Sequence[Dated], today: str, keep_days: int) -> list[Dated]:
    """Return the days that are older than `keep_days` days; with 0 all of them."""
    if not keep_days:
        return list(days)
    now = date.fromisoformat(today).toordinal()
    return [day for day in days if now - date.fromisoformat(day.date).toordinal() > keep_days]


def is_date(name: str) -> bool:
    """Return whether a folder in the trash has the name of a day."""
    if not _DATE.fullmatch(name):
        return False
    try:
        date.fromisoformat(name)
    except ValueError:
        return False
    return True


def _is_of_trash(entry: os.DirEntry[str]) -> bool:
    return is_date(entry.name) and entry.is_dir(follow_symlinks=False)


def _counted(entry: os.DirEntry[str]) -> Dated:
    files = size = 0
    folders = [entry.path]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for each in entries:
                if each.is_dir(follow_symlinks=False):
                    folders.append(each.path)
                else:
                    files += 1
                    size += each.stat(follow_symlinks=False).st_size
    return Dated(entry.name, files, size)
