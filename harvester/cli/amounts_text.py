"""Texts of progress amounts, such as "177 of 294+", and of the time left."""

from __future__ import annotations

from collections.abc import Callable

from harvester.engine.amounts import Amount
from harvester.engine.progress import ProgressSnapshot
from harvester.text.units import human_seconds


def of_total(amount: Amount, shown: Callable[[int], str] = str) -> str:
    """Return how much is done of how much: "177 of 294", "177 of 294+", "1.2 GB of about 3.4 GB"."""
    more = "+" if amount.is_growing else ""
    about = "about " if amount.is_estimated and not more else ""
    failed = f", {amount.failed} failed" if amount.failed else ""
    return f"{shown(amount.done)} of {about}{shown(amount.total)}{more}{failed}"


def time_left_text(snapshot: ProgressSnapshot) -> str | None:
    """
    Return the time left in words, None if there is no estimate; more may be listed until the end.

    While a service does not answer, it says how long it is waited for instead.
    """
    if waiting := snapshot.waiting_seconds():
        return f"waiting for {', '.join(waiting)} for {human_seconds(max(waiting.values()))}"
    seconds = snapshot.seconds_left
    if seconds is None or seconds < 1:
        return None
    about = "about" if snapshot.counters.listing_ended else "at least"
    return f"{about} {human_seconds(seconds)} left"
