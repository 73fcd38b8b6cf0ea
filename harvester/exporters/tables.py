"""
Output tables: the name and the rows of each table; `rows.py` has their columns.

Renderers such as `csv_file.py` and `frames.py` use these tables. `clean_cell` sanitises cells for
spreadsheets, against CSV injection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import cleandoc
from typing import Any

from harvester.exporters import rows
from harvester.exporters.columns import R, Table, columns_of
from harvester.figshare.listing_names import listing_name
from harvester.figshare.records import read_description
from harvester.ledger.reader import Reader
from harvester.ledger.rows import FileRow
from harvester.states import FileStatus
from harvester.storage.paths import item_dir

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_BREAKS = ("\t", "\r", "\n")
_BLANKS = " \u00a0\u200b\u2060\u3000\ufeff"
MAX_CELL_LENGTH = 32_767
"""Characters of the longest cell that spreadsheets accept; they would put the rest into other cells."""
_CUT_MARK_LENGTH = 67


def clean_cell(text: str) -> str:
    """
    Return a text that is safe for spreadsheets, short enough for them, and valid UTF-8.

    A text that a spreadsheet would run as a formula gets a leading apostrophe (CSV injection). Such a text
    begins with a tab, a line break, or = + - @, also in full width and after blanks, which some spreadsheets
    drop.
    """
    if len(text) > MAX_CELL_LENGTH - _CUT_MARK_LENGTH:
        text = f"{text[: MAX_CELL_LENGTH - _CUT_MARK_LENGTH]}… [cut: {len(text)} characters]"
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    if "\0" in text:
        text = text.replace("\0", "")
    is_formula = text.startswith(_BREAKS) or text.lstrip(_BLANKS).startswith(_FORMULA)
    return f"'{text}" if is_formula else text


def _items(reader: Reader) -> Iterator[rows.Item]:
    last = None
    for row in reader.items():
        if row.version and row.id == last:  # other versions are in versions.csv
            continue
        last = row.id
        shown = read_description(row.raw)
        yield rows.Item(
            row.id,
            shown.title,
            shown.doi,
            shown.type,
            shown.created_date,
            shown.published_date,
            shown.modified_date,
            shown.licence,
            shown.group_id,
            shown.authors,
            shown.categories,
            row.files,
            row.bytes,
        )


def _timeline(reader: Reader) -> Iterator[rows.StatsTimeline]:
    for item_id, counter, granularity, _, date, number in reader.usage_counts(by_country=False):
        yield rows.StatsTimeline(item_id, counter, granularity, date, number)


def _breakdown(reader: Reader) -> Iterator[rows.StatsBreakdown]:
    for item_id, counter, granularity, country, date, number in reader.usage_counts(by_country=True):
        yield rows.StatsBreakdown(item_id, counter, granularity, date, country, number)


def _files(reader: Reader) -> Iterator[rows.File]:
    for file in reader.files():
        yield rows.File(
            file.item_id, file.file_id, file.name, file.path, file.size, file.md5, file.status,
            _reason(file), file.url, file.version or None,
        )  # fmt: skip


def _reason(file: FileRow) -> str:
    """Return why a file is not here; the ledger stores "" for the usual reason, the file rules."""
    is_excluded = file.status == FileStatus.SKIPPED and not file.reason
    return "excluded by the file rules" if is_excluded else file.reason or file.failure_kind


def _changes(reader: Reader) -> Iterator[rows.Change]:
    for item_id, version, change, fields, files in reader.changes():
        yield rows.Change(item_id, version or None, change, fields, files)


def _versions(reader: Reader) -> Iterator[rows.Version]:
    for row in reader.versions():
        doi = read_description(row.raw).doi
        yield rows.Version(row.id, row.version, doi, row.files, row.bytes, item_dir(row.id, row.version))


def _failures(reader: Reader) -> Iterator[rows.Failure]:
    for f in reader.failures():
        subject = (listing_name(f.subject), f"version {f.version}" if f.version else "", f.error)
        yield rows.Failure(f.item_id, f.file_id, f.task, ": ".join(filter(None, subject)), f.attempts)


def _table(name: str, row: type[R], read: Callable[[Reader], Iterator[R]]) -> Table[R]:
    """Return a table, which its row type describes."""
    return Table(name, cleandoc(row.__doc__ or ""), columns_of(row), read)


ITEMS = _table("items", rows.Item, _items)
STATS = _table("stats", rows.Stats, lambda reader: map(rows.Stats._make, reader.totals()))
STATS_SHARES = _table(
    "stats_shares", rows.StatsShares, lambda reader: map(rows.StatsShares._make, reader.shares())
)
STATS_HISTORY = _table(
    "stats_history", rows.StatsHistory, lambda reader: map(rows.StatsHistory._make, reader.history())
)
STATS_TIMELINE = _table("stats_timeline", rows.StatsTimeline, _timeline)
STATS_BREAKDOWN = _table("stats_breakdown", rows.StatsBreakdown, _breakdown)
FILES = _table("files", rows.File, _files)
CHANGES = _table("changes", rows.Change, _changes)
VERSIONS = _table("versions", rows.Version, _versions)
FAILURES = _table("failures", rows.Failure, _failures)

TABLES: tuple[Table[Any], ...] = (
    ITEMS,
    STATS,
    STATS_SHARES,
    STATS_HISTORY,
    STATS_TIMELINE,
    STATS_BREAKDOWN,
    FILES,
    CHANGES,
    VERSIONS,
)
"""All tables that an output format renders, in this order; `FAILURES` is always written as failures.csv."""
