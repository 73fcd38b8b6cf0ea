"""
Checks of the output folder: free space, and what its file system supports.

Temporary files are made in the folder, or in its nearest existing parent, and removed again. Their names are
those of a lease's probe, so that a later run removes what a kill leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from harvester.errors import StorageError
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.jobs.output_folder import folder_fault
from harvester.ledger.database.connection import exists
from harvester.ledger.database.lease_file import locks_work, probe_path

LITTLE_BYTES = 10**9
TOO_FEW_BYTES = 10**7
_MOUNTS = Path("/proc/self/mountinfo")


def check_folder(folder: Path) -> list[Finding]:
    """Return whether a run can use a folder; it is left as it was found."""
    here = folder
    while not os.path.lexists(here) and here != here.parent:
        here = here.parent
    if not here.is_dir():
        advice = "name another folder with --output"
        return [Finding("output", Outcome.FAILED, f"{here}: is not a folder", advice)]
    return [_output(folder, here), _disk(here), _file_system(here)]


def _output(folder: Path, here: Path) -> Finding:
    """Return what is in a folder; `here`: its nearest existing parent, or itself."""
    if here != folder:
        text = f"{folder.absolute()}: does not exist yet; checked in {here.absolute()}"
        return Finding("output", Outcome.OK, text)
    try:
        fault, _, advice = folder_fault(folder).partition("; ")
    except StorageError as error:  # its message begins with the folder
        text, _, advice = str(error).partition("; ")
        return Finding("output", Outcome.FAILED, text, advice)
    if fault:
        return Finding("output", Outcome.FAILED, f"{folder.absolute()}: {fault}", advice)
    state = "holds a harvest" if exists(folder) else "is empty"
    return Finding("output", Outcome.OK, f"{folder.absolute()}: {state}")


def _disk(folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    if not usage.total:  # as in /proc
        return Finding("disk", Outcome.OK, "this file system does not say how much is free")
    free = usage.free
    text = f"{free:,} bytes free"
    if free < LITTLE_BYTES:
        outcome = Outcome.FAILED if free < TOO_FEW_BYTES else Outcome.WARNING
        return Finding("disk", outcome, text, "make room, or name a folder on another disk with --output")
    return Finding("disk", Outcome.OK, text)


class _Trial(NamedTuple):
    """One thing that a file system may support; ``error``: why it failed, "" if it works."""

    what: str
    error: str


def _file_system(folder: Path) -> Finding:
    kind = mounted_as(folder)
    with _probes(folder) as (first, second, third):
        written = _tried("writing", lambda: _write(first))
        if written.error:
            text = f"{kind}: {folder.absolute()} cannot be written: {written.error}"
            return Finding("file system", Outcome.FAILED, text, "give this user the right to write there")
        trials = [
            _tried("fsync", lambda: _sync(first, folder)),
            _tried("hard links", lambda: second.hardlink_to(first)),
            _tried("symbolic links", lambda: third.symlink_to(first.name)),
            _tried("atomic rename", lambda: _replace(first, third)),
        ]
        trials.append(_Trial("locks", "" if locks_work(folder) else "not supported"))
        is_case_sensitive = not os.path.lexists(first.with_name(first.name.upper()))
    text = ", ".join(f"{trial.what} {trial.error or 'yes'}" for trial in trials)
    text += f", case-sensitive {'yes' if is_case_sensitive else 'no'}"
    return _judged(f"{kind}: {text}", {trial.what for trial in trials if trial.error})


def _judged(text: str, lacking: set[str]) -> Finding:
    if "atomic rename" in lacking:
        advice = "choose a folder on another disk: files are put in place by rename"
        return Finding("file system", Outcome.FAILED, text, advice)
    advice = "; ".join(why for what, why in _DRAWBACKS.items() if what in lacking)
    return Finding("file system", Outcome.WARNING if advice else Outcome.OK, text, advice)


_DRAWBACKS = {
    "fsync": "a power cut can damage files there",
    "hard links": "equal files are copied, not linked",
    "locks": "a run is slower there: a local disk is better for the ledger",
}
"""What follows if a file system does not support something."""


def _tried(what: str, act: Callable[[], object]) -> _Trial:
    try:
        act()
    except OSError as exc:
        return _Trial(what, exc.strerror or str(exc))
    return _Trial(what, "")


@contextlib.contextmanager
def _probes(folder: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Yield three unused paths; what is made there is removed."""
    paths = probe_path(folder), probe_path(folder), probe_path(folder)
    try:
        yield paths
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink()


def _write(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, b"probe")
    finally:
        os.close(handle)


def _sync(path: Path, folder: Path) -> None:
    for each in (path, folder):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(path: Path, other: Path) -> None:
    """Replace one file by another one; a rename to a second name of the same file does nothing."""
    other.unlink(missing_ok=True)
    _write(other)
    other.replace(path)


def mounted_as(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of a folder's file system, such as "ext4"; "unknown type" if it is not reported."""
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            mount, _, kind = line.partition(" - ")
            if mount.split()[2:3] == [number]:
                return kind.split(" ")[0]
    return "unknown type"
