"""Date rules: which of figshare's dates are credible, and how they are compared in SQL."""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE = timedelta(days=1)
"""The tolerance in comparisons of dates: time zones get lost, clocks differ, caches lag."""


def to_the_second(column: str) -> str:
    """Return SQL for a date in a comparable form, '' for none."""
    return f"substr(ifnull({column}, ''), 1, 19)"


def latest_from(served_at: str) -> str:
    """Return the latest credible date, ISO 8601, in an answer that was served at a moment."""
    return _moved(served_at, TOLERANCE)


def settled_by(served_at: str) -> str:
    """Return until when a record has all changes; it was served at a moment, and may come from a cache."""
    return _moved(served_at, -TOLERANCE)


def _moved(moment: str, by: timedelta) -> str:
    return (datetime.fromisoformat(moment) + by).strftime("%Y-%m-%dT%H:%M:%SZ")
