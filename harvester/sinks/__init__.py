"""
Output formats, each written from the ledger. A new format is a new module here and a line in `SINKS`.

Sinks are plain synchronous code over a `Reader`, run in a worker thread; each file is written beside
its place and renamed into it, so that a reader never meets half a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from harvester.ledger import Reader
from harvester.sinks.csv_tables import CsvTables, write_failures
from harvester.sinks.jsonl import JsonLines


class Sink(Protocol):
    """One output format."""

    format: ClassVar[str]

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        """Write the whole output into `folder` and return the files made."""
        ...


SINKS: Mapping[str, type[Sink]] = {sink.format: sink for sink in (JsonLines, CsvTables)}

__all__ = ["SINKS", "Sink", "write_failures"]
