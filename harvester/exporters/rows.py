"""
Rows of the output tables: the columns of each table with their types, for programs and for every format.

A column is added here, and its value in `tables.py`.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from harvester.exporters.columns import Type
from harvester.states import FileStatus

_ItemId = Annotated[int, Type.INTEGER, "figshare's id of the item."]
_Counter = Annotated[str, Type.WORD, "What is counted: views, downloads or shares."]
_Granularity = Annotated[str, Type.WORD, "The length of the period: day, month, year or total."]
_Day = Annotated[str, Type.DAY, "The first day of the period, as YYYY-MM-DD."]
_Number = Annotated[int, Type.INTEGER, "The count in this period."]
_Views = Annotated[int | None, Type.INTEGER, "Views since publication; empty if figshare has no count."]
_Downloads = Annotated[
    int | None, Type.INTEGER, "Downloads since publication; empty if figshare has no count."
]
_Files = Annotated[int, Type.INTEGER, "The number of files in the record."]
_Bytes = Annotated[int, Type.INTEGER, "The size of these files together, in bytes."]


class Item(NamedTuple):
    """One row for each item, by id. Only the current version; versions.csv has the others."""

    id: Annotated[int, Type.INTEGER, "figshare's id of the item."]
    title: Annotated[str, Type.TEXT, "The title."]
    doi: Annotated[str, Type.TEXT, "The DOI, without an address before it."]
    type: Annotated[str, Type.TEXT, "The item type, such as dataset or figure."]
    created_date: Annotated[str, Type.TIME, "When the record was created, as figshare writes it."]
    published_date: Annotated[str, Type.TIME, "When the item was published, as figshare writes it."]
    modified_date: Annotated[str, Type.TIME, "When the record was last modified, as figshare writes it."]
    licence: Annotated[str, Type.TEXT, "The name of the licence."]
    group_id: Annotated[int | None, Type.INTEGER, "figshare's id of the group that the item belongs to."]
    authors: Annotated[tuple[str, ...], Type.TEXTS, "The full names of the authors, separated by semicolons."]
    categories: Annotated[
        tuple[str, ...], Type.TEXTS, "The titles of the categories, separated by semicolons."
    ]
    files: _Files
    bytes: _Bytes


class Stats(NamedTuple):
    """One row for each item whose statistics were requested (task stats). Empty: unknown, not 0."""

    item_id: _ItemId
    total_views: _Views
    total_downloads: _Downloads


class StatsShares(NamedTuple):
    """One row for each item whose shares are known (counter shares)."""

    item_id: _ItemId
    total_shares: Annotated[int, Type.INTEGER, "Shares since publication."]


class StatsHistory(NamedTuple):
    """One row for each answer about an item's totals, earlier ones included, by id and time."""

    item_id: _ItemId
    asked_at: Annotated[str, Type.TIME, "When the service answered, in UTC."]
    total_views: _Views
    total_downloads: _Downloads
    total_shares: Annotated[int | None, Type.INTEGER, "Shares since publication."]


class StatsTimeline(NamedTuple):
    """One row for each item, counter and period (task timeline). No row: unknown, not 0."""

    item_id: _ItemId
    counter: _Counter
    granularity: _Granularity
    date: _Day
    number: _Number


class StatsBreakdown(NamedTuple):
    """One row for each item, counter, period and country (task breakdown). No row: unknown, not 0."""

    item_id: _ItemId
    counter: _Counter
    granularity: _Granularity
    date: _Day
    country: Annotated[str, Type.TEXT, "The country, as figshare names it."]
    number: _Number


class File(NamedTuple):
    """One row for each file of each item and version, also those that are not downloaded."""

    item_id: _ItemId
    file_id: Annotated[int, Type.INTEGER, "figshare's id of the file."]
    name: Annotated[str, Type.TEXT, "The file's name at figshare."]
    path: Annotated[str, Type.WORD, "Where the file is or will be, relative to the folder; empty for a link."]
    size: Annotated[int, Type.INTEGER, "The size in bytes; 0 if figshare gives no size."]
    md5: Annotated[str | None, Type.WORD, "The MD5 checksum in hexadecimal; empty if figshare has none."]
    status: Annotated[FileStatus, Type.WORD, f"One of {', '.join(FileStatus)}."]
    reason: Annotated[str, Type.TEXT, "Why the file is not here; empty if it is here or pending."]
    url: Annotated[str, Type.TEXT, "The file's address at figshare, or a link's target."]
    version: Annotated[
        int | None,
        Type.INTEGER,
        "The version that lists the file; empty if the item was never published.",
    ]


class Change(NamedTuple):
    """One row for each item that has changed since the last finished run."""

    item_id: _ItemId
    version: Annotated[int | None, Type.INTEGER, "The requested version; empty for the current one."]
    change: Annotated[str, Type.WORD, "One of new, changed, withdrawn, returned or moved."]
    fields: Annotated[str, Type.TEXT, "The fields of the record that differ, separated by semicolons."]
    files: Annotated[
        str, Type.TEXT, "The files that were added, changed or removed, separated by semicolons."
    ]


class Version(NamedTuple):
    """One row for each requested version other than the current one."""

    item_id: _ItemId
    version: Annotated[int, Type.INTEGER, "The number of the version."]
    doi: Annotated[str, Type.TEXT, "The DOI of the version."]
    files: _Files
    bytes: _Bytes
    folder: Annotated[str, Type.WORD, "The folder of the version's files, relative to the output folder."]


class Failure(NamedTuple):
    """One row for each listing, identifier, item or file that failed. It is always written."""

    item_id: Annotated[
        int | None, Type.INTEGER, "figshare's id of the item; empty for a listing or an identifier."
    ]
    file_id: Annotated[
        int | None, Type.INTEGER, "figshare's id of the file; empty for a failure of its item."
    ]
    task: Annotated[
        str, Type.WORD, "The task that failed; listing or resolve (an identifier) if it has no item."
    ]
    error: Annotated[str, Type.TEXT, "What went wrong, in one line."]
    attempts: Annotated[int, Type.INTEGER, "The tries in the run that gave up."]
