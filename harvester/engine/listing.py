"""
Listing stage: reads the sources page by page into the ledger, and checks that each listing is complete.

A page and the cursor of the next one are recorded together. So a listing is resumed at the page where it was
interrupted, or where it failed. If figshare can count the items, the number is compared with the listing.
With `--quick` a listing is incremental: only items modified since its high-watermark are requested.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio
from anyio import CancelScope

from harvester.client import Unit, working_on
from harvester.engine.progress import RunCounters
from harvester.engine.workload import StageRequests
from harvester.errors import PermanentError, Rejected, TransientError
from harvester.figshare.protocol import Figshare, Listing
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import ListingFailure, ListingProgress
from harvester.models import Failure, ItemKey, Page
from harvester.sources import Source
from harvester.text.wording import counted

log = logging.getLogger(__name__)

MOST_REPEATED = 10_000
"""A listing is endless if it repeats each item once and this many entries more."""
OVERLAP = timedelta(days=1)
"""Items modified this shortly before the last run are listed again: clocks differ, and indexes lag."""


def changed_since(listing: Listing, watermark: str) -> Listing | None:
    """
    Return a listing narrowed to what was modified since its high-watermark; see `Listing.since`.

    None if it has to be read whole: its service cannot filter by date, or there is no `watermark` yet ("").
    """
    if not watermark:
        return None
    moment = datetime.fromisoformat(watermark) - OVERLAP
    return listing.since(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))


async def unknown_values(listings: Sequence[Listing], figshare: Figshare) -> list[str]:
    """Return a warning for each unknown filter value of all listings, each once."""
    found: dict[str, None] = {}
    for listing in listings:
        try:
            found |= dict.fromkeys(await listing.unknown_values(figshare))
        except (PermanentError, TransientError):
            break  # figshare does not answer; reading the listing will report it
    return list(found)


def why_empty(listing: Listing, excluded: int) -> str:
    """Return the warning for a listing without items; `excluded`: the entries that the filters exclude."""
    if excluded:
        entries = "the only entry" if excluded == 1 else f"all {excluded} entries"
        return f"{listing.display_name}: your filters exclude {entries}: check the filters"
    return f"{listing.display_name}: no item found: check {listing.what_selects}"


class ListingReader:
    """
    Reads listings, for a run and for a dry run.

    `warn`: called with each warning for the user. `note`: with one about a single entry; `warn` if None.
    `is_stopping`: called before each page.
    `requests`: counts the requests of listing entries.
    """

    def __init__(
        self,
        figshare: Figshare,
        *,
        warn: Callable[[str], object],
        note: Callable[[str], object] | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
        requests: StageRequests | None = None,
    ) -> None:
        self._figshare = figshare
        self._warn = warn
        self._note = note or warn
        self._is_stopping = is_stopping
        self._requests = requests or StageRequests()

    async def listings(self, sources: Sequence[Source]) -> list[Listing]:
        """
        Return the listings of all sources in the order of reading, each once; warn of unknown filter values.

        Raises:
            UsageError: a list of names cannot be read.
        """
        # The account's own record of an item has more fields, so its listing must come first.
        ordered = sorted(sources, key=lambda source: not source.private)
        found: dict[str, Listing] = {}
        for source in ordered:
            for listing in await source.listings(self._figshare.endpoints):
                found.setdefault(listing.key, listing)
        for warning in await unknown_values(list(found.values()), self._figshare):
            self._warn(warning)
        return list(found.values())

    async def read(
        self, listing: Listing, progress: ListingProgress, add: Callable[[Page], Awaitable[ListingProgress]]
    ) -> ListingProgress:
        """
        Read a listing from its progress to its end, or until the run is stopping; return the new progress.

        `add`: saves a page and returns the progress of the listing.

        Raises:
            Rejected: the listing is endless.
            Others: as `Listing.page`.
        """
        has_warned = False
        while not (progress.complete or self._is_stopping()):
            with working_on(unit := Unit()):
                page = await listing.page(self._figshare, progress.cursor)
            self._requests.finish(unit, len(page.refs) + len(page.unresolved) + page.excluded)
            if page.warning and not has_warned:
                self._warn(page.warning)
                has_warned = True
            for note in page.notes:
                self._note(note)
            progress = await add(page)
            if _is_endless(listing, progress):
                raise Rejected("the listing does not end: it repeats the same items")
        return progress


def _is_endless(listing: Listing, progress: ListingProgress) -> bool:
    """Return whether a listing is endless; a list of names never is, as its length is known."""
    return listing.length is None and progress.named > 2 * progress.unique + MOST_REPEATED


class Producer:
    """
    The first stage of the pipeline.

    `tasks`: the pending tasks of a new item.
    `quick`: request only items modified since the last run without errors, if listings can filter so;
    withdrawn items are not noticed then.
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
        self._sources = sources
        self._tasks = tasks
        self._counters = counters
        self._stopping = stopping
        self._quick = quick
        self._reader = ListingReader(
            figshare,
            warn=counters.warn,
            note=counters.warn_of_item,
            is_stopping=stopping.is_set,
            requests=counters.stages.listing,
        )
        self._entries_left: dict[str, int] = {}  # of listings of a known length
        self._listings: list[Listing] | None = None
        self._preparing = CancelScope()
        self._finished: set[str] = set()
        self._changes: dict[str, Listing] = {}
        self._is_chosen = False

    async def run(self, retries: Sequence[Listing] = ()) -> None:
        """
        Read every listing that has not been read to its end, or until the run is stopping.

        `retries`: listings of names that were not found and are requested again.
        """
        await self.read(retries)
        if not self._stopping.is_set() and (vanished := await self.requeue_vanished()):
            log.info("re-checking %s no longer listed", counted(len(vanished), "item"))
            self._counters.add_listed(0, vanished)
        await self.warn_of_empty()
        self._counters.listing_ended = True

    async def read(self, retries: Sequence[Listing] = ()) -> list[tuple[Listing, Listing]]:
        """Read the listings, as `run` does; return each with the one that was read in its place."""
        if self._listings is None:
            await self.prepare()
        if not self._is_chosen and self._listings is not None:
            await self._choose(self._listings)
            self._is_chosen = True
        pairs = [
            (listing, self._changes.get(listing.key, listing))
            for listing in (*(self._listings or ()), *retries)
        ]
        unread = [reading for _, reading in pairs if reading.key not in self._finished]
        for reading in unread:
            self._note_left(reading, 0)
        for reading in unread:
            await self._read(reading)
        return pairs

    async def prepare(self) -> None:
        """
        Determine the listings to read, before anything is recorded.

        Raises:
            UsageError: a list of names cannot be read, or the folder contains the private items of another
                account.
        """
        with self._preparing:
            listings = await self._reader.listings(self._sources)  # standard input can be read only once
            await self._recognise_owners()
            self._listings = listings

    async def _recognise_owners(self) -> None:
        """Raise UsageError if the folder has another account's private items: they would seem withdrawn."""
        owners = {source.owner for source in self._sources if source.private}
        if not owners:
            return
        ids: dict[str, int] = {}
        why = "the account's answer has no such id"
        try:
            ids = await self._figshare.account()
        except (PermanentError, TransientError) as error:
            why = str(error)
        for owner in sorted(owners):
            if not await self._ledger.change(self._ledger.owners.recognise, owner, ids.get(owner), why):
                self._counters.warn(
                    f"the token's {owner} could not be identified: {why}; the next run tries again"
                )

    async def _choose(self, listings: Sequence[Listing]) -> None:
        """Decide which listings are read completely; forget those that the config no longer selects."""
        ledger = self._ledger
        for listing in listings if self._quick else ():
            watermark = await ledger.read(ledger.listings.watermark, listing.key)
            if changes := changed_since(listing, watermark):
                self._changes[listing.key] = changes
            else:
                await ledger.change(ledger.listings.begin_anew, [listing.key])
        kept = (*listings, *self._changes.values())
        await ledger.change(ledger.listings.keep, [listing.key for listing in kept])

    async def requeue_vanished(self) -> list[ItemKey]:
        """Requeue the items that are no longer listed, as they may be withdrawn; return their keys."""
        ledger = self._ledger
        parts = {changes.key: key for key, changes in self._changes.items()}
        await ledger.change(ledger.listings.merge, parts)
        return await ledger.change(ledger.listings.requeue_vanished)

    async def warn_of_empty(self) -> None:
        """Warn of each listing without items: with a mistyped query it would stay so unnoticed."""
        empty = await self._ledger.read(self._ledger.listings.empty)
        for listing in self._listings or ():
            if listing.key in empty:
                self._counters.warn_empty(why_empty(listing, empty[listing.key]))

    def stop(self) -> None:
        """Stop waiting for names from a terminal."""
        self._preparing.cancel()

    def _note_left(self, listing: Listing, named: int, *, is_over: bool = False) -> None:
        """Count the entries to come of a listing of a known length; `named`: those that have come."""
        if listing.length is not None:
            self._entries_left[listing.key] = 0 if is_over else max(0, listing.length - named)
            self._counters.entries_left = sum(self._entries_left.values())

    async def _read(self, listing: Listing) -> None:
        try:
            progress = await self._ledger.read(self._ledger.listings.progress, listing.key)
            self._note_left(listing, progress.named)
            progress = await self._reader.read(listing, progress, partial(self._add, listing))
        except TransientError as error:
            await self._note(listing, error, begin_anew=False)
        except PermanentError as error:
            self._finished.add(listing.key)
            await self._note(listing, error, begin_anew=True)
        else:
            if progress.complete:
                self._finished.add(listing.key)
                await self._compare(listing, progress.unique)
        self._note_left(listing, 0, is_over=True)

    async def _add(self, listing: Listing, page: Page) -> ListingProgress:
        added = await self._ledger.change(self._ledger.listings.add_page, listing.key, page, self._tasks)
        self._counters.add_listed(added.pending - len(added.requeued), added.requeued)
        self._counters.listed += len(page.refs)
        self._note_left(listing, added.listed.named)
        for each in added.unresolved:
            self._counters.failures.add(Failure("resolve", each.reason, each.failure_kind, subject=each.name))
        return added.listed

    async def _compare(self, listing: Listing, found: int) -> None:
        """Compare a listing with figshare's count, if there is one; a shorter listing is a failure."""
        try:
            total = await listing.count(self._figshare)
        except (PermanentError, TransientError) as error:
            self._counters.warn(f"{listing.display_name}: could not be counted: {error}")
            return
        if total is None or total == found:
            return
        difference = f"figshare counts {counted(total, 'item')}, but lists {found}"
        if total > found:
            await self._note(listing, Rejected(difference), begin_anew=False)
        else:
            self._counters.warn(f"{listing.display_name}: {difference}")

    async def _note(
        self, listing: Listing, error: PermanentError | TransientError, *, begin_anew: bool
    ) -> None:
        failure = Failure(
            "listing", str(error), error.failure_kind, subject=listing.key, attempts=error.attempts
        )
        await self._ledger.save(ListingFailure(failure, begin_anew))
        self._counters.failures.add(failure)
