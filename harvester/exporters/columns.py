"""Columns of output tables: their types, and how a table takes them from the fields of its row type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from harvester.ledger.reader import Reader

R = TypeVar("R", bound=tuple[Any, ...])


class Type(StrEnum):
    """The type of the cells of a column; any cell may be None if the value is unknown."""

    INTEGER = "integer"
    TEXT = "text"  # written by people at figshare: a spreadsheet could run it as a formula
    TEXTS = "list of texts"  # a tuple of such texts
    TIME = "time"  # text in ISO 8601, as figshare or the harvester wrote it
    DAY = "day"  # text, YYYY-MM-DD
    WORD = "word"  # from a known set, or a path or checksum made or checked by the harvester


class Column(NamedTuple):
    """One column of a table."""

    name: str
    type: Type
    description: str


class Table(NamedTuple, Generic[R]):
    """
    One table of the output.

    ``rows`` yields its rows, with one value for each of ``columns``.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    rows: Callable[[Reader], Iterator[R]]

    @property
    def header(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def columns_of(row: type[R]) -> tuple[Column, ...]:
    """Return the columns that a row type defines: a field is ``Annotated[its type, Type, description]``."""
    hints = get_type_hints(row, include_extras=True)
    assert all(get_origin(hint) is Annotated for hint in hints.values())
    return tuple(Column(name, *get_args(hint)[1:]) for name, hint in hints.items())
