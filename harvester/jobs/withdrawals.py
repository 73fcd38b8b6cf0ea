"""
Withdrawal decision: whether harvested items that are not found now count as withdrawn.

It is made once, at the end of a run. A single 404 is no proof: a gateway, or an index under rebuild, may
answer it for everything. So the API must serve a known item, no listing of the run may contain a missing
item, and not too many items may vanish at once, unless the user accepts them.
"""

from __future__ import annotations

import logging

from harvester.engine.progress import RunCounters
from harvester.figshare.protocol import Figshare
from harvester.ledger.ledger import Ledger
from harvester.text.wording import counted

log = logging.getLogger(__name__)

MOST_AT_ONCE = 20
ONE_IN = 20
"""At most 5 % of the harvested items, and at most 20; a single one is always accepted."""
LISTED = "a listing of the same run names it: one of the two is wrong; a later run decides"
KNOWN = 3
"""Known items to request until one is found: a single one may have been withdrawn a moment ago."""


def is_believable(suspected: int, harvested: int, accepted: int = 0) -> bool:
    """
    Return whether `suspected` of `harvested` items may be withdrawn at once.

    The user accepts `accepted`.
    """
    return suspected <= max(1, min(harvested // ONE_IN, MOST_AT_ONCE), accepted)


async def decide(
    ledger: Ledger, figshare: Figshare, counters: RunCounters, *, accepted: int, has_token: bool
) -> str:
    """
    Return why the suspected withdrawals are not accepted, "" if they are.

    `accepted`: the number of withdrawals that the user accepts, regardless of the limit.
    """
    listed = await ledger.change(ledger.withdrawals.doubt_listed, f"figshare does not find it; {LISTED}")
    if listed:
        counters.warn(f"{counted(listed, 'item')} not found, and not treated as withdrawn: {LISTED}")
    items, harvested, _ = await ledger.read(ledger.withdrawals.suspected)
    counters.suspected = items
    if not items:
        return ""
    known = await ledger.read(ledger.withdrawals.unsuspected, KNOWN, has_token)
    if not await figshare.serves(known):
        return "the api does not return known items either: run again when it does"
    if not is_believable(items, harvested, accepted):
        return (
            f"{items} of {counted(harvested, 'item')} at once are more than 5 % or {MOST_AT_ONCE}; look some "
            f"of them up at figshare, and if they are gone, run again with --accept-withdrawals {items}"
        )
    return ""


async def resolve_suspected(ledger: Ledger, counters: RunCounters, doubt: str) -> None:
    """Mark suspected items as withdrawn; if there is a `doubt`, as temporary failures."""
    items, _, entries = await ledger.read(ledger.withdrawals.suspected)
    if not items:
        return
    if doubt:
        counters.warn(f"{counted(items, 'item')} not found; none is marked as withdrawn: {doubt}")
        await ledger.change(ledger.withdrawals.doubt, f"figshare no longer has it; {doubt}")
    else:
        await ledger.change(ledger.withdrawals.believe)
        counters.items_failed -= entries
        counters.items_done += entries
        log.info("withdrawn, as figshare no longer has them: %s", counted(items, "item"))
