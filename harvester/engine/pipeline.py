"""
Moves items and files through queues and workers; it never parses, fetches or writes.

    sources ─► list ─► ledger ─► feed ─► queue ─► visit × workers ─► ledger ─► feed ─► fetch × downloads
                                                       │                                   │
                                                  item tasks                           file task

1. The producer reads the sources page by page; each page and the place where it ends go to the ledger.
2. `_feed` asks the ledger what is owed and puts it on a bounded queue, as fast as it is taken.
3. The workers visit each item: every task that it owes, then one entry for the ledger.
4. What the records made owed is fed to the download workers in the same way.
5. A stage ends when the one before it has ended, nothing is owed and nobody is at work who may find that
   more is: a visit can owe visits to other versions of its item, and a slow file is put off. Its end closes
   the next queue.

So memory holds one page, two bounded queues and what is in hand, however long the lists are, and a run
that was killed begins with the question that every run asks: what is owed?
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
from anyio import CancelScope, create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec.structs import replace

from harvester.concurrency import run_with_background
from harvester.config import Concurrency
from harvester.engine.listing import Producer
from harvester.engine.progress import RunCounters
from harvester.errors import (
    Deferred,
    DoubtfulResponse,
    FailureKind,
    InsufficientSpace,
    NotFound,
    PermanentError,
    TransientError,
)
from harvester.figshare.protocol import Figshare, Listing
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RECORD, FileResult, ItemResult
from harvester.models import Failure, FileStatus, PendingFile, PendingItem, TaskResult, WorkState
from harvester.sources import Source
from harvester.tasks import FileTask, ItemTask

log = logging.getLogger(__name__)
Owed = TypeVar("Owed", PendingItem, PendingFile)
_Outcome: TypeAlias = tuple[WorkState, TaskResult | None, Failure | None]

FEED_AT_ONCE = 256
GRACE_SECONDS = 10.0
FILES_PER_SLOT = 2
"""Files in hand for each that may be in transfer: while one comes, another is proven and put in its place."""


@dataclass
class _InHand:
    """
    Visits to one item that were taken from the ledger and have not ended.

    A listing may name an item once more meanwhile: only its record is asked for again then. ``counted``: the
    tasks on statistics that are done.
    """

    visits: int = 0
    one_at_a_time: anyio.Lock = field(default_factory=anyio.Lock)
    counted: set[str] = field(default_factory=set)


class Pipeline:
    """
    One run over one ledger. `item_tasks` are done in their order; without `file_task` no files.

    `quick`: see `Producer`.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        figshare: Figshare,
        sources: Sequence[Source],
        item_tasks: Sequence[ItemTask],
        file_task: FileTask | None,
        concurrency: Concurrency,
        counters: RunCounters,
        quick: bool = False,
    ) -> None:
        self.stopping = anyio.Event()
        self.counters = counters
        self._ledger = ledger
        self._hold_turn = figshare.hold_turn
        self._producer = Producer(
            ledger=ledger,
            figshare=figshare,
            sources=sources,
            tasks=frozenset(task.name for task in item_tasks),
            counters=counters,
            stopping=self.stopping,
            quick=quick,
        )
        self._item_tasks = item_tasks
        self._file_task = file_task
        self._concurrency = concurrency
        self._all_listed = anyio.Event()
        self._all_visited = anyio.Event()
        self._visits = self._transfers = 0  # read from the ledger and not ended
        self._in_hand: dict[int, _InHand] = {}

    async def prepare(self) -> None:
        """Settle what is to be listed, before anything is recorded; see `Producer.prepare`."""
        await self._producer.prepare()

    def stop(self) -> None:
        """Take no new work; what is in hand gets `GRACE_SECONDS` to end."""
        self.stopping.set()
        self._producer.stop()
        self._ledger.notify()

    async def run(self, retries: Sequence[Listing] = ()) -> None:
        """
        Do all that is owed, or all that can be done before `stop`; can be run again when more is owed.

        `retries`: see `Producer.run`.

        Raises:
            FatalError: it cannot go on. What was done until then is in the ledger.
        """
        self._all_listed, self._all_visited, self._visits = anyio.Event(), anyio.Event(), 0
        self._transfers = 0
        self._in_hand.clear()
        with CancelScope() as in_hand:
            await run_with_background(partial(self._flow, retries), partial(self._grace, in_hand))
        await self._ledger.flush()

    async def _flow(self, retries: Sequence[Listing]) -> None:
        queue = create_memory_object_stream[PendingItem](self._concurrency.queue)
        transfers = create_memory_object_stream[PendingFile](self._concurrency.downloads)
        async with create_task_group() as group:
            group.start_soon(self._list, retries)
            group.start_soon(
                self._feed, self._ledger.owed_items, queue[0], self._all_listed, lambda: self._visits == 0
            )
            group.start_soon(self._visit_all, queue[1])
            group.start_soon(
                self._feed, self._ledger.owed_files, transfers[0], self._all_visited, self._is_idle
            )
            group.start_soon(self._fetch_all, transfers[1])

    async def _grace(self, in_hand: CancelScope) -> None:
        await self.stopping.wait()
        await anyio.sleep(GRACE_SECONDS)
        in_hand.cancel()

    async def _list(self, retries: Sequence[Listing]) -> None:
        await self._producer.run(retries)
        self._all_listed.set()
        self._ledger.notify()

    # -- from the ledger to a queue ---------------------------------------------------------------

    async def _feed(
        self,
        owed_after: Callable[[int, int], Awaitable[list[Owed]]],
        queue: MemoryObjectSendStream[Owed],
        all_known: anyio.Event,
        is_idle: Callable[[], bool],
    ) -> None:
        seq = 0
        async with queue:
            while not self.stopping.is_set():
                # All before looking: what comes while we look is then seen the next time.
                is_last_look = all_known.is_set() and is_idle()
                if is_last_look:
                    await self._ledger.flush()
                changed = self._ledger.changed
                batch = await owed_after(seq, FEED_AT_ONCE)
                self._take_in_hand(batch)
                try:
                    for owed in batch:
                        try:
                            queue.send_nowait(owed)
                        except anyio.WouldBlock:
                            await queue.send(owed)
                        seq = owed.seq
                except anyio.BrokenResourceError:  # the workers have stopped
                    return
                if not batch:
                    if is_last_look:
                        return
                    await changed.wait()

    # -- items ------------------------------------------------------------------------------------

    def _is_idle(self) -> bool:
        """Tell whether nobody is at work who may put a file in line."""
        return not (self._visits or self._transfers)

    def _take_in_hand(self, batch: Sequence[PendingItem | PendingFile]) -> None:
        for owed in batch:
            self._transfers += isinstance(owed, PendingFile)
            if isinstance(owed, PendingItem):
                self._visits += 1
                self._in_hand.setdefault(owed.key, _InHand()).visits += 1

    async def _visit_all(self, queue: MemoryObjectReceiveStream[PendingItem]) -> None:
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
            while (owed := await _next(own_end)) is not None and not self.stopping.is_set():
                await do(owed)

    async def _visit(self, item: PendingItem) -> None:
        in_hand = self._in_hand[item.key]
        async with in_hand.one_at_a_time, self._hold_turn():
            await self._visit_alone(replace(item, tasks=item.tasks - in_hand.counted), in_hand)
        in_hand.visits -= 1
        if not in_hand.visits:
            del self._in_hand[item.key]

    async def _visit_alone(self, item: PendingItem, in_hand: _InHand) -> None:
        states: dict[str, WorkState] = {}
        failures: list[Failure] = []
        findings: list[TaskResult] = []
        for task in self._item_tasks:
            if task.name not in item.tasks:
                continue
            states[task.name], found, failure = await self._do(task, item)
            findings += [found] if found is not None else []
            failures += [failure] if failure is not None else []
            if states[task.name] is WorkState.EXCLUDED:
                states = dict.fromkeys(self._tasks_of(item), WorkState.EXCLUDED)
                break
        in_hand.counted |= {name for name, state in states.items() if state is WorkState.DONE} - {RECORD}
        result = ItemResult(item.key, states, tuple(failures), tuple(findings), item.seq)
        await self._ledger.save_item(result)
        self._count(findings, failed=bool(failures))
        self._visits -= 1
        if not self._visits:
            self._ledger.notify()

    async def _do(self, task: ItemTask, item: PendingItem) -> _Outcome:
        """Do one task on an item; return its new state, what it found and what of it failed."""
        try:
            found = await task.visit(item)
        except (PermanentError, TransientError) as error:
            return self._missed(task, item, error)
        if found.excluded:
            return WorkState.EXCLUDED, found, None
        if not found.doubt:
            return WorkState.DONE, found, None
        # What came is kept; that it may not be all is told, and asked for again.
        log.warning("item %d, %s: %s", item.id, found.doubt_of or task.name, found.doubt)
        doubt = Failure(
            task.name, found.doubt, DoubtfulResponse.failure_kind, item.id, reported_as=found.doubt_of
        )
        return WorkState.FAILED, found, doubt

    def _missed(self, task: ItemTask, item: PendingItem, error: PermanentError | TransientError) -> _Outcome:
        told, failure_kind = str(error), error.failure_kind
        if isinstance(error, NotFound) and item.known and task.tells_of_withdrawal:
            if item.withdrawn:
                return WorkState.WITHDRAWN, None, None
            # One answer is no proof: at the end of the run all of this kind are looked at together.
            told, failure_kind = (
                f"{error}: not marked as withdrawn before the run ends",
                FailureKind.SUSPECTED,
            )
            log.debug("item %d, %s: %s", item.id, task.name, told)
        else:
            log.warning("item %d, %s: %s", item.id, task.name, error)
        failure = Failure(task.name, told, failure_kind, item.id, attempts=error.attempts)
        return WorkState.FAILED, None, failure

    def _tasks_of(self, item: PendingItem) -> list[str]:
        return [task.name for task in self._item_tasks if task.name in item.tasks]

    def _count(self, findings: Sequence[TaskResult], *, failed: bool) -> None:
        counters = self.counters
        if failed:
            counters.items_failed += 1
        else:
            counters.items_done += 1
        for found in findings:
            counters.items_pending += len(found.versions)
            if self._file_task is not None:
                counters.files_pending += sum(
                    placed.status is FileStatus.PENDING for placed in found.files or ()
                )
            if found.warning:
                counters.warn(found.warning)

    # -- files ------------------------------------------------------------------------------------

    async def _fetch_all(self, queue: MemoryObjectReceiveStream[PendingFile]) -> None:
        async with queue, create_task_group() as group:
            for _ in range(FILES_PER_SLOT * self._concurrency.downloads):
                group.start_soon(self._work, self._fetch, queue)

    async def _fetch(self, owed: PendingFile) -> None:
        try:
            await self._fetch_or_fail(owed)
        except Deferred as put_off:
            log.info("item %d, file %d: %s", owed.item_id, owed.file.id, put_off)
            await self._ledger.put_off(owed)
        self._transfers -= 1
        if not self._transfers:
            self._ledger.notify()

    async def _fetch_or_fail(self, owed: PendingFile) -> None:
        assert self._file_task is not None, "no file is in line without the task"
        try:
            result = await self._file_task.fetch(owed)
            is_here = result.status is FileStatus.DONE
            self.counters.files_done += is_here
            self.counters.files_pending -= not is_here  # withheld after all
        except Deferred:
            raise
        except (PermanentError, TransientError) as error:
            result = FileResult(
                owed.key, owed.file.id, FileStatus.FAILED, str(error), error.attempts, error.failure_kind
            )
            if isinstance(error, InsufficientSpace):
                self.counters.no_room = str(error)
            self.counters.files_failed += 1
            log.warning("item %d, file %d: %s", owed.item_id, owed.file.id, error)
        await self._ledger.save_file(replace(result, seq=owed.seq))


async def _next(queue: MemoryObjectReceiveStream[Owed]) -> Owed | None:
    """Take what is next in a queue, at once where something waits; None at its end."""
    try:
        return queue.receive_nowait()
    except anyio.WouldBlock:
        with suppress(anyio.EndOfStream):
            return await queue.receive()
    except anyio.EndOfStream:
        pass
    return None
