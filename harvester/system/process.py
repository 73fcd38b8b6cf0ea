"""
Identity of a process: who holds a lease or fills a file, and whether that one is proven dead from here.

A host's name and a number are no identity: containers share names, and each begins to count at 1. The boot of
the machine, the pid namespace and the moment at which the process began are one, where the system tells them.
"""

from __future__ import annotations

import os
from enum import StrEnum
from functools import cache
from typing import NamedTuple

_BOOT = "/proc/sys/kernel/random/boot_id"


class Fate(StrEnum):
    """What can be proven of a process from here, without any clock."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Process(NamedTuple):
    """
    A process on some machine.

    ``machine``: its boot and pid namespace, "" where they are not known. ``began``: when it did, in the
    machine's own ticks, "" where that is not known.
    """

    host: str
    pid: int
    machine: str = ""
    began: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_identified(self) -> bool:
        """Whether another process cannot be taken for it."""
        return bool(self.machine and self.began)

    @property
    def fate(self) -> Fate:
        """What can be proven of it: nothing where it runs on another machine, or in another pid namespace."""
        here = this_process()
        if not self.is_identified or (self.host, self.machine) != (here.host, here.machine):
            return Fate.UNKNOWN
        if not is_running(self.pid):
            return Fate.GONE
        state, began = _state_and_start(self.pid)
        if not began:  # /proc may hide the processes of others
            return Fate.UNKNOWN
        return Fate.ALIVE if began == self.began and state not in {"Z", "X"} else Fate.GONE


def is_running(pid: int) -> bool:
    """Tell whether a process has this number here, whichever it is."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        pass
    return True


def this_host() -> str:
    """Name this machine as `socket.gethostname` does."""
    if hasattr(os, "uname"):  # at once; importing socket would add 3 ms to every `status`
        return os.uname().nodename
    import platform  # noqa: PLC0415 - Windows

    return platform.node()


def this_process() -> Process:
    """Identify this process."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> Process:
    return Process(this_host(), pid, _machine(pid), _state_and_start(pid)[1])


def _machine(pid: int) -> str:
    try:
        # The /proc of another namespace tells of other processes than those of these numbers.
        if os.readlink("/proc/self") != str(pid):  # noqa: PTH115
            return ""
        with open(_BOOT, encoding="ascii") as file:  # noqa: PTH123 - importing less
            boot = file.read().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}" if boot else ""  # noqa: PTH116
    except (OSError, ValueError):
        return ""


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state of a process, as a letter, and when it began in ticks since boot; "" for not known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()  # its name may hold anything
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
