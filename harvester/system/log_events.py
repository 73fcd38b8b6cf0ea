"""
Structured logging: the event and the fields that a log record carries next to its text.

People read the text. `--log-json` writes the fields too, see `cli/events.py`.
"""

from __future__ import annotations


def event(name: str, **fields: object) -> dict[str, object]:
    """Return the `extra` of a logging call: the name of the event, and its fields."""
    return {"event": name, "fields": fields}
