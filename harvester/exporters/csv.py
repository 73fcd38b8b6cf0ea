"""
The ledger as tables for spreadsheets and data frames.

A text that a spreadsheet would run as a formula gets an apostrophe before it; ids, numbers, paths never.
It begins with a tab, a line break, or = + - @, also in full width and behind blanks, which some spreadsheets
drop. Cells with a semicolon stand in quotes: in half of the world spreadsheets part a line there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from harvester.figshare.records import read_description
from harvester.ledger.reader import Reader
from harvester.ledger.rows import FileRow
from harvester.models import FileStatus
from harvester.storage.local import atomic_write, item_dir
from harvester.text.fields import join_values

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BREAKS = ("\t", "\r", "\n")
_BLANKS = " \u00a0\u200b\u2060\u3000\ufeff"
LONGEST_CELL = 32_767
"""Characters that a spreadsheet keeps of a cell; what is beyond would go over into others."""
_FOR_THE_MARK = 67

ITEMS = (
    "id", "title", "doi", "type", "created_date", "published_date", "modified_date", "licence",
    "group_id", "authors", "categories", "files", "bytes",
)  # fmt: skip
STATS = ("item_id", "total_views", "total_downloads")
STATS_SHARES = ("item_id", "total_shares")
STATS_HISTORY = ("item_id", "asked_at", "total_views", "total_downloads", "total_shares")
STATS_TIMELINE = ("item_id", "counter", "granularity", "date", "number")
STATS_BREAKDOWN = ("item_id", "counter", "granularity", "date", "country", "number")
FILES = ("item_id", "file_id", "name", "path", "size", "md5", "status", "reason", "url", "version")
CHANGES = ("item_id", "version", "change", "fields", "files")
VERSIONS = ("item_id", "version", "doi", "files", "bytes", "folder")
FAILURES = ("item_id", "file_id", "task", "error", "attempts")


class CsvTables:
    """Writes every table, also one without rows; for several values in one cell see `text.join_values`."""

    format: ClassVar[str] = "csv"

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        tables = (
            ("items.csv", ITEMS, _items(reader)),
            ("stats.csv", STATS, reader.totals()),
            ("stats_shares.csv", STATS_SHARES, reader.shares()),
            ("stats_history.csv", STATS_HISTORY, reader.history()),
            ("stats_timeline.csv", STATS_TIMELINE, _timeline(reader)),
            ("stats_breakdown.csv", STATS_BREAKDOWN, _breakdown(reader)),
            ("files.csv", FILES, _files(reader)),
            ("changes.csv", CHANGES, _changes(reader)),
            ("versions.csv", VERSIONS, _versions(reader)),
        )
        return [write_table(folder / name, header, rows) for name, header, rows in tables]


def _items(reader: Reader) -> Iterator[tuple[object, ...]]:
    last = None
    for row in reader.items():
        if row.version and row.id == last:  # versions.csv has those
            continue
        last = row.id
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
            plain(join_values(shown.authors)),
            plain(join_values(shown.categories)),
            row.files,
            row.bytes,
        )


def _timeline(reader: Reader) -> Iterator[tuple[object, ...]]:
    for item_id, counter, granularity, _, date, number in reader.uses(by_country=False):
        yield item_id, counter, granularity, date, number


def _breakdown(reader: Reader) -> Iterator[tuple[object, ...]]:
    for item_id, counter, granularity, country, date, number in reader.uses(by_country=True):
        yield item_id, counter, granularity, date, plain(country), number


def _files(reader: Reader) -> Iterator[tuple[object, ...]]:
    for file in reader.files():
        yield (
            file.item_id, file.file_id, plain(file.name), file.path, file.size, file.md5, file.status,
            plain(_reason(file)), plain(file.url), file.version or None,
        )  # fmt: skip


def _reason(file: FileRow) -> str:
    """Say why a file is not here; the ledger has no word for the usual reason why one is skipped."""
    is_excluded = file.status == FileStatus.SKIPPED and not file.reason
    return "excluded by the file rules" if is_excluded else file.reason


def _changes(reader: Reader) -> Iterator[tuple[object, ...]]:
    for item_id, version, change, fields, files in reader.changes():
        yield item_id, version or None, change, plain(fields), plain(files)


def _versions(reader: Reader) -> Iterator[tuple[object, ...]]:
    for row in reader.versions():
        doi = plain(read_description(row.raw).doi)
        yield row.id, row.version, doi, row.files, row.bytes, item_dir(row.id, row.version)


def write_failures(reader: Reader, folder: Path) -> Path:
    """Write failures.csv: everything that could not be had, and why."""
    rows = (
        (
            f.item_id,
            f.file_id,
            f.task,
            plain(": ".join(filter(None, (f.subject, f"version {f.version}" if f.version else "", f.error)))),
            f.attempts,
        )
        for f in reader.failures()
    )
    return write_table(folder / "failures.csv", FAILURES, rows)


def plain(text: str) -> str:
    """Make a text harmless to spreadsheets, short enough for them, and writable as UTF-8."""
    if len(text) > LONGEST_CELL - _FOR_THE_MARK:
        text = f"{text[: LONGEST_CELL - _FOR_THE_MARK]}… [cut: {len(text)} characters]"
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    if "\0" in text:
        text = text.replace("\0", "")
    is_formula = text.startswith(_BREAKS) or text.lstrip(_BLANKS).startswith(_FORMULA)
    return f"'{text}" if is_formula else text


class _WithoutLast:
    """Writes lines without their last character."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text

    def write(self, line: str) -> int:
        return self._text.write(line[:-1])


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Path:
    """Write one CSV table in the dialect of RFC 4180, UTF-8; None becomes an empty cell."""
    with atomic_write(path) as handle:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
        # csv quotes what has a character of the line's end in it: that is how a semicolon gets its quotes.
        writer = csv.writer(_WithoutLast(text), lineterminator="\r\n;")
        writer.writerow(header)
        writer.writerows(rows)
        text.flush()
        text.detach()
    return path
