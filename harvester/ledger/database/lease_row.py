"""
Lease row: the row in `runs` by which a run holds a folder.

A run acquires the folder with a row in `runs`. It renews its heartbeat with every write, in the same
transaction, and also from a thread. A run that finds a later row stops before it writes. This, and no file
lock, excludes a second run: locks do not work on many cluster file systems, and this needs only SQLite's own
transactions. `heartbeat.py` judges whether the holder is still active.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from harvester.ledger.database.heartbeat import Sign, new_beat
from harvester.system.process import Process, this_process


def iso(seconds: float) -> str:
    """Return seconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def last_sign(db: sqlite3.Connection) -> Sign | None:
    """Return the last heartbeat of the newest run; None if that has ended."""
    if db.execute("PRAGMA user_version").fetchone()[0] == 0:  # there are no tables yet
        return None
    cursor = db.execute("SELECT * FROM runs WHERE ended IS NULL AND id = (SELECT max(id) FROM runs)")
    row = cursor.fetchone()
    if row is None:
        return None
    row = dict(zip((column[0] for column in cursor.description), row, strict=True))
    process = Process(row["host"], row["pid"], row.get("machine", ""), row.get("began", ""))
    # An earlier version stored only the time; this value is the same before and after a migration.
    return Sign(process, f"{row['id']} {row['beat']!r} {row.get('heartbeat', '')}")


def take(db: sqlite3.Connection, now: float, job: str) -> int:
    """Acquire the folder for a new run and return the run's number."""
    me = this_process()
    run_id: int = db.execute(
        "INSERT INTO runs (job, started, host, pid, machine, began, beat, heartbeat)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (job, iso(now), *me, now, new_beat()),
    ).fetchone()[0]
    return run_id


def renew(db: sqlite3.Connection, run_id: int, now: float) -> bool:
    """Renew the heartbeat; return whether the run still holds the folder."""
    held = db.execute(
        "UPDATE runs SET beat = ?, heartbeat = ? WHERE id = ? AND id = (SELECT max(id) FROM runs)",
        (now, new_beat(), run_id),
    ).rowcount
    return bool(held)


def is_held(db: sqlite3.Connection, run_id: int) -> bool:
    """Return whether the run still holds the folder; nothing is written."""
    return bool(db.execute("SELECT max(id) FROM runs").fetchone()[0] == run_id)
