"""
Which run holds a folder, as the ledger tells it.

A run claims the folder with a row in `runs` and renews its beat with every write, in the same transaction,
and besides from a thread of its own; a run that finds a later one there stops before it writes. That, and no
file lock, keeps two runs apart: locks do nothing on many cluster file systems, and this needs only what the
ledger's own correctness rests on. `heartbeat.py` judges whether the one that holds it is still at work.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from harvester.ledger.database.heartbeat import Sign, new_beat
from harvester.system.process import Process, this_process


def iso(seconds: float) -> str:
    """Write seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def last_sign(db: sqlite3.Connection) -> Sign | None:
    """Return the last sign of life of the run that has not ended; None where the newest one has."""
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # there are no tables yet
        return None
    cursor = db.execute("SELECT * FROM runs WHERE ended IS NULL AND id = (SELECT max(id) FROM runs)")
    row = cursor.fetchone()
    if row is None:
        return None
    told = dict(zip((column[0] for column in cursor.description), row, strict=True))
    process = Process(told["host"], told["pid"], told.get("machine", ""), told.get("began", ""))
    # An earlier version told no more than the time; its row is the same before and after it is brought up.
    return Sign(process, f"{told['id']} {told['beat']!r} {told.get('heartbeat', '')}")


def take(db: sqlite3.Connection, now: float, job: str) -> int:
    """Claim the folder for a new run and return the run's number."""
    me = this_process()
    run_id: int = db.execute(
        "INSERT INTO runs (job, started, host, pid, machine, began, beat, heartbeat)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (job, iso(now), *me, now, new_beat()),
    ).fetchone()[0]
    return run_id


def renew(db: sqlite3.Connection, run_id: int, now: float) -> bool:
    """Give a sign of life; tell whether the run still holds the folder."""
    held = db.execute(
        "UPDATE runs SET beat = ?, heartbeat = ? WHERE id = ? AND id = (SELECT max(id) FROM runs)",
        (now, new_beat(), run_id),
    ).rowcount
    return bool(held)


def is_held(db: sqlite3.Connection, run_id: int) -> bool:
    """Tell whether the run still holds the folder; nothing is written."""
    return bool(db.execute("SELECT max(id) FROM runs").fetchone()[0] == run_id)
