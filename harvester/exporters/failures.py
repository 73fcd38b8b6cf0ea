"""Failures exporter, failures.csv: all failed items and files, with the reason. It is always written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harvester.exporters.csv_file import write_table
from harvester.exporters.tables import FAILURES
from harvester.ledger.reader import Reader


@dataclass(frozen=True)
class Failures:
    """Write failures.csv, with only its header if nothing failed."""

    format: ClassVar[str] = "failures"
    files: ClassVar[Sequence[str]] = ("failures.csv",)

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        return [write_table(FAILURES, reader, folder)]
