"""From which countries an item was used in each day, month or year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.statistics import StatsService
from harvester.models import Findings, OwedItem, Usage


@dataclass(frozen=True)
class Breakdown:
    """Asks for the whole span in as many windows as it takes; part of them is worth nothing."""

    name: ClassVar[str] = "breakdown"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService

    async def visit(self, item: OwedItem) -> Findings:
        asked = self.statistics
        uses = await asked.breakdown(item.id)
        return Findings(usage=Usage(uses, asked.counters, asked.granularity, by_country=True))
