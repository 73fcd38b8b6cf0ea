"""
Reads the sources page by page into the ledger, and proves that each listing is whole.

A page and the place where it ends are recorded together, so a listing goes on at the page where it was
left or where it failed. What figshare can count is compared with what its listing gave.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
from anyio import CancelScope

from harvester.engine.progress import RunCounters
from harvester.errors import PermanentError, Rejected, TransientError
from harvester.figshare.identifier_listing import IdentifierListing
from harvester.figshare.protocol import Figshare
from harvester.ledger.ledger import Ledger
from harvester.models import Failure
from harvester.sources import Counted, Listing, Source, changed_since, doubts_of, is_endless

log = logging.getLogger(__name__)


class Producer:
    """
    The first stage of a run.

    `tasks`: what an item owes that was not known before. `quick`: ask listings only for what was modified
    since the last run without error, where they can tell; what has vanished from them is not seen then.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        figshare: Figshare,
        sources: Sequence[Source],
        tasks: frozenset[str],
        counters: RunCounters,
        stopping: anyio.Event,
        quick: bool = False,
    ) -> None:
        self._ledger = ledger
        self._figshare = figshare
        # The account's own record of an item is the fuller one, so it must be known first.
        self._sources = sorted(sources, key=lambda source: not source.private)
        self._tasks = tasks
        self._counters = counters
        self._stopping = stopping
        self._quick = quick
        self._listings: list[Listing] | None = None
        self._naming = CancelScope()
        self._settled: set[str] = set()
        self._parts: dict[str, Listing] = {}
        self._is_chosen = False

    async def run(self, names: Sequence[str] = ()) -> None:
        """
        Read every listing that has not been read to its end, or until the run is stopping.

        `names`: of items, which were asked for in vain and are asked for once more.
        """
        if self._listings is None:
            await self.prepare()
        if not self._is_chosen and self._listings is not None:
            await self._choose(self._listings)
            self._is_chosen = True
        again = (IdentifierListing(tuple(names), once_more=True),) if names else ()
        for listing in (*(self._listings or ()), *again):
            reading = self._parts.get(listing.key, listing)
            if reading.key not in self._settled:
                await self._read(reading)
        if not self._stopping.is_set():
            await self._ask_once_more()
        self._counters.listing_ended = True

    async def prepare(self) -> None:
        """
        Settle what is to be listed, before anything is recorded.

        Raises:
            UsageError: a list of names cannot be read, or the folder holds the private items of another
                account.
        """
        with self._naming:
            # Standard input can be read only once.
            listings = [item for source in self._sources for item in await source.listings()]
            for doubt in await doubts_of(listings, self._figshare):
                self._counters.warn(doubt)
            await self._recognise_owners()
            self._listings = listings

    async def _recognise_owners(self) -> None:
        """Refuse to mix the private items of several accounts: those of the others would seem withdrawn."""
        owners = {source.owner for source in self._sources if source.private}
        if not owners:
            return
        told: dict[str, int] = {}
        why = "the account's answer has no such id"
        try:
            told = await self._figshare.account()
        except (PermanentError, TransientError) as error:
            why = str(error)
        for owner in sorted(owners):
            if not await self._ledger.owners.recognise(owner, told.get(owner), why):
                self._counters.warn(
                    f"whose {owner} the token is could not be identified: {why}; the next run tries again"
                )

    async def _choose(self, listings: Sequence[Listing]) -> None:
        """Settle which of the listings are read whole; forget those that are not asked for any more."""
        for listing in listings if self._quick else ():
            if part := changed_since(listing, await self._ledger.mark(listing.key)):
                self._parts[listing.key] = part
            else:
                await self._ledger.begin_anew(listing.key)
        kept = (*listings, *self._parts.values())
        await self._ledger.keep_listings([listing.key for listing in kept])

    async def _ask_once_more(self) -> None:
        """Ask for the items that listings named before and do not name now: they may be withdrawn."""
        await self._ledger.merge({part.key: key for key, part in self._parts.items()})
        if vanished := await self._ledger.owe_vanished():
            log.info("re-checking %d items that are no longer listed", vanished)
            self._counters.items_pending += vanished

    def stop(self) -> None:
        """Wait no longer for names that somebody has still to type."""
        self._naming.cancel()

    async def _read(self, listing: Listing) -> None:
        listed = await self._ledger.listed(listing.key)
        was_warned = False
        try:
            while not listed.complete:
                if self._stopping.is_set():
                    return
                page = await listing.page(self._figshare, listed.position)
                if page.warning and not was_warned:
                    self._counters.warn(page.warning)
                    was_warned = True
                for note in page.notes:
                    self._counters.warn(note)
                added = await self._ledger.add_page(listing.key, page, self._tasks)
                listed = added.listed
                self._counters.items_pending += added.owed
                self._counters.listed += len(page.refs)
                if is_endless(listing, listed.named, listed.found):
                    raise Rejected("the listing does not end: it repeats the same items")
        except TransientError as error:
            await self._note(listing, error, begin_anew=False)
        except PermanentError as error:
            self._settled.add(listing.key)
            await self._note(listing, error, begin_anew=True)
        else:
            self._settled.add(listing.key)
            await self._compare(listing, listed.found)

    async def _compare(self, listing: Listing, found: int) -> None:
        """Compare a listing with what figshare counts, where it can count; fewer is a failure."""
        if not isinstance(listing, Counted):
            return
        try:
            counted = await listing.count(self._figshare)
        except (PermanentError, TransientError) as error:
            self._counters.warn(f"{listing.key}: could not be counted: {error}")
            return
        if counted is None or counted == found:
            return
        difference = f"figshare counts {counted} items, but lists {found}"
        if counted > found:
            await self._note(listing, Rejected(difference), begin_anew=False)
        else:
            self._counters.warn(f"{listing.key}: {difference}")

    async def _note(
        self, listing: Listing, error: PermanentError | TransientError, *, begin_anew: bool
    ) -> None:
        failure = Failure(
            "listing", str(error), error.failure_kind, subject=listing.key, attempts=error.attempts
        )
        await self._ledger.add_mishap(failure, begin_anew=begin_anew)
        log.warning("%s: incomplete: %s", listing.key, error)
