"""Dates that figshare tells: which can be believed, and how they are compared in SQL."""

from __future__ import annotations

from datetime import datetime, timedelta

TOLERANCE = timedelta(days=1)
"""How far a date may lie ahead of the answer that tells it: time zones get lost, and clocks differ."""


def to_the_second(column: str) -> str:
    """Return SQL for a date, '' for none, that compares with others of a little other form."""
    return f"substr(ifnull({column}, ''), 1, 19)"


def latest_from(told_at: str) -> str:
    """Return the latest moment, ISO 8601, that an answer given at a moment can speak of."""
    latest = datetime.fromisoformat(told_at) + TOLERANCE
    return latest.strftime("%Y-%m-%dT%H:%M:%SZ")
