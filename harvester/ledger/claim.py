"""
Which run holds a folder.

A run claims the folder with a row in `runs` and renews its beat with every write, in the same
transaction; a run that finds a later one there stops before it writes. That, and no file lock, keeps
two runs apart: locks do nothing on many cluster file systems, and this needs only what the ledger's
own correctness rests on.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from harvester.errors import FolderInUse

FRESH_SECONDS = 30.0
"""A run that has given no sign of life for so long may be taken over."""


def this_host() -> str:
    """Name this machine as `socket.gethostname` does."""
    if hasattr(os, "uname"):  # at once; importing socket would add 3 ms to every `status`
        return os.uname().nodename
    import platform  # noqa: PLC0415 - Windows

    return platform.node()


def iso(seconds: float) -> str:
    """Write seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def holder(db: sqlite3.Connection, now: float) -> str | None:
    """Say who is at work on this folder, None where nobody is."""
    row = db.execute(
        "SELECT host, pid, beat FROM runs WHERE ended IS NULL AND id = (SELECT max(id) FROM runs)"
    ).fetchone()
    if row is None:
        return None
    host, pid, beat = row
    return f"process {pid} on {host}" if is_alive(host, pid, now - beat) else None


def take(db: sqlite3.Connection, now: float, job: str) -> int:
    """Claim the folder for a new run and return the run's number."""
    run_id: int = db.execute(
        "INSERT INTO runs (job, started, host, pid, beat) VALUES (?, ?, ?, ?, ?) RETURNING id",
        (job, iso(now), this_host(), os.getpid(), now),
    ).fetchone()[0]
    return run_id


def renew(db: sqlite3.Connection, run_id: int, now: float) -> bool:
    """Give a sign of life; tell whether the run still holds the folder."""
    held = db.execute(
        "UPDATE runs SET beat = ? WHERE id = ? AND id = (SELECT max(id) FROM runs)", (now, run_id)
    ).rowcount
    return bool(held)


def confirm(db: sqlite3.Connection, run_id: int, folder: Path) -> None:
    """
    Find out that a run still holds the folder; nothing is written.

    Raises:
        FolderInUse: another one does.
    """
    if db.execute("SELECT max(id) FROM runs").fetchone()[0] != run_id:
        raise FolderInUse(f"{folder}: another run took this folder over")


def is_alive(host: str, pid: int, silent_seconds: float) -> bool:
    """Tell whether the process that made a claim may still be at work."""
    # A beat from the future is as old as one from the past: a clock has jumped, or two differ.
    if abs(silent_seconds) > FRESH_SECONDS:
        return False
    if host != this_host():
        return True
    if pid == os.getpid():  # a number used again, as in containers: this process has no other run
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
