"""Plausibility check of usage: a timeline or a breakdown that came, beside the one that is here."""

from __future__ import annotations

from harvester.errors import DoubtfulResponse
from harvester.figshare.statistics import StatsService
from harvester.models import PendingItem, Usage, UsageCount


def plausible_usage(
    task: str, item: PendingItem, counts: tuple[UsageCount, ...], requested: StatsService
) -> Usage:
    """
    Return what is saved of an item's uses.

    Raises:
        DoubtfulResponse: there are none of a counter that had some in the same days.
    """
    present = {each.counter for each in counts if each.number}
    for counter in sorted(set(requested.counters) - present):
        if before := item.history.usage.get((task, counter), 0):
            raise DoubtfulResponse(
                f"{counter}: {before} in these days before, none now: the old ones are kept"
            )
    return Usage(counts, requested.counters, requested.granularity, by_country=task == "breakdown")
