"""
Tasks: what is done with an item or a file. A new one is a new module here and a line in `plugins.py`.

A task is a frozen dataclass; its fields are the services that it works with, by name: see
`jobs.task_services`. Values go in and values come out: no task knows the ledger, so any process can run it.
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
        """Return what was learned of the item; raises what the client raises."""
        ...


class FileTask(Protocol):
    """The work on a pending file."""

    name: ClassVar[str]

    async def fetch(self, file: PendingFile) -> FileResult:
        """Bring the file to its path; raises what the client raises."""
        ...


__all__ = ["FileTask", "ItemTask"]
