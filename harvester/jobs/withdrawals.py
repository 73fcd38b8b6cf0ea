"""
Whether items that were harvested and are not found are taken for withdrawn: decided once, as a run ends.

A single answer is no proof: a gateway, or an index that is being built anew, may say of everything that it is
not found. So the api has to show that it serves, no listing of the run may name what is not found, and no
more may vanish at once than do in real life, unless the user has looked and says so.
"""

from __future__ import annotations

import logging

from harvester.engine.progress import RunCounters
from harvester.figshare.protocol import Figshare
from harvester.ledger.ledger import Ledger

log = logging.getLogger(__name__)

MOST_AT_ONCE = 20
ONE_IN = 20
"""At most 5 % of what was harvested, and at most 20 items; but one is never too many."""
LISTED = "a listing of the same run names it: one of the two is wrong, and a later run will tell which"
KNOWN = 3
"""So many items that should be there are asked for, until one comes: one may be gone since a moment ago."""


def is_believable(suspected: int, harvested: int, accepted: int = 0) -> bool:
    """Tell whether so many items may vanish at once, of so many; `accepted`: what the user says may."""
    return suspected <= max(1, min(harvested // ONE_IN, MOST_AT_ONCE), accepted)


async def decide(
    ledger: Ledger, figshare: Figshare, counters: RunCounters, *, accepted: int, has_token: bool
) -> str:
    """
    Find out what to make of what is suspected; return why it is not believed, "" where it can be.

    `accepted`: so many items may vanish at once whatever the folder holds.
    """
    listed = await ledger.withdrawals.doubt_listed(f"figshare does not find it; {LISTED}")
    if listed:
        counters.warn(f"{listed} items were not found, and are not treated as withdrawn: {LISTED}")
    items, harvested, _ = await ledger.withdrawals.suspected()
    counters.suspected = items
    if not items:
        return ""
    known = await ledger.withdrawals.unsuspected(KNOWN, with_private=has_token)
    if not await figshare.serves(known):
        return "the api does not return known items either: run again when it does"
    if not is_believable(items, harvested, accepted):
        return (
            f"{items} of {harvested} items at once are more than 5 % or {MOST_AT_ONCE}; look some of them "
            f"up at figshare, and if they are gone, run again with --accept-withdrawals {items}"
        )
    return ""


async def settle(ledger: Ledger, counters: RunCounters, doubt: str) -> None:
    """Take what is suspected for withdrawn, or, where there is a `doubt`, for failures for now."""
    items, _, visits = await ledger.withdrawals.suspected()
    if not items:
        return
    if doubt:
        counters.warn(f"{items} items were not found; none is marked as withdrawn: {doubt}")
        await ledger.withdrawals.doubt(f"figshare no longer has it; {doubt}")
    else:
        await ledger.withdrawals.believe()
        counters.items_failed -= visits
        counters.items_done += visits
        log.info("%d items are withdrawn: figshare no longer has them", items)
