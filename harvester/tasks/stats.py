"""How often an item was viewed, downloaded and shared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.errors import DoubtfulResponse
from harvester.figshare.statistics import StatsService
from harvester.ledger.ledger import Ledger
from harvester.models import PendingItem, TaskResult


@dataclass(frozen=True)
class Stats:
    """Asks for the totals since publication: none or 0 of what was counted before is no fact."""

    name: ClassVar[str] = "stats"
    tells_of_withdrawal: ClassVar[bool] = False

    statistics: StatsService
    ledger: Ledger

    async def visit(self, item: PendingItem) -> TaskResult:
        totals = await self.statistics.totals(item.id)
        asked = totals.asked()
        if not all(asked.values()):
            before = await self.ledger.counters.totals(item.key)
            for name, number in asked.items():
                if less := _less(before.get(name), number):
                    raise DoubtfulResponse(f"{name}: {less}")
        return TaskResult(totals=totals)


def _less(before: int | None, now: int | None) -> str:
    """Say how a counter says less than the one that is here, "" where it does not."""
    if before is None or now or (before, now) == (0, 0):
        return ""
    return f"{before} before, {'none' if now is None else now} now: the old number is kept"
