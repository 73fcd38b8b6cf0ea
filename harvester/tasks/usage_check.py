"""Plausibility check of usage: compares a received timeline or breakdown with the stored one."""

from __future__ import annotations

from harvester.errors import DoubtfulResponse
from harvester.figshare.statistics import StatsService
from harvester.models import PendingItem, Usage, UsageCount


def plausible_usage(
    task: str, item: PendingItem, counts: tuple[UsageCount, ...], requested: StatsService
) -> Usage:
    """
    Return the usage of an item to save.

    Raises:
        DoubtfulResponse: a counter is empty now, and was not for the same days before.
    """
    present = {each.counter for each in counts if each.number}
    for counter in sorted(set(requested.counters) - present):
        if before := item.history.usage.get((task, counter), 0):
            raise DoubtfulResponse(
                f"{counter}: {before} in these days before, none now: the old ones are kept"
            )
    return Usage(counts, requested.counters, requested.granularity, by_country=task == "breakdown")
