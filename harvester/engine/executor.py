"""
Executor: runs the work on items and files, in this process or in others.

`process` and `fetch` do all the work; they take values and return values. A process can run them after it has
built its services from the config. They do not use the ledger: the item or file contains the data of earlier
runs that tasks need, and the pipeline saves the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from harvester.client import note_files
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
from harvester.models import Failure, PendingFile, PendingItem, TaskResult
from harvester.states import FileStatus, WorkState
from harvester.tasks import FileTask, ItemTask

FILES_PER_SLOT = 2
"""Files in flight for each download slot: while one is downloaded, another is verified and renamed."""


class MemoryPermit(Protocol):
    """The permit to hold something large in memory."""

    async def acquire(self) -> None:
        """Wait until no other large object is in memory."""
        ...


class Services(Protocol):
    """
    The services that tasks use; each process builds its own from the config.

    ``item_tasks``: in the order in which they run.
    ``file_task``: None if no files are fetched.
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

    ``item_slots``, ``file_slots``: how many items and files it accepts at the same time.

    Its calls raise `FatalError` if the run cannot continue; any other failure is in the result.
    """

    @property
    def item_slots(self) -> int: ...

    @property
    def file_slots(self) -> int: ...

    def hold_memory(self) -> AbstractAsyncContextManager[MemoryPermit]:
        """
        Return a context for one item, until its result is saved.

        Only one of them at a time has the permit.
        """
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
    Run the pending tasks of an item, in order; a failed one does not stop the others.

    Raises:
        FatalError: the run cannot continue.
    """
    names = [task.name for task in services.item_tasks if task.name in item.tasks]
    outcomes: dict[str, _Outcome] = {}
    for task in services.item_tasks:
        if task.name in names:
            outcomes[task.name] = await _run(task, item)
            if services.file_task is not None:
                _note_files(outcomes[task.name].result)
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


def _note_files(result: TaskResult | None) -> None:
    """Note which files the record of an item brings, as its other tasks may take long."""
    if result is not None and (result.record is not None or result.files is not None):
        pending = [each.file.size for each in result.files or () if each.status is FileStatus.PENDING]
        note_files(len(pending), sum(pending))


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
    # The result is saved; as it may be incomplete, it also counts as a failure and is requested again.
    kind = DoubtfulResponse.failure_kind
    failure = Failure(task.name, result.doubt, kind, item.item_id, reported_as=result.doubt_of)
    return _Outcome(WorkState.FAILED, result, failure)


def _outcome_of(error: PermanentError | TransientError, task: ItemTask, item: PendingItem) -> _Outcome:
    text, kind = str(error), error.failure_kind
    if isinstance(error, NotFound) and item.known and task.tells_of_withdrawal:
        if item.withdrawn:
            return _Outcome(WorkState.WITHDRAWN)
        # One answer is no proof: the end of the run decides about all items of this kind together.
        text, kind = f"{text}: not marked as withdrawn before the run ends", FailureKind.SUSPECTED
    failure = Failure(
        task.name, text, kind, item.item_id, attempts=error.attempts, common_cause=error.common_cause
    )
    return _Outcome(WorkState.FAILED, failure=failure)


async def fetch(file: PendingFile, services: Services) -> FileResult:
    """
    Fetch a file.

    Raises:
        FatalError: the run cannot continue.
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
            common_cause=error.common_cause,
        )
