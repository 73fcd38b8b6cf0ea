"""
States: in which state an item, a task or a file can be, and the reasons that tables give.

They stand apart from `models.py`, which needs msgspec: to import that takes a third of the time of `status`.
"""

from __future__ import annotations

from enum import StrEnum


class FileStatus(StrEnum):
    """The status of a file, as in files.csv."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # filtered out by the user's own rules
    LINK = "link"  # hosted elsewhere: recorded, never fetched
    WITHHELD = "withheld"  # not public (embargo, confidential, …), and refused to the token


REFUSED_TO_OWNER = " (refused to the token)"
"""Suffix of the reason of a withheld file: its owner's record lists it, and the token was refused."""
ANOTHER_VERSION = "another version"
"""Reason of a skipped file: another version of its item is wanted."""
NOT_ASKED = "not asked for"
"""Reason of a skipped file that no rule excludes: the run that read its record did not fetch files."""
BEYOND_ROOM = "beyond max_total"
"""Reason of a skipped file that the file rules accept: it does not fit into `max_total`."""


class WorkState(StrEnum):
    """The state of one task on one item."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # harvested before, and no longer public
    EXCLUDED = "excluded"  # its record shows that the filters exclude it


class Changed(StrEnum):
    """How an item has changed since the last run, as in changes.csv."""

    NEW = "new"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    RETURNED = "returned"  # public again after it was withdrawn
    MOVED = "moved"  # unchanged at figshare; its fetched files have other paths
