"""
Process identity: which process holds a lease or writes a partial file, and whether it is proven dead.

Host name and pid are not enough: containers share names, and each counts pids from 1. The boot id of the
machine, the pid namespace and the start time of the process identify it, where the system reports them.
"""

from __future__ import annotations

import os
from enum import StrEnum
from functools import cache
from typing import NamedTuple

_BOOT = "/proc/sys/kernel/random/boot_id"


class Fate(StrEnum):
    """What can be proven about a process from this machine, without a clock."""

    ALIVE = "alive"
    GONE = "gone"
    UNKNOWN = "unknown"


class Process(NamedTuple):
    """
    A process on some machine.

    Attributes:
        host: the host name.
        pid: the number of the process in its pid namespace.
        machine: boot id and pid namespace, "" if they are unknown.
        began: the start of the process in clock ticks since boot, "" if it is unknown.
    """

    host: str
    pid: int
    machine: str = ""
    began: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_identified(self) -> bool:
        """Whether it cannot be confused with another process."""
        return bool(self.machine and self.began)

    @property
    def fate(self) -> Fate:
        """What can be proven: nothing if it runs on another machine or in another pid namespace."""
        here = this_process()
        if not self.is_identified or (self.host, self.machine) != (here.host, here.machine):
            return Fate.UNKNOWN
        if not is_running(self.pid):
            return Fate.GONE
        state, began = _state_and_start(self.pid)
        if not began:  # /proc may hide the processes of other users
            return Fate.UNKNOWN
        return Fate.ALIVE if began == self.began and state not in {"Z", "X"} else Fate.GONE


def is_running(pid: int) -> bool:
    """Return whether a process with this pid runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        pass
    return True


def this_host() -> str:
    """Return the name of this machine, as `socket.gethostname` does."""
    if hasattr(os, "uname"):  # fast: importing socket would add 3 ms to every `status`
        return os.uname().nodename
    import platform  # noqa: PLC0415 - Windows

    return platform.node()


def this_process() -> Process:
    """Return the identity of this process."""
    return _process(os.getpid())


@cache
def _process(pid: int) -> Process:
    return Process(this_host(), pid, _machine(pid), _state_and_start(pid)[1])


def _machine(pid: int) -> str:
    try:
        # A /proc of another namespace shows other processes under these numbers.
        if os.readlink("/proc/self") != str(pid):  # noqa: PTH115
            return ""
        with open(_BOOT, encoding="ascii") as file:  # noqa: PTH123 - importing less
            boot = file.read().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}" if boot else ""  # noqa: PTH116
    except (OSError, ValueError):
        return ""


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state of a process, a letter, and its start in clock ticks since boot; "" for unknown."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()  # the process name may contain anything
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""
