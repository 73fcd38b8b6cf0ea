"""Messages between a run and the ledger: results, progress, and what the run sets out to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from harvester.models import Failure, FileStatus, ItemKey, TaskResult, WorkState

RECORD = "metadata"
"""The task that asks for records: the one that a listing can make pending again."""


class ItemResult(Struct, frozen=True):
    """
    All that one visit to an item gave.

    ``states``: task to its new state; ``findings``: one of each task that succeeded. ``seq``: the one
    in which it was visited: an item that has got another one since stays in line. None: whatever it has.
    """

    item_key: ItemKey
    states: Mapping[str, WorkState]
    failures: tuple[Failure, ...] = ()
    findings: tuple[TaskResult, ...] = ()
    seq: int | None = None


class FileResult(Struct, frozen=True):
    """
    What became of one pending file.

    ``failure_kind``: of a failed one, see `errors.FailureKind`. ``reason``: why one is withheld.

    ``seq``: the one in which it was fetched; it says nothing of a file that has another one by now, as
    its record was read again. None: whatever it has. ``path`` and ``size``: of one that is in its place.
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


class ListingFailure(Struct, frozen=True):
    """A listing that failed; the next run goes on at the page that failed, or begins it anew."""

    failure: Failure
    begin_anew: bool


class ListingProgress(Struct, frozen=True):
    """
    How far a listing has come.

    ``named``: items that it named, ``unique``: different ones among them.
    """

    cursor: str | None = None
    complete: bool = False
    named: int = 0
    unique: int = 0


class AddedItems(Struct, frozen=True):
    """What a page gave: ``pending``: items with new pending work; and the progress of the listing."""

    pending: int
    listed: ListingProgress


class RequeuedWork(Struct, frozen=True):
    """How much of what had failed is in line once more; ``names``: those that led to no item."""

    listings: int
    items: int
    files: int
    names: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listings or self.items or self.files or self.names)


class TaskParams(Struct, frozen=True):
    """
    What a task on items is asked for, in words: where that is another wish than before it is done again.

    ``usual``: what it was before there were wishes, "" where there was no such task. ``adds_up``: it is a
    list, with commas, and a part of what was asked for is no other wish.
    """

    task: str
    value: str
    usual: str = ""
    adds_up: bool = False

    def after(self, before: str | None) -> tuple[bool, str]:
        """Tell whether it is another wish than the one that was noted (None: none was), and what to note."""
        known = before if before is not None else self.usual or self.value
        if not self.adds_up:
            return self.value != known, self.value
        parts = {*known.split(","), *self.value.split(",")}
        return parts != set(known.split(",")), ",".join(sorted(parts))


class RunSpec(Struct, frozen=True):
    """
    What a run sets out to do, as far as the ledger must know.

    ``refresh``: tasks to be done again for every item. ``accepts``: whether the rules for files take
    one of this ``folder/name`` and size in bytes. ``max_total``: bytes that all files may have, 0 for any
    number. ``wishes``: what the tasks are asked for. ``quick``: listings that were read to their end are not
    read again but asked for what was modified since.
    """

    item_tasks: frozenset[str]
    with_files: bool
    refresh: frozenset[str] = frozenset()
    accepts: Callable[[str, int], bool] = lambda _name, _size: True
    max_total: int = 0
    task_params: tuple[TaskParams, ...] = ()
    quick: bool = False
