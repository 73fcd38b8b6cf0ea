"""
Partial file ownership: the name says which process fills it, and no other process writes to that file.

    <stem>.<owner>.part        a file whose owner may be at work on it
    <stem>.free.part           one that was released: no process has it open
    <stem>.part                of a release that named no owners

`<stem>` is ``<item_id>-<file_id>-<md5>``. What comes later in the file has ``@<begin>`` before the suffix.
A process that was thought dead may wake and write on to whatever it has open. So only a file that nobody can
have open is renamed when it is taken over, and all others are copied.
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
"""In the place of an md5 where none is known."""

_NAME = re.compile(
    rf"(?P<stem>(?P<item>\d+)-(?P<file>\d+)-(?P<md5>[0-9a-f]{{32}}|{UNPROVEN}))"
    rf"(?:\.(?P<owner>[0-9a-f]{{8}}-\d+-[0-9a-f]{{8}}|{FREE}))?(?:@(?P<begin>\d+))?\.part"
)
_NOWHERE = "0" * 8
"""Where the system does not say: nothing is proven there."""


class Ownership(Enum):
    """Who may have a partial file open."""

    FREE = auto()
    UNKNOWN = auto()  # or nobody: that cannot be seen from here
    ALIVE = auto()


@dataclass(frozen=True)
class PartName:
    """The name of a partial file; ``owner``: "" in one of an older release; ``begin``: of a segment."""

    stem: str
    owner: str
    begin: int | None = None

    @classmethod
    def read(cls, name: str) -> PartName | None:
        """Read the name of a file; None where it is no partial file's."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        begin = found["begin"]
        return cls(found["stem"], found["owner"] or "", None if begin is None else int(begin))

    def __str__(self) -> str:
        owner = f".{self.owner}" if self.owner else ""
        return f"{self.stem}{owner}{'' if self.begin is None else f'@{self.begin}'}.part"

    def of(self, owner: str) -> PartName:
        """Return the name that the file has in the hands of an owner."""
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
    """Make a name for one that fills partial files: where its process is, its number, and a random part."""
    return f"{_place()}-{os.getpid()}-{secrets.token_hex(4)}"


def _place() -> str:
    """Name the place where a process number means one process: this boot of this machine or container."""
    machine = this_process().machine
    return hashlib.sha256(machine.encode()).hexdigest()[:8] if machine else _NOWHERE
