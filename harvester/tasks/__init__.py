"""
What is done for an item. A new kind of work is a new module here and a line in `plugins.py`.

A task is a frozen dataclass whose fields are the parts that it works with, by name: see `job.Parts`. Tasks
on items run in the order of the table; the one on files fetches what the records made owed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from harvester.ledger.messages import FileResult
    from harvester.models import PendingFile, PendingItem, TaskResult


class ItemTask(Protocol):
    """
    One kind of question about an item.

    ``tells_of_withdrawal``: that it is gone means that the item is no longer public.
    """

    name: ClassVar[str]
    tells_of_withdrawal: ClassVar[bool]

    async def visit(self, item: PendingItem) -> TaskResult:
        """Ask; raises what the client raises."""
        ...


class FileTask(Protocol):
    """What is done with an owed file."""

    name: ClassVar[str]

    async def fetch(self, owed: PendingFile) -> FileResult:
        """Bring it here; raises what the client raises."""
        ...


__all__ = ["FileTask", "ItemTask"]
