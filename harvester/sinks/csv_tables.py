"""
items.csv, stats.csv, files.csv: the ledger as tables for spreadsheets and data frames.

A text that a spreadsheet would run as a formula (it begins with = + - @, a tab or a carriage return) gets an
apostrophe before it; ids, numbers and paths never do.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from harvester.figshare.records import read_description
from harvester.ledger.reading import Reader
from harvester.store import rewrite

_FORMULA = ("=", "+", "-", "@", "\t", "\r")

ITEMS = (
    "id", "title", "doi", "type", "created_date", "published_date", "modified_date", "licence",
    "group_id", "authors", "categories", "files", "bytes",
)  # fmt: skip
STATS = ("item_id", "total_views", "total_downloads")
FILES = ("item_id", "file_id", "name", "path", "size", "md5", "status")
FAILURES = ("item_id", "file_id", "task", "error", "attempts")


class CsvTables:
    """Writes three tables; several values in one cell are joined by "; "."""

    format: ClassVar[str] = "csv"

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        tables = (
            ("items.csv", ITEMS, _items(reader)),
            ("stats.csv", STATS, reader.totals()),
            ("files.csv", FILES, _files(reader)),
        )
        return [write_table(folder / name, header, rows) for name, header, rows in tables]


def _items(reader: Reader) -> Iterator[tuple[object, ...]]:
    for row in reader.items():
        shown = read_description(row.raw)
        yield (
            row.id,
            plain(shown.title),
            plain(shown.doi),
            plain(shown.type),
            plain(shown.created_date),
            plain(shown.published_date),
            plain(shown.modified_date),
            plain(shown.licence),
            shown.group_id,
            plain("; ".join(shown.authors)),
            plain("; ".join(shown.categories)),
            row.files,
            row.bytes,
        )


def _files(reader: Reader) -> Iterator[tuple[object, ...]]:
    for file in reader.files():
        yield (
            file.item_id, file.file_id, plain(file.name), file.path, file.size, file.md5, file.status,
        )  # fmt: skip


def write_failures(reader: Reader, folder: Path) -> Path:
    """Write failures.csv: everything that could not be had, and why."""
    rows = (
        (
            f.item_id,
            f.file_id,
            f.task,
            plain(f"{f.subject}: {f.error}" if f.subject else f.error),
            f.attempts,
        )
        for f in reader.failures()
    )
    return write_table(folder / "failures.csv", FAILURES, rows)


def plain(text: str) -> str:
    """Make a text harmless to spreadsheets, and writable as UTF-8."""
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    if "\0" in text:
        text = text.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write one CSV table in the dialect of RFC 4180, UTF-8; None becomes an empty cell."""
    with rewrite(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(header)
        writer.writerows(rows)
        text.flush()
        text.detach()
    return path
