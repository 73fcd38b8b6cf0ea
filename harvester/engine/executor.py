"""
Executor: where the work on items and files runs, in this process or in others.

Values go in and values come out. `process` and `fetch` are the whole of the work. Any process can run them
that has built its services from the config. They need no ledger: what tasks must know of earlier runs comes
with the item or file, and the pipeline saves the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from harvester.config import Concurrency
from harvester.errors import (
    Deferred,
    DoubtfulResponse,
    FailureKind,
    InsufficientSpace,
    NotFound,
    PermanentError,
    TransientError,
)
from harvester.ledger.messages import FileResult, ItemResult
from harvester.models import Failure, FileStatus, PendingFile, PendingItem, TaskResult, WorkState
from harvester.tasks import FileTask, ItemTask

FILES_PER_SLOT = 2
"""Files in flight for each that may be in transfer: while one comes, another is proven and renamed."""


class MemoryPermit(Protocol):
    """The right to hold something large in memory."""

    async def acquire(self) -> None:
        """Wait until nothing else that is large is in memory."""
        ...


class Services(Protocol):
    """
    What the work is done with; each process builds its own from the config.

    ``item_tasks``: in the order in which they are done.
    ``file_task``: None where no files are fetched.
    ``hold_memory``: see `Executor.hold_memory`.
    """

    @property
    def item_tasks(self) -> Sequence[ItemTask]: ...

    @property
    def file_task(self) -> FileTask | None: ...

    @property
    def hold_memory(self) -> Callable[[], AbstractAsyncContextManager[MemoryPermit]]: ...


class Executor(Protocol):
    """
    Runs the work on items and files.

    ``item_slots``, ``file_slots``: how many items and files it is given at once.

    Its calls raise `FatalError` where the run cannot go on; any other failure is in the result.
    """

    @property
    def item_slots(self) -> int: ...

    @property
    def file_slots(self) -> int: ...

    def hold_memory(self) -> AbstractAsyncContextManager[MemoryPermit]:
        """Return a block for one item, until its result is saved; one such block at a time holds a permit."""
        ...

    async def process(self, item: PendingItem) -> ItemResult:
        """Run an item's pending tasks."""
        ...

    async def fetch(self, file: PendingFile) -> FileResult:
        """Fetch a file whose locks the caller holds."""
        ...


@dataclass(frozen=True)
class LocalExecutor:
    """Runs the work in this process, on its event loop."""

    services: Services
    concurrency: Concurrency

    @property
    def item_slots(self) -> int:
        return self.concurrency.workers

    @property
    def file_slots(self) -> int:
        return FILES_PER_SLOT * self.concurrency.downloads

    def hold_memory(self) -> AbstractAsyncContextManager[MemoryPermit]:
        return self.services.hold_memory()

    async def process(self, item: PendingItem) -> ItemResult:
        return await process(item, self.services)

    async def fetch(self, file: PendingFile) -> FileResult:
        return await fetch(file, self.services)


async def process(item: PendingItem, services: Services) -> ItemResult:
    """
    Run the pending tasks of an item, in their order; a failed one stops no other.

    Raises:
        FatalError: the run cannot go on.
    """
    names = [task.name for task in services.item_tasks if task.name in item.tasks]
    outcomes: dict[str, _Outcome] = {}
    for task in services.item_tasks:
        if task.name in names:
            outcomes[task.name] = await _run(task, item)
            if outcomes[task.name].state is WorkState.EXCLUDED:
                outcomes |= {name: _Outcome(WorkState.EXCLUDED) for name in names if name != task.name}
                break
    return ItemResult(
        item.item_key,
        {name: outcome.state for name, outcome in outcomes.items()},
        tuple([outcome.failure for outcome in outcomes.values() if outcome.failure is not None]),
        tuple([outcome.result for outcome in outcomes.values() if outcome.result is not None]),
        item.seq,
    )


class _Outcome(NamedTuple):
    state: WorkState
    result: TaskResult | None = None
    failure: Failure | None = None


async def _run(task: ItemTask, item: PendingItem) -> _Outcome:
    """Run one task on an item."""
    try:
        result = await task.process(item)
    except (PermanentError, TransientError) as error:
        return _outcome_of(error, task, item)
    if result.excluded:
        return _Outcome(WorkState.EXCLUDED, result)
    if not result.doubt:
        return _Outcome(WorkState.DONE, result)
    # What came is saved; that it may not be all is a failure, so that it is requested again.
    kind = DoubtfulResponse.failure_kind
    failure = Failure(task.name, result.doubt, kind, item.item_id, reported_as=result.doubt_of)
    return _Outcome(WorkState.FAILED, result, failure)


def _outcome_of(error: PermanentError | TransientError, task: ItemTask, item: PendingItem) -> _Outcome:
    text, kind = str(error), error.failure_kind
    if isinstance(error, NotFound) and item.known and task.tells_of_withdrawal:
        if item.withdrawn:
            return _Outcome(WorkState.WITHDRAWN)
        # One answer is no proof: at the end of the run all of this kind are decided on together.
        text, kind = f"{text}: not marked as withdrawn before the run ends", FailureKind.SUSPECTED
    failure = Failure(task.name, text, kind, item.item_id, attempts=error.attempts)
    return _Outcome(WorkState.FAILED, failure=failure)


async def fetch(file: PendingFile, services: Services) -> FileResult:
    """
    Fetch a file.

    Raises:
        FatalError: the run cannot go on.
    """
    assert services.file_task is not None, "no file is pending without the task"
    try:
        return await services.file_task.fetch(file)
    except Deferred as error:
        return FileResult(file.item_key, file.file.id, FileStatus.PENDING, str(error))
    except (PermanentError, TransientError) as error:
        return FileResult(
            file.item_key,
            file.file.id,
            FileStatus.FAILED,
            str(error),
            error.attempts,
            error.failure_kind,
            lacks_space=isinstance(error, InsufficientSpace),
        )
