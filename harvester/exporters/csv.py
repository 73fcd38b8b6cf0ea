"""CSV exporter: writes every table of `tables.py` to one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harvester.exporters.csv_file import write_table
from harvester.exporters.tables import TABLES
from harvester.ledger.reader import Reader


@dataclass(frozen=True)
class CsvTables:
    """Write every table, also one without rows."""

    format: ClassVar[str] = "csv"
    files: ClassVar[Sequence[str]] = tuple(f"{table.name}.csv" for table in TABLES)

    byte_order_mark: bool = field(
        default=False,
        metadata={"description": "begin each file with a byte order mark: Excel then reads it as UTF-8"},
    )

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        mark = "\ufeff" if self.byte_order_mark else ""
        return [write_table(table, reader, folder, mark=mark) for table in TABLES]
