"""Dates that figshare tells: which can be believed, and how they are compared in SQL."""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE = timedelta(days=1)
"""How far dates may lie from what they are compared with: time zones get lost, clocks differ, caches lag."""


def to_the_second(column: str) -> str:
    """Return SQL for a date, '' for none, that compares with others of a little other form."""
    return f"substr(ifnull({column}, ''), 1, 19)"


def latest_from(served_at: str) -> str:
    """Return the latest moment, ISO 8601, that an answer given at a moment can speak of."""
    return _moved(served_at, TOLERANCE)


def settled_by(served_at: str) -> str:
    """Return up to when a record that was given at a moment has all changes: it may come from a cache."""
    return _moved(served_at, -TOLERANCE)


def _moved(moment: str, by: timedelta) -> str:
    return (datetime.fromisoformat(moment) + by).strftime("%Y-%m-%dT%H:%M:%SZ")
