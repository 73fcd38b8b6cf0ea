"""How often an item was used in each day, month or year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.statistics import StatsService
from harvester.ledger.ledger import Ledger
from harvester.models import PendingItem, TaskResult
from harvester.tasks.usage_cache import usage


@dataclass(frozen=True)
class Timeline:
    """Asks for the whole span in as many windows as it takes; part of them is worth nothing."""

    name: ClassVar[str] = "timeline"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService
    ledger: Ledger

    async def visit(self, item: PendingItem) -> TaskResult:
        uses = await self.statistics.timeline(item.id)
        return TaskResult(usage=await usage(item, uses, self.statistics, self.ledger))
