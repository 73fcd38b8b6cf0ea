"""Messages between a run and the ledger: results, progress, and the specification of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from harvester.models import Failure, ItemKey, TaskResult, Unresolved
from harvester.states import FileStatus, WorkState

RECORD = "metadata"
"""The task that requests records: the only one that a listing can make pending again."""


class ItemResult(Struct, frozen=True):
    """
    The result of processing an item once.

    ``states``: task to its new state.
    ``findings``: the results of the tasks that succeeded.
    ``seq``: with which it was processed: an item with another one by now stays in the queue. None: any.
    """

    item_key: ItemKey
    states: Mapping[str, WorkState]
    failures: tuple[Failure, ...] = ()
    findings: tuple[TaskResult, ...] = ()
    seq: int | None = None


class FileResult(Struct, frozen=True):
    """
    The result of one pending file.

    ``failure_kind``: of a failed one, see `errors.FailureKind`. ``common_cause``: see `errors.HarvestError`.
    ``reason``: why one is withheld.

    ``seq``: with which it was fetched: it is ignored if the file has another one by now, as its record was
    read again. None: any.
    ``path`` and ``size``: of a downloaded file.
    """

    item_key: ItemKey
    file_id: int
    status: FileStatus
    error: str = ""
    attempts: int = 0
    failure_kind: str = ""
    reason: str = ""
    seq: int | None = None
    path: str = ""
    size: int = 0
    lacks_space: bool = False
    common_cause: str = ""


class ListingFailure(Struct, frozen=True):
    """A failed listing; the next run continues at the failed page, or restarts the listing."""

    failure: Failure
    begin_anew: bool


class ListingProgress(Struct, frozen=True):
    """
    The progress of a listing.

    ``named``: listed items. ``unique``: different ones among them.
    """

    cursor: str | None = None
    complete: bool = False
    named: int = 0
    unique: int = 0


class AddedItems(Struct, frozen=True):
    """
    The result of a page.

    ``pending``: items with new pending work, none of which was in the queue. ``requeued``: the keys of those
    that are known. ``listed``: the progress of the listing.
    ``unresolved``: names without an item, except those of harvested items.
    """

    pending: int
    listed: ListingProgress
    unresolved: tuple[Unresolved, ...] = ()
    requeued: tuple[ItemKey, ...] = ()


class RequeuedWork(Struct, frozen=True):
    """The numbers of failed items, files and names that were queued again; ``names``: without an item."""

    listings: int
    items: int
    files: int
    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listings or self.items or self.files or self.names)


class TaskParams(Struct, frozen=True):
    """
    The parameters of an item task as text; if they change, the task is done again for all items.

    ``usual``: the value in ledgers that stored no parameters yet, "" if there was no such task then.
    ``adds_up``: it is a list, with commas; a part of the stored list is no change.
    """

    task: str
    value: str
    usual: str = ""
    adds_up: bool = False

    def after(self, before: str | None) -> tuple[bool, str]:
        """Return whether the parameters differ from the stored ones (None: none), and what to store."""
        known = before if before is not None else self.usual or self.value
        if not self.adds_up:
            return self.value != known, self.value
        parts = {*known.split(","), *self.value.split(",")}
        return parts != set(known.split(",")), ",".join(sorted(parts))


class RunSpec(Struct, frozen=True):
    """
    What a run is going to do.

    ``refresh``: tasks to do again for every item.
    ``accepts``: whether the file rules accept a ``folder/name`` with a size in bytes.
    ``max_total``: bytes of all files at most, 0 for no limit.
    ``task_params``: the parameters of item tasks.
    ``max_ages``: task to seconds: items whose task was done earlier than this ago do it again.
    ``quick``: complete listings are not read again; only items modified since are requested.
    """

    item_tasks: frozenset[str]
    with_files: bool
    refresh: frozenset[str] = frozenset()
    accepts: Callable[[str, int], bool] = lambda _name, _size: True
    max_total: int = 0
    task_params: tuple[TaskParams, ...] = ()
    max_ages: Mapping[str, float] = {}
    quick: bool = False
