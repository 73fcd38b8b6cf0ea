"""
Data frames: renders a table as a frame of pandas or polars, with typed columns.

Both packages are extras, imported on use. A cell that its type cannot hold, such as a date that is none,
becomes a missing value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harvester.exporters.columns import Column, Type
from harvester.plugins import missing_package

if TYPE_CHECKING:
    import pandas
    import polars


def to_pandas(columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> pandas.DataFrame:
    """
    Return a frame of pandas.

    Raises:
        UsageError: pandas is not installed.
    """
    package = _package("pandas")
    kinds = {
        Type.INTEGER: "Int64",
        Type.TEXTS: "object",
        Type.TIME: "datetime64[us, UTC]",
        Type.DAY: "datetime64[s]",
    }
    cells = _cells(columns, rows)
    series = {
        column.name: package.Series(cells[column.name], dtype=kinds.get(column.type, "string"))
        for column in columns
    }
    return package.DataFrame(series)


def to_polars(columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> polars.DataFrame:
    """
    Return a frame of polars.

    Raises:
        UsageError: polars is not installed.
    """
    package = _package("polars")
    kinds = {
        Type.INTEGER: package.Int64,
        Type.TEXTS: package.List(package.String),
        Type.TIME: package.Datetime("us", "UTC"),
        Type.DAY: package.Date,
    }
    schema = {column.name: kinds.get(column.type, package.String) for column in columns}
    return package.DataFrame(_cells(columns, rows), schema=schema)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        raise missing_package(f"a frame of {name}", name, exc) from exc


def _cells(columns: Sequence[Column], rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Return the cells of each column."""
    cells: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for column, value in zip(cells, row, strict=True):
            column.append(value)
    return {
        column.name: [None if value is None else _READERS[column.type](value) for value in values]
        for column, values in zip(columns, cells, strict=True)
    }


def _integer(number: int) -> int | None:
    return number if -(2**63) <= number < 2**63 else None


def _text(text: str) -> str:
    """Return valid Unicode: records may have half of a surrogate pair."""
    return str(text) if text.isascii() else text.encode(errors="replace").decode()


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


_READERS: Mapping[Type, Callable[[Any], object]] = {
    Type.INTEGER: _integer,
    Type.TEXT: _text,
    Type.TEXTS: lambda texts: [_text(text) for text in texts],
    Type.TIME: _time,
    Type.DAY: _day,
    Type.WORD: _text,
}
