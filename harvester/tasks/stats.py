"""How often an item was viewed and downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare.api import Figshare
from harvester.models import Findings, OwedItem


@dataclass(frozen=True)
class Stats:
    """Asks for the totals since publication."""

    name: ClassVar[str] = "stats"
    tells_of_withdrawal: ClassVar[bool] = False

    figshare: Figshare

    async def visit(self, item: OwedItem) -> Findings:
        return Findings(totals=await self.figshare.totals(item.id))
