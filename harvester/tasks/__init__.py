"""
Tasks: the kinds of work on an item or a file. A new task is a new module here and a line in `plugins.py`.

A task is a frozen dataclass; its fields are the services that it uses, by name: see `jobs.task_services`. It
takes values and returns values. No task uses the ledger, so any process can run it.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from harvester.ledger.messages import FileResult
from harvester.models import PendingFile, PendingItem, TaskResult


class ItemTask(Protocol):
    """
    One kind of work on an item.

    ``tells_of_withdrawal``: a NotFound means that the item is no longer public.
    """

    name: ClassVar[str]
    tells_of_withdrawal: ClassVar[bool]

    async def process(self, item: PendingItem) -> TaskResult:
        """Return the result for the item; raises what the client raises."""
        ...


class FileTask(Protocol):
    """The work on a pending file."""

    name: ClassVar[str]

    async def fetch(self, file: PendingFile) -> FileResult:
        """Download the file to its path; raises what the client raises."""
        ...


__all__ = ["FileTask", "ItemTask"]
