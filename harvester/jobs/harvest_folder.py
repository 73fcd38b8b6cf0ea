"""
Harvest reader: gives programs and notebooks the tables and records of an output folder.

Nothing is written, so it works during a run, and in a folder that may only be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from harvester.errors import InvalidResponse
from harvester.exporters import frames, tables
from harvester.exporters.columns import Column, R, Table
from harvester.exporters.jsonl import line
from harvester.exporters.rows import (
    Change,
    Failure,
    File,
    Item,
    Stats,
    StatsBreakdown,
    StatsHistory,
    StatsShares,
    StatsTimeline,
    Version,
)
from harvester.ledger.database.integrity import damaged
from harvester.ledger.reader import Reader
from harvester.system.paths import usable

if TYPE_CHECKING:
    import pandas
    import polars

T = TypeVar("T")
_Read = Callable[[Callable[[Reader], Iterator[T]]], Iterator[T]]


class Rows(Generic[R]):
    """
    The rows of one table, read from the folder while you iterate; each iteration starts over.

    ``columns``: names, types and descriptions, as in the CSV file of the table.
    """

    def __init__(self, table: Table[R], read: _Read[R]) -> None:
        self._table = table
        self._read = read

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._table.columns

    def __iter__(self) -> Iterator[R]:
        return self._read(self._table.rows)

    def __repr__(self) -> str:
        return f"<rows of {self._table.name}: {', '.join(self._table.header)}>"

    def to_pandas(self) -> pandas.DataFrame:
        """
        Return all rows as a frame of pandas; dates are dates, and an unknown value is missing.

        Raises:
            UsageError: pandas is not installed.
        """
        return frames.to_pandas(self.columns, self)

    def to_polars(self) -> polars.DataFrame:
        """
        Return all rows as a frame of polars; dates are dates, and an unknown value is null.

        Raises:
            UsageError: polars is not installed.
        """
        return frames.to_polars(self.columns, self)


class HarvestFolder:
    """
    What an output folder contains, also while a run is active, and if it may only be read.

    Each method returns the rows of the CSV file with its name. If you leave an iteration before its end, call
    `close`, or use a ``with`` block.

    ``path``: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: set[Reader] = set()
        self._is_closed = False
        Reader(path).close()  # what is wrong with the folder is an error now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<harvest in {self.path}>"

    def close(self) -> None:
        """End all iterations; the folder can no longer be read."""
        self._is_closed = True
        while self._readers:
            self._readers.pop().close()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ValueError(f"{self.path}: this harvest was closed")

    def items(self) -> Rows[Item]:
        """Every item, in its current version."""
        return Rows(tables.ITEMS, self._read)

    def files(self) -> Rows[File]:
        """Every file of every item and version; ``path`` is relative to that of the folder."""
        return Rows(tables.FILES, self._read)

    def stats(self) -> Rows[Stats]:
        """Views and downloads of each item."""
        return Rows(tables.STATS, self._read)

    def stats_shares(self) -> Rows[StatsShares]:
        """Shares of each item."""
        return Rows(tables.STATS_SHARES, self._read)

    def stats_history(self) -> Rows[StatsHistory]:
        """Views, downloads and shares of each item at each time they were requested."""
        return Rows(tables.STATS_HISTORY, self._read)

    def stats_timeline(self) -> Rows[StatsTimeline]:
        """Views, downloads and shares of each item by period."""
        return Rows(tables.STATS_TIMELINE, self._read)

    def stats_breakdown(self) -> Rows[StatsBreakdown]:
        """Views, downloads and shares of each item by period and country."""
        return Rows(tables.STATS_BREAKDOWN, self._read)

    def changes(self) -> Rows[Change]:
        """What has changed since the last finished run."""
        return Rows(tables.CHANGES, self._read)

    def versions(self) -> Rows[Version]:
        """Every requested version other than the current one."""
        return Rows(tables.VERSIONS, self._read)

    def failures(self) -> Rows[Failure]:
        """Every listing, identifier, item or file that failed."""
        return Rows(tables.FAILURES, self._read)

    def records(self) -> Iterator[dict[str, Any]]:
        """Every record as figshare sent it, with its complete file list, as in metadata.jsonl."""
        return self._read(lambda reader: (json.loads(b"".join(line(item))) for item in reader.items()))

    def _read(self, rows: Callable[[Reader], Iterator[T]]) -> Iterator[T]:
        self._check_open()
        reader = Reader(self.path)
        self._readers.add(reader)
        try:
            for row in _checked(rows, reader):
                yield row
                self._check_open()
        finally:
            self._readers.discard(reader)
            reader.close()


def _checked(rows: Callable[[Reader], Iterator[T]], reader: Reader) -> Iterator[T]:
    try:
        yield from rows(reader)
    except (InvalidResponse, ValueError) as exc:  # it was a valid record when it was saved
        raise damaged(reader.path, f"table records: {exc}") from exc


def open(folder: str | os.PathLike[str]) -> HarvestFolder:  # noqa: A001 - called harvester.open
    """
    Return what an output folder contains.

    Raises:
        UsageError: the folder contains no harvest.
        StorageError: it cannot be read.
    """
    return HarvestFolder(Path(usable(os.fspath(folder))).expanduser())
