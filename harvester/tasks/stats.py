"""Usage totals: how often an item was viewed, downloaded and shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.errors import DoubtfulResponse
from harvester.figshare.statistics import StatsService
from harvester.models import PendingItem, TaskResult


@dataclass(frozen=True)
class Stats:
    """Requests the totals since publication."""

    name: ClassVar[str] = "stats"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService

    async def process(self, item: PendingItem) -> TaskResult:
        """
        Return the totals of an item.

        Raises:
            DoubtfulResponse: a counter is 0 or missing now, and was higher before.
        """
        totals = await self.statistics.totals(item.item_id)
        for name, number in totals.requested().items():
            before = item.history.totals.get(name)
            if before is not None and not number and number != before:
                now = "none" if number is None else number
                raise DoubtfulResponse(f"{name}: {before} before, {now} now: the old number is kept")
        return TaskResult(totals=totals)
