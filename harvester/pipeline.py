"""
Moves items and files through queues and workers; it never parses, fetches or writes.

    sources ─► list ─► ledger ─► feed ─► queue ─► visit × workers ─► ledger ─► feed ─► fetch × downloads
                                                       │                                   │
                                                  item tasks                           file task

1. `_list` reads the sources page by page; each page and the place where it ends go to the ledger.
2. `_feed` asks the ledger what is owed and puts it on a bounded queue, as fast as it is taken.
3. The workers visit each item: every task that it owes, then one entry for the ledger.
4. What the records made owed is fed to the download workers in the same way.
5. A stage ends when the one before it has ended and nothing is owed; its end closes the next queue.

So memory holds one page, two bounded queues and what is in hand, however long the lists are, and a run
that was killed begins with the question that every run asks: what is owed?
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import anyio
from anyio import CancelScope, create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from harvester.config import Concurrency
from harvester.errors import GiveUp, Gone, Refused, TryAgain
from harvester.figshare import Figshare
from harvester.ledger import FileResult, ItemResult, Ledger
from harvester.models import Failure, FileStatus, Findings, OwedFile, OwedItem, WorkState
from harvester.sources import Counted, Listing, Source
from harvester.tasks import FileTask, ItemTask
from harvester.together import beside

log = logging.getLogger(__name__)
Owed = TypeVar("Owed", OwedItem, OwedFile)

FEED_AT_ONCE = 256
GRACE_SECONDS = 10.0
MOST_WARNINGS = 100
MOST_REPEATED = 10_000
"""Entries that a listing may repeat, beyond each item twice, before it is taken for endless."""


@dataclass
class Tally:
    """How far a run has come; counted by the pipeline, read by whoever shows it."""

    listed: int = 0
    listing_ended: bool = False
    items_owed: int = 0
    items_done: int = 0
    items_failed: int = 0
    files_owed: int = 0
    files_done: int = 0
    files_failed: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def items_left(self) -> int:
        return max(0, self.items_owed - self.items_done - self.items_failed)

    @property
    def files_left(self) -> int:
        return max(0, self.files_owed - self.files_done - self.files_failed)


class Pipeline:
    """One run over one ledger. `item_tasks` are done in their order; without `file_task` no files."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        figshare: Figshare,
        sources: Sequence[Source],
        item_tasks: Sequence[ItemTask],
        file_task: FileTask | None,
        concurrency: Concurrency,
        tally: Tally,
    ) -> None:
        self.stopping = anyio.Event()
        self.tally = tally
        self._ledger = ledger
        self._figshare = figshare
        self._sources = sources
        self._item_tasks = item_tasks
        self._file_task = file_task
        self._concurrency = concurrency
        self._listings: list[Listing] | None = None
        self._naming = CancelScope()
        self._all_listed = anyio.Event()
        self._all_visited = anyio.Event()

    def stop(self) -> None:
        """Take no new work; what is in hand gets `GRACE_SECONDS` to end."""
        self.stopping.set()
        self._ledger.notify()

    async def run(self) -> None:
        """
        Do all that is owed, or all that can be done before `stop`; can be run again when more is owed.

        Raises:
            StopRun: it cannot go on. What was done until then is in the ledger.
        """
        self._all_listed, self._all_visited = anyio.Event(), anyio.Event()
        with CancelScope() as in_hand:
            await beside(self._flow, partial(self._grace, in_hand))
        await self._ledger.flush()

    async def _flow(self) -> None:
        queue = create_memory_object_stream[OwedItem](self._concurrency.queue)
        transfers = create_memory_object_stream[OwedFile](self._concurrency.downloads)
        async with create_task_group() as group:
            group.start_soon(self._list)
            group.start_soon(self._feed, self._ledger.owed_items, queue[0], self._all_listed)
            group.start_soon(self._visit_all, queue[1])
            group.start_soon(self._feed, self._ledger.owed_files, transfers[0], self._all_visited)
            group.start_soon(self._fetch_all, transfers[1])

    async def _grace(self, in_hand: CancelScope) -> None:
        await self.stopping.wait()
        self._naming.cancel()  # names that somebody has still to type are not in hand
        await anyio.sleep(GRACE_SECONDS)
        in_hand.cancel()

    # -- listing ----------------------------------------------------------------------------------

    async def _list(self) -> None:
        # The account's own record of an item is the fuller one, so it must be known first.
        sources = sorted(self._sources, key=lambda source: not source.private)
        if self._listings is None:  # standard input can be read only once
            with self._naming:
                self._listings = [listing for source in sources for listing in await source.listings()]
        for listing in self._listings or ():
            await self._read(listing)
        self.tally.listing_ended = True
        self._all_listed.set()
        self._ledger.notify()

    async def _read(self, listing: Listing) -> None:
        tasks = frozenset(task.name for task in self._item_tasks)
        listed = await self._ledger.listed(listing.key)
        if listed.complete:
            return
        was_warned = False
        try:
            while not listed.complete:
                if self.stopping.is_set():
                    return
                page = await listing.page(self._figshare, listed.position)
                if page.warning and not was_warned:
                    self._warn(page.warning)
                    was_warned = True
                added = await self._ledger.add_page(listing.key, page, tasks)
                listed = added.listed
                self.tally.items_owed += added.owed
                self.tally.listed += len(page.refs)
                if listed.named > 2 * listed.found + MOST_REPEATED:
                    raise Refused("the listing goes round in circles")
        except (GiveUp, TryAgain) as error:
            await self._note(listing, error, begin_anew=isinstance(error, GiveUp))
        else:
            await self._compare(listing, listed.found)

    async def _compare(self, listing: Listing, found: int) -> None:
        """Compare a listing with what figshare counts, where it can count; fewer is a failure."""
        if not isinstance(listing, Counted):
            return
        try:
            counted = await listing.count(self._figshare)
        except (GiveUp, TryAgain) as error:
            self._warn(f"{listing.key}: could not be counted: {error}")
            return
        if counted is None or counted == found:
            return
        difference = f"figshare counts {counted} items, its listing has {found}"
        if counted > found:
            await self._note(listing, Refused(difference), begin_anew=False)
        else:
            self._warn(f"{listing.key}: {difference}")

    async def _note(self, listing: Listing, error: GiveUp | TryAgain, *, begin_anew: bool) -> None:
        failure = Failure("listing", str(error), error.verdict, subject=listing.key, attempts=error.attempts)
        await self._ledger.add_mishap(failure, begin_anew=begin_anew)
        log.warning("%s: incomplete: %s", listing.key, error)

    def _warn(self, text: str) -> None:
        if text:
            log.warning("%s", text)
            if len(self.tally.warnings) < MOST_WARNINGS:
                self.tally.warnings.append(text)

    # -- from the ledger to a queue ---------------------------------------------------------------

    async def _feed(
        self,
        owed_after: Callable[[int, int], Awaitable[list[Owed]]],
        queue: MemoryObjectSendStream[Owed],
        all_known: anyio.Event,
    ) -> None:
        turn = 0
        async with queue:
            while not self.stopping.is_set():
                # Both before looking: what comes while we look is then seen the next time.
                is_last_look, changed = all_known.is_set(), self._ledger.changed
                batch = await owed_after(turn, FEED_AT_ONCE)
                try:
                    for owed in batch:
                        await queue.send(owed)
                        turn = owed.turn
                except anyio.BrokenResourceError:  # the workers have stopped
                    return
                if not batch:
                    if is_last_look:
                        return
                    await changed.wait()

    # -- items ------------------------------------------------------------------------------------

    async def _visit_all(self, queue: MemoryObjectReceiveStream[OwedItem]) -> None:
        async with queue, create_task_group() as group:
            for _ in range(self._concurrency.workers):
                group.start_soon(self._work, self._visit, queue)
        await self._ledger.flush()
        self._all_visited.set()
        self._ledger.notify()

    async def _work(
        self,
        do: Callable[[Owed], Awaitable[None]],
        queue: MemoryObjectReceiveStream[Owed],
    ) -> None:
        with queue.clone() as own_end:
            async for owed in own_end:
                if self.stopping.is_set():
                    return
                await do(owed)

    async def _visit(self, item: OwedItem) -> None:
        states: dict[str, WorkState] = {}
        failures: list[Failure] = []
        findings: list[Findings] = []
        for task in self._item_tasks:
            if task.name not in item.tasks:
                continue
            try:
                findings.append(await task.visit(item))
            except (GiveUp, TryAgain) as error:
                if isinstance(error, Gone) and item.known:
                    states[task.name] = WorkState.WITHDRAWN
                    continue
                states[task.name] = WorkState.FAILED
                failures.append(
                    Failure(task.name, str(error), error.verdict, item.id, attempts=error.attempts)
                )
                log.warning("item %d, %s: %s", item.id, task.name, error)
            else:
                states[task.name] = WorkState.DONE
        await self._ledger.save_item(ItemResult(item.id, states, tuple(failures), tuple(findings)))
        self._count(findings, failed=bool(failures))

    def _count(self, findings: Sequence[Findings], *, failed: bool) -> None:
        tally = self.tally
        if failed:
            tally.items_failed += 1
        else:
            tally.items_done += 1
        for found in findings:
            if self._file_task is not None:
                tally.files_owed += sum(placed.status is FileStatus.PENDING for placed in found.files or ())
            self._warn(found.warning)

    # -- files ------------------------------------------------------------------------------------

    async def _fetch_all(self, queue: MemoryObjectReceiveStream[OwedFile]) -> None:
        async with queue, create_task_group() as group:
            for _ in range(self._concurrency.downloads):
                group.start_soon(self._work, self._fetch, queue)

    async def _fetch(self, owed: OwedFile) -> None:
        assert self._file_task is not None, "no file is in line without the task"
        try:
            result = await self._file_task.fetch(owed)
            self.tally.files_done += 1
        except (GiveUp, TryAgain) as error:
            result = FileResult(
                owed.item_id, owed.file.id, FileStatus.FAILED, str(error), error.attempts, error.verdict
            )
            self.tally.files_failed += 1
            log.warning("item %d, file %d: %s", owed.item_id, owed.file.id, error)
        await self._ledger.save_file(result)
