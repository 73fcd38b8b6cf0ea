"""
Output tables: the name, the typed columns and the rows of each table.

A column is added only here: renderers such as `csv_file.py` use these tables. `clean_cell` sanitises cells
for spreadsheets, against CSV injection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

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

Row = tuple[object, ...]


class Type(StrEnum):
    """The type of the cells of a column; any cell may be None if the value is unknown."""

    INTEGER = "integer"
    TEXT = "text"  # written by people at figshare: a spreadsheet could run it as a formula
    TEXTS = "list of texts"  # a tuple of such texts
    WORD = "word"  # from a known set, or a path, checksum or date made or checked by the harvester


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: Type
    description: str


class Table(NamedTuple):
    """
    One table of the output.

    ``rows`` yields its rows, with one value for each of ``columns``.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    rows: Callable[[Reader], Iterator[Row]]

    @property
    def header(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


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


def _items(reader: Reader) -> Iterator[Row]:
    last = None
    for row in reader.items():
        if row.version and row.id == last:  # other versions are in versions.csv
            continue
        last = row.id
        shown = read_description(row.raw)
        yield (
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


def _timeline(reader: Reader) -> Iterator[Row]:
    for item_id, counter, granularity, _, date, number in reader.usage_counts(by_country=False):
        yield item_id, counter, granularity, date, number


def _breakdown(reader: Reader) -> Iterator[Row]:
    for item_id, counter, granularity, country, date, number in reader.usage_counts(by_country=True):
        yield item_id, counter, granularity, date, country, number


def _files(reader: Reader) -> Iterator[Row]:
    for file in reader.files():
        yield (
            file.item_id, file.file_id, file.name, file.path, file.size, file.md5, file.status,
            _reason(file), file.url, file.version or None,
        )  # fmt: skip


def _reason(file: FileRow) -> str:
    """Return why a file is not here; the ledger stores "" for the usual reason, the file rules."""
    is_excluded = file.status == FileStatus.SKIPPED and not file.reason
    return "excluded by the file rules" if is_excluded else file.reason or file.failure_kind


def _changes(reader: Reader) -> Iterator[Row]:
    for item_id, version, change, fields, files in reader.changes():
        yield item_id, version or None, change, fields, files


def _versions(reader: Reader) -> Iterator[Row]:
    for row in reader.versions():
        doi = read_description(row.raw).doi
        yield row.id, row.version, doi, row.files, row.bytes, item_dir(row.id, row.version)


def _failures(reader: Reader) -> Iterator[Row]:
    for f in reader.failures():
        subject = (f.subject, f"version {f.version}" if f.version else "", f.error)
        yield f.item_id, f.file_id, f.task, ": ".join(filter(None, subject)), f.attempts


_ITEM_ID = Column("item_id", Type.INTEGER, "figshare's id of the item.")
_COUNTER = Column("counter", Type.WORD, "What is counted: views, downloads or shares.")
_GRANULARITY = Column("granularity", Type.WORD, "The length of the period: day, month, year or total.")
_DATE = Column("date", Type.WORD, "The first day of the period, as YYYY-MM-DD.")
_NUMBER = Column("number", Type.INTEGER, "The count in this period.")
_VIEWS = Column("total_views", Type.INTEGER, "Views since publication; empty if figshare has no count.")
_DOWNLOADS = Column(
    "total_downloads",
    Type.INTEGER,
    "Downloads since publication; empty if figshare has no count.",
)
_SHARES = Column("total_shares", Type.INTEGER, "Shares since publication.")
_FILES = Column("files", Type.INTEGER, "The number of files in the record.")
_BYTES = Column("bytes", Type.INTEGER, "The size of these files together, in bytes.")

ITEMS = Table(
    "items",
    "One row for each item, by id. Only the current version; versions.csv has the others.",
    (
        Column("id", Type.INTEGER, "figshare's id of the item."),
        Column("title", Type.TEXT, "The title."),
        Column("doi", Type.TEXT, "The DOI, without an address before it."),
        Column("type", Type.TEXT, "The item type, such as dataset or figure."),
        Column("created_date", Type.TEXT, "When the record was created, as figshare writes it."),
        Column("published_date", Type.TEXT, "When the item was published, as figshare writes it."),
        Column("modified_date", Type.TEXT, "When the record was last modified, as figshare writes it."),
        Column("licence", Type.TEXT, "The name of the licence."),
        Column("group_id", Type.INTEGER, "figshare's id of the group that the item belongs to."),
        Column("authors", Type.TEXTS, "The full names of the authors, separated by semicolons."),
        Column("categories", Type.TEXTS, "The titles of the categories, separated by semicolons."),
        _FILES,
        _BYTES,
    ),
    _items,
)
STATS = Table(
    "stats",
    "One row for each item whose statistics were requested (task stats). Empty: unknown, not 0.",
    (_ITEM_ID, _VIEWS, _DOWNLOADS),
    lambda reader: reader.totals(),
)
STATS_SHARES = Table(
    "stats_shares",
    "One row for each item whose shares are known (counter shares).",
    (_ITEM_ID, _SHARES),
    lambda reader: reader.shares(),
)
STATS_HISTORY = Table(
    "stats_history",
    "One row for each answer about an item's totals, earlier ones included, by id and time.",
    (
        _ITEM_ID,
        Column("asked_at", Type.WORD, "When the service answered, in UTC."),
        _VIEWS,
        _DOWNLOADS,
        _SHARES,
    ),
    lambda reader: reader.history(),
)
STATS_TIMELINE = Table(
    "stats_timeline",
    "One row for each item, counter and period (task timeline). No row: unknown, not 0.",
    (_ITEM_ID, _COUNTER, _GRANULARITY, _DATE, _NUMBER),
    _timeline,
)
STATS_BREAKDOWN = Table(
    "stats_breakdown",
    "One row for each item, counter, period and country (task breakdown). No row: unknown, not 0.",
    (
        _ITEM_ID,
        _COUNTER,
        _GRANULARITY,
        _DATE,
        Column("country", Type.TEXT, "The country, as figshare names it."),
        _NUMBER,
    ),
    _breakdown,
)
FILES = Table(
    "files",
    "One row for each file of each item and version, also those that are not downloaded.",
    (
        _ITEM_ID,
        Column("file_id", Type.INTEGER, "figshare's id of the file."),
        Column("name", Type.TEXT, "The file's name at figshare."),
        Column("path", Type.WORD, "Where the file is or will be, relative to the folder; empty for a link."),
        Column("size", Type.INTEGER, "The size in bytes; 0 if figshare gives no size."),
        Column("md5", Type.WORD, "The MD5 checksum in hexadecimal; empty if figshare has none."),
        Column("status", Type.WORD, f"One of {', '.join(FileStatus)}."),
        Column("reason", Type.TEXT, "Why the file is not here; empty if it is here or pending."),
        Column("url", Type.TEXT, "The file's address at figshare, or a link's target."),
        Column(
            "version",
            Type.INTEGER,
            "The version that lists the file; empty if the item was never published.",
        ),
    ),
    _files,
)
CHANGES = Table(
    "changes",
    "One row for each item that has changed since the last finished run.",
    (
        _ITEM_ID,
        Column("version", Type.INTEGER, "The requested version; empty for the current one."),
        Column("change", Type.WORD, "One of new, changed, withdrawn, returned or moved."),
        Column("fields", Type.TEXT, "The fields of the record that differ, separated by semicolons."),
        Column("files", Type.TEXT, "The files that were added, changed or removed, separated by semicolons."),
    ),
    _changes,
)
VERSIONS = Table(
    "versions",
    "One row for each requested version other than the current one.",
    (
        _ITEM_ID,
        Column("version", Type.INTEGER, "The number of the version."),
        Column("doi", Type.TEXT, "The DOI of the version."),
        _FILES,
        _BYTES,
        Column("folder", Type.WORD, "The folder of the version's files, relative to the output folder."),
    ),
    _versions,
)
FAILURES = Table(
    "failures",
    "One row for each listing, identifier, item or file that failed. It is always written.",
    (
        Column("item_id", Type.INTEGER, "figshare's id of the item; empty for a listing or an identifier."),
        Column("file_id", Type.INTEGER, "figshare's id of the file; empty for a failure of its item."),
        Column(
            "task",
            Type.WORD,
            "The task that failed; listing or resolve (an identifier) if it has no item.",
        ),
        Column("error", Type.TEXT, "What went wrong, in one line."),
        Column("attempts", Type.INTEGER, "The tries in the run that gave up."),
    ),
    _failures,
)

TABLES = (
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
