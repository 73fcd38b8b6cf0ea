"""The words for where things stand, as the ledger and files.csv have them."""

from __future__ import annotations

from enum import StrEnum


class FileStatus(StrEnum):
    """Where a file stands; the words of files.csv."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # filtered out by the user's own rules
    LINK = "link"  # hosted elsewhere: recorded, never fetched
    WITHHELD = "withheld"  # not downloadable by design: embargo, confidential, downloads disabled


ANOTHER_VERSION = "another version"
"""Why a file is skipped whatever the rules for files say: another version of its item is wanted."""
BEYOND_ROOM = "beyond max_total"
"""Why a file is skipped that the rules for files take: there is no room for it among those wanted in all."""


class WorkState(StrEnum):
    """Where one task on one item stands."""

    OWED = "owed"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # harvested before, and no longer public
    LEFT_OUT = "left out"  # its record says that it is none of those wanted


class Changed(StrEnum):
    """What became of an item since the last run, as changes.csv has it."""

    NEW = "new"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    RETURNED = "returned"  # public again after it was withdrawn
