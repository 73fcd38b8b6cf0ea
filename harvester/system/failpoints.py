"""
Failpoints: named places where a test has this process killed, as a power cut or a lack of memory would.

They are off but in a process whose environment names one: `VARIABLE` holds a name of `POINTS`, or a name, a
colon and how many times the place is passed before.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from harvester.errors import UsageError

VARIABLE = "_HARVESTER_FAILPOINT"

POINTS = {
    "lease: taken": "the run holds the folder, and has done nothing else",
    "ledger: before a commit": "a batch of results is in the transaction",
    "ledger: after a commit": "a batch of results is in the ledger",
    "file: before the commit": "a file has been received, proven and synced, and is not in its place",
    "file: after the commit": "a file is in its place, and the ledger does not say so",
    "file: linked": "a duplicate has its second name, and the ledger does not say so",
    "segment: appended": "a segment was added to the beginning of its file, and is still there",
    "rename: taken out": "files have left their places, and are not in their new ones",
    "rename: put in": "files are in their new places, and the journal does not say so",
    "trash: moved": "files are in the trash, and no folder is synced",
    "atomic write: before the rename": "the new table is whole, and the old one in its place",
    "atomic write: after the rename": "the new table is in its place, and its name is not synced",
    "migration: before its commit": "the tables are of the new version, in the transaction",
}
"""Each place by its name, with what has happened before and what has not."""


class _Failpoint:
    """The one place that is armed; none has the name ""."""

    name = ""
    passes_left = 0


def arm(environ: Mapping[str, str]) -> None:
    """
    Arm the failpoint that the environment names, if any.

    Raises:
        UsageError: no place has that name.
    """
    name, separator, passes = environ.get(VARIABLE, "").rpartition(":")
    if not (separator and passes.isdecimal()):
        name, passes = environ.get(VARIABLE, ""), "0"
    if name and name not in POINTS:
        raise UsageError(f"environment: {VARIABLE}: no failpoint is called {name}")
    _Failpoint.name, _Failpoint.passes_left = name, int(passes)


def failpoint(name: str) -> None:
    """Kill this process if the place `name` is armed and has been passed often enough."""
    if _Failpoint.name != name:
        return
    if _Failpoint.passes_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _Failpoint.passes_left -= 1
