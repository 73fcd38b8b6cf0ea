"""How often an item was viewed, downloaded and shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.statistics import StatsService
from harvester.models import Findings, OwedItem


@dataclass(frozen=True)
class Stats:
    """Asks for the totals since publication."""

    name: ClassVar[str] = "stats"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService

    async def visit(self, item: OwedItem) -> Findings:
        return Findings(totals=await self.statistics.totals(item.id))
