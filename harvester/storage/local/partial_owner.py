"""
Partial file ownership: the file name contains its owner, and no other process writes to that file.

    <stem>.<owner>.part        a file whose owner may be writing
    <stem>.free.part           one that was released: no process has it open
    <stem>.part                from a release without owners

`<stem>` is ``<item_id>-<file_id>-<md5>``. A segment has ``@<begin>`` before the suffix. A suspended process
may wake up and write to the files that it has open. So a file is renamed on takeover only if no process can
have it open; all others are copied.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass, replace
from enum import Enum, auto

from harvester.models import ItemId
from harvester.system.process import is_running, this_process

FREE = "free"
UNPROVEN = "unproven"
"""In place of an unknown md5."""

_NAME = re.compile(
    rf"(?P<stem>(?P<item>\d+)-(?P<file>\d+)-(?P<md5>[0-9a-f]{{32}}|{UNPROVEN}))"
    rf"(?:\.(?P<owner>[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}}|{FREE}))?(?:@(?P<begin>\d+))?\.part"
)
_NOWHERE = "0" * 8
"""The place if the system does not identify it: then nothing is proven about processes."""


class Ownership(Enum):
    """Who may have a partial file open."""

    FREE = auto()
    UNKNOWN = auto()  # cannot be checked from this machine
    ALIVE = auto()


@dataclass(frozen=True)
class PartName:
    """The name of a partial file; ``owner``: "" from an older release; ``begin``: offset of a segment."""

    stem: str
    owner: str
    begin: int | None = None

    @classmethod
    def read(cls, name: str) -> PartName | None:
        """Parse the name of a file; return None if it is no partial file's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        begin = found["begin"]
        return cls(found["stem"], found["owner"] or "", None if begin is None else int(begin))

    def __str__(self) -> str:
        owner = f".{self.owner}" if self.owner else ""
        return f"{self.stem}{owner}{'' if self.begin is None else f'@{self.begin}'}.part"

    def of(self, owner: str) -> PartName:
        """Return the name of the file with another owner."""
        return replace(self, owner=owner)

    @property
    def is_for(self) -> tuple[ItemId, int, str | None]:
        """The ids of item and file, and the md5."""
        item, file, md5 = self.stem.split("-")
        return ItemId(int(item)), int(file), None if md5 == UNPROVEN else md5

    @property
    def hold(self) -> Ownership:
        """Return who may have it open."""
        if self.owner == FREE:
            return Ownership.FREE
        place, _, rest = self.owner.partition("-")
        if place not in {_place()} - {_NOWHERE}:
            return Ownership.UNKNOWN
        return Ownership.ALIVE if is_running(int(rest.partition("-")[0])) else Ownership.FREE


def new_owner() -> str:
    """Return a new owner name: the machine, the pid and a random part."""
    return f"{_place()}-{os.getpid()}-{secrets.token_hex(4)}"


def _place() -> str:
    """Return the name of the place in which pids are unique: this boot of this machine or container."""
    machine = this_process().machine
    return hashlib.sha256(machine.encode()).hexdigest()[:8] if machine else _NOWHERE
