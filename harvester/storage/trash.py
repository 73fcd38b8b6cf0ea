"""
The trash of an output folder: `.trash/<date>/files/…`, where what was pruned waits to be deleted for good.

Here is said what lies in it and for how long; `prune.py` moves things in and empties it. Only folders that
are named like dates, directly in `.trash`, are its own; whatever else is there belongs to somebody else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

TRASH = ".trash"
"""The folder below the output folder."""
TRASH_DAYS = 30
"""For so many days what was pruned can be had back, unless the user says otherwise."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Dated(NamedTuple):
    """What was pruned on one day, ``date`` in ISO 8601: so many files, of ``size`` bytes together."""

    date: str
    files: int
    size: int


def dated(root: Path) -> list[Dated]:
    """List what lies in the trash of an output folder, by date; nothing is seen through a link."""
    trash = root / TRASH
    found: list[Dated] = []
    with suppress(OSError):
        if not trash.is_symlink():
            with os.scandir(trash) as entries:
                found = [_counted(each) for each in entries if _is_of_trash(each)]
    return sorted(found)


def in_trash(root: Path) -> dict[str, int]:
    """Count the files in the trash of an output folder, and their bytes."""
    days = dated(root)
    return {"files": sum(day.files for day in days), "bytes": sum(day.size for day in days)}


def expired(days: Sequence[Dated], today: str, keep_days: int) -> list[Dated]:
    """Return what has been in the trash for more than `keep_days` days; with 0 all that is there."""
    if not keep_days:
        return list(days)
    now = date.fromisoformat(today).toordinal()
    return [day for day in days if now - date.fromisoformat(day.date).toordinal() > keep_days]


def is_date(name: str) -> bool:
    """Tell whether a folder in the trash has the name of a day."""
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
