"""Repeated messages: which of many that say the same are shown, so that a log does not grow with a fault."""

from __future__ import annotations

SINGLY = 10
"""Failures of one kind that have a line each, before they are counted only."""


def is_shown(number: int, singly: int = SINGLY) -> bool:
    """Return whether the `number`-th message of a kind (from 1) has its own line."""
    return number <= singly


def is_milestone(number: int, singly: int = SINGLY) -> bool:
    """Return whether the count of a kind is shown at its `number`-th message: 100, 1,000, 10,000 …"""
    power = 100
    while power < number:
        power *= 10
    return number == power and number > singly
