"""
Output formats, each written from the ledger. A new format is a new module here and a line in `plugins.py`.

Sinks are plain synchronous code over a `Reader`, run in a worker thread; each file is written beside
its place and renamed into it, so that a reader never meets half a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from harvester.ledger.reader import Reader


class Exporter(Protocol):
    """One output format."""

    format: ClassVar[str]

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        """Write the whole output into `folder` and return the files made."""
        ...


__all__ = ["Sink"]
