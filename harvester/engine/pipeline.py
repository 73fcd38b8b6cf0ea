"""
Pipeline: moves items and files through bounded queues to an executor, and its results to the ledger.

    sources ─► list ─► ledger ─► dispatch ─► process × slots ─► ledger ─► dispatch ─► fetch × slots ─► ledger
                                                   │                                      │
                                               executor                               executor

1. The producer reads the sources page by page; each page and its cursor are saved in the ledger.
2. `_dispatch` reads pending work from the ledger and puts it on a bounded queue, which gives back-pressure.
3. Each item gets its history from the ledger, is processed by the executor, and its result is saved.
4. Files that the records made pending are dispatched and fetched in the same way.
5. A stage ends when the stage before it has ended, nothing is pending, and nothing in flight can add work: an
   item can add other versions of itself, and a slow file is deferred. Its end closes the next queue.

So memory contains one page, two bounded queues and the work in flight, for lists of any length. A killed run
is resumed like any other: from the pending work in the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import anyio
from anyio import create_memory_object_stream, create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec.structs import replace

from harvester.engine.executor import Executor
from harvester.engine.listing import Producer
from harvester.engine.progress import RunCounters
from harvester.figshare.protocol import Listing
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RECORD, FileResult, ItemResult
from harvester.models import Failure, PendingFile, PendingItem, UsageSpan
from harvester.states import FileStatus, WorkState

log = logging.getLogger(__name__)
Pending = TypeVar("Pending", PendingItem, PendingFile)
HoldFile: TypeAlias = Callable[[PendingFile], AbstractAsyncContextManager[PendingFile | FileResult]]
"""Holds the locks on a file; yields the file to fetch, or its result if no request is needed."""

BATCH_SIZE = 256
"""Items or files that are read from the ledger at once."""


@dataclass
class _InFlight:
    """
    One item in flight: taken from the ledger, possibly several times, and not saved yet.

    A listing may contain the item again meanwhile: then only its record is requested again.

    ``count``: how often it was taken.
    ``lock``: it is processed once at a time.
    ``counted``: its statistics tasks that are done.
    """

    count: int = 0
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    counted: set[str] = field(default_factory=set)


class Pipeline:
    """
    One run over one ledger.

    `hold_file`: see `HoldFile`; None for a run that fetches no files.
    `span`: the days of which timelines and breakdowns are requested.
    `stopping`: set when the run must take no new work.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        producer: Producer,
        executor: Executor,
        hold_file: HoldFile | None,
        queue_size: int,
        span: UsageSpan | None,
        counters: RunCounters,
        stopping: anyio.Event,
    ) -> None:
        self.stopping = stopping
        self._counters = counters
        self._ledger = ledger
        self._producer = producer
        self._executor = executor
        self._hold_file = hold_file
        self._queue_size = queue_size
        self._span = span
        self._all_listed = anyio.Event()
        self._all_processed = anyio.Event()
        self._items = self._files = 0  # in flight
        self._in_flight: dict[int, _InFlight] = {}

    async def prepare(self) -> None:
        """Determine the listings to read, before anything is recorded; see `Producer.prepare`."""
        await self._producer.prepare()

    def stop(self) -> None:
        """Take no new work; the caller decides for how long it waits for the work in flight."""
        self.stopping.set()
        self._counters.stopping = True
        self._producer.stop()
        self._ledger.notify()

    async def run(self, retries: Sequence[Listing] = ()) -> None:
        """
        Do all pending work, or until `stop`; it can be called again when more work is pending.

        `retries`: listings of items that were not found, which are requested again.

        Raises:
            FatalError: the run cannot continue. The work done so far is saved in the ledger.
        """
        self._all_listed, self._all_processed = anyio.Event(), anyio.Event()
        self._items = self._files = 0
        self._in_flight.clear()
        await self._flow(retries)
        await self._ledger.flush()

    async def _flow(self, retries: Sequence[Listing]) -> None:
        ledger, executor = self._ledger, self._executor
        items = create_memory_object_stream[PendingItem](self._queue_size)
        files = create_memory_object_stream[PendingFile](max(1, executor.file_slots // 2))
        async with create_task_group() as group:
            start = group.start_soon
            start(self._list, retries)
            start(self._dispatch, ledger.pending_items, items[0], self._all_listed, lambda: not self._items)
            start(self._process_all, items[1])
            start(self._dispatch, self._pending_files, files[0], self._all_processed, self._is_idle)
            start(self._work, executor.file_slots, self._fetch, files[1])

    async def _list(self, retries: Sequence[Listing]) -> None:
        await self._producer.run(retries)
        self._all_listed.set()
        self._ledger.notify()

    # -- from the ledger to a queue ---------------------------------------------------------------

    async def _dispatch(
        self,
        pending_after: Callable[[int, int], Awaitable[list[Pending]]],
        queue: MemoryObjectSendStream[Pending],
        all_known: anyio.Event,
        is_idle: Callable[[], bool],
    ) -> None:
        seq = 0
        async with queue:
            while not self.stopping.is_set():
                # Take the event first, then read: work that is added meanwhile is seen the next time.
                is_last_look = all_known.is_set() and is_idle()
                if is_last_look:
                    await self._ledger.flush()
                changed = self._ledger.changed
                batch = await pending_after(seq, BATCH_SIZE)
                self._take_off(batch)
                try:
                    for pending in batch:
                        try:
                            queue.send_nowait(pending)
                        except anyio.WouldBlock:
                            await queue.send(pending)
                        seq = pending.seq
                except anyio.BrokenResourceError:  # the workers have stopped
                    return
                if not batch:
                    if is_last_look:
                        return
                    await changed.wait()

    async def _pending_files(self, after: int, most: int) -> list[PendingFile]:
        return await self._ledger.read(self._ledger.queue.files, after, most)

    def _take_off(self, batch: Sequence[PendingItem | PendingFile]) -> None:
        """Count a batch as in flight."""
        for pending in batch:
            if isinstance(pending, PendingFile):
                self._files += 1
            else:
                self._items += 1
                self._in_flight.setdefault(pending.item_key, _InFlight()).count += 1

    def _is_idle(self) -> bool:
        """Return whether no work in flight can make a file pending."""
        return not (self._items or self._files)

    async def _work(
        self, slots: int, do: Callable[[Pending], Awaitable[None]], queue: MemoryObjectReceiveStream[Pending]
    ) -> None:
        async with queue, create_task_group() as group:
            for _ in range(slots):
                group.start_soon(self._work_sequentially, do, queue)

    async def _work_sequentially(
        self, do: Callable[[Pending], Awaitable[None]], queue: MemoryObjectReceiveStream[Pending]
    ) -> None:
        with queue.clone() as own_end:
            while (pending := await _next(own_end)) is not None and not self.stopping.is_set():
                await do(pending)

    # -- items ------------------------------------------------------------------------------------

    async def _process_all(self, queue: MemoryObjectReceiveStream[PendingItem]) -> None:
        await self._work(self._executor.item_slots, self._process, queue)
        await self._ledger.flush()
        self._all_processed.set()
        self._ledger.notify()

    async def _process(self, item: PendingItem) -> None:
        in_flight = self._in_flight[item.item_key]
        async with in_flight.lock, self._executor.hold_memory() as memory:
            item = replace(item, tasks=item.tasks - in_flight.counted)
            if item.has_history:
                history = await self._ledger.histories.of_item(item, self._span, memory.acquire)
                item = replace(item, history=history)
            with self._counters.stages.items.unit():
                result = await self._executor.process(item)
            done = {task for task, state in result.states.items() if state is WorkState.DONE}
            in_flight.counted |= done - {RECORD}
            await self._ledger.save(result)
            self._report(item, result)
            self._items -= 1
            if not self._items:
                self._ledger.notify()
        in_flight.count -= 1
        if not in_flight.count:
            del self._in_flight[item.item_key]

    def _report(self, item: PendingItem, result: ItemResult) -> None:
        """Log and count the result of an item."""
        counters = self._counters
        for failure in result.failures:
            counters.failures.add(failure)
        counters.count_item(item.item_key, is_version=bool(item.version), has_failed=bool(result.failures))
        for found in result.findings:
            counters.add_versions(len(found.versions))
            if self._hold_file is not None:
                planned = [each for each in found.files or () if each.status is FileStatus.PENDING]
                counters.add_files(len(planned), sum(each.file.size for each in planned))
            if found.warning:
                counters.warn_of_item(found.warning)

    # -- files ------------------------------------------------------------------------------------

    async def _fetch(self, file: PendingFile) -> None:
        assert self._hold_file is not None, "no file is pending in a run that fetches none"
        async with self._hold_file(file) as held:
            with self._counters.stages.files.unit():
                result = held if isinstance(held, FileResult) else await self._executor.fetch(held)
        if result.status is FileStatus.PENDING:
            log.info("item %d, file %d: %s", file.item_id, file.file.id, result.error)
            await self._ledger.change(self._ledger.files.defer, file.item_key, file.file.id, file.seq)
        else:
            self._report_file(file, result)
            await self._ledger.save(replace(result, seq=file.seq))
        self._files -= 1
        if not self._files:
            self._ledger.notify()

    def _report_file(self, file: PendingFile, result: FileResult) -> None:
        """Log and count the result of a file."""
        counters = self._counters
        counters.bytes_left -= file.file.size
        if result.status is FileStatus.FAILED:
            counters.files_failed += 1
            if result.lacks_space:
                counters.no_room = result.error
                counters.files_without_room += 1
            counters.failures.add(
                Failure(
                    "files",
                    result.error,
                    result.failure_kind,
                    file.item_id,
                    file.file.id,
                    attempts=result.attempts,
                    common_cause=result.common_cause,
                )
            )
        elif result.status is FileStatus.DONE:
            counters.files_done += 1
            counters.bytes_done += result.size
        else:  # withheld
            counters.files_pending -= 1


async def _next(queue: MemoryObjectReceiveStream[Pending]) -> Pending | None:
    """Return the next value of a queue, without a task switch if one is ready; None at its end."""
    try:
        return queue.receive_nowait()
    except anyio.WouldBlock:
        with suppress(anyio.EndOfStream):
            return await queue.receive()
    except anyio.EndOfStream:
        pass
    return None
