"""What a timeline or a breakdown that has come is worth, beside the one that is here."""

from __future__ import annotations

from harvester.errors import DoubtfulResponse
from harvester.figshare.statistics import StatsService
from harvester.ledger.ledger import Ledger
from harvester.models import PendingItem, Usage, Uses


async def usage(
    item: PendingItem,
    uses: tuple[Uses, ...],
    asked: StatsService,
    ledger: Ledger,
    *,
    by_country: bool = False,
) -> Usage:
    """
    Return what is to be kept of an item's uses.

    Raises:
        DoubtfulResponse: there are none of a counter that had some in the same days.
    """
    told = Usage(uses, asked.counters, asked.granularity, by_country)
    vanished = set(asked.counters).difference(each.counter for each in uses if each.number)
    first, last = asked.span
    for counter in sorted(vanished) if first is not None else ():
        before = await ledger.counters.uses(item.key, told, counter, str(first), str(last))
        if before:
            raise DoubtfulResponse(
                f"{counter}: {before} in these days before, none now: the old ones are kept"
            )
    return told
