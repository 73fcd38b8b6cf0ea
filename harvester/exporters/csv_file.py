"""CSV writer: writes a table as RFC 4180 and UTF-8, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harvester.exporters.columns import Column, Table, Type
from harvester.exporters.tables import clean_cell
from harvester.ledger.reader import Reader
from harvester.storage.atomic_file import atomic_write
from harvester.text.fields import join_values


def write_table(table: Table[Any], reader: Reader, folder: Path, *, mark: str = "") -> Path:
    """Write one table into a folder, and return its path; `mark`: a byte order mark, or ""."""
    rows: Iterable[Sequence[object]] = table.rows(reader)
    if any(column.type in _WRITERS for column in table.columns):
        rows = _cells(rows, table.columns)
    return write_rows(folder / f"{table.name}.csv", table.header, rows, mark=mark)


def _list_cell(texts: Iterable[str]) -> str:
    return clean_cell(join_values(texts))


_WRITERS: dict[Type, Callable[[Any], str]] = {
    Type.TEXT: clean_cell,
    Type.TIME: clean_cell,  # figshare's may be any text
    Type.TEXTS: _list_cell,
}
"""The functions that write cells of a type; cells of other types are unchanged."""


def _cells(rows: Iterable[Sequence[object]], columns: Sequence[Column]) -> Iterator[Sequence[object]]:
    """Yield each row with sanitised texts and joined lists."""
    texts = [
        (place, _WRITERS[column.type]) for place, column in enumerate(columns) if column.type in _WRITERS
    ]
    for row in rows:
        cells = list(row)
        for place, write in texts:
            if cells[place] is not None:
                cells[place] = write(cells[place])
        yield cells


class _WithoutLast:
    """Writes lines without their last character."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, line: str) -> int:
        return self._text.write(line[:-1])


def write_rows(
    path: Path, header: Iterable[str], rows: Iterable[Iterable[object]], *, mark: str = ""
) -> Path:
    """
    Write rows to one file; None becomes an empty cell.

    Cells with a semicolon are quoted, as spreadsheets in many countries split a line there.
    """
    with atomic_write(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
        text.write(mark)
        # csv quotes cells that contain a character of the line terminator, so ";" is made part of it.
        writer = csv.writer(_WithoutLast(text), lineterminator="\r\n;")
        writer.writerow(header)
        writer.writerows(rows)
        text.flush()
        text.detach()
    return path
