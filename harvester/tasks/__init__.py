"""
What is done for an item. A new kind of work is a new module here and a line in `TASKS`.

A task is a frozen dataclass whose fields are the parts that it works with, by name: see `equip`. Tasks
on items run in the order of the table; the one on files fetches what the records made owed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from harvester.config import FileRules
from harvester.figshare import Figshare, Routes
from harvester.ledger import FileResult, Ledger
from harvester.models import Findings, OwedFile, OwedItem
from harvester.store import Store
from harvester.tasks.files import Files
from harvester.tasks.metadata import Metadata
from harvester.tasks.stats import Stats


class ItemTask(Protocol):
    """
    One kind of question about an item.

    ``tells_of_withdrawal``: that it is gone means that the item is no longer public.
    """

    name: ClassVar[str]
    tells_of_withdrawal: ClassVar[bool]

    async def visit(self, item: OwedItem) -> Findings:
        """Ask; raises what the client raises."""
        ...


class FileTask(Protocol):
    """What is done with an owed file."""

    name: ClassVar[str]

    async def fetch(self, owed: OwedFile) -> FileResult:
        """Bring it here; raises what the client raises."""
        ...


@dataclasses.dataclass(frozen=True)
class Parts:
    """What tasks may be made of."""

    figshare: Figshare
    routes: Routes
    ledger: Ledger
    store: Store
    rules: FileRules


TASKS: Mapping[str, type[Any]] = {task.name: task for task in (Metadata, Stats, Files)}


def item_task_names(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tasks on items that `wanted` takes: files are named by the record, so it is needed."""
    needed = {*wanted, "metadata"} if Files.name in wanted else set(wanted)
    return tuple(name for name in TASKS if name in needed and name != Files.name)


def equip(name: str, parts: Parts) -> Any:
    """Make the task `name` from the parts that its fields name."""
    cls = TASKS[name]
    return cls(**{field.name: getattr(parts, field.name) for field in dataclasses.fields(cls)})


__all__ = ["TASKS", "FileTask", "ItemTask", "Parts", "equip", "item_task_names"]
