"""Timeline: how often an item was used in each day, month or year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.statistics import StatsService
from harvester.models import PendingItem, TaskResult
from harvester.tasks.usage_check import plausible_usage


@dataclass(frozen=True)
class Timeline:
    """Requests the whole span of days, in several windows if needed; the result is saved only if complete."""

    name: ClassVar[str] = "timeline"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService

    async def process(self, item: PendingItem) -> TaskResult:
        """Return the usage of an item; raises what `plausible_usage` raises."""
        counts = await self.statistics.timeline(item.item_id)
        return TaskResult(usage=plausible_usage(self.name, item, counts, self.statistics))
