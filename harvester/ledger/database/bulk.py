"""
Bulk reads and writes: one statement, and one step of it, for many rows.

Each step of a statement lets go of Python's interpreter lock and has to get it back from an event loop that
may be busy: rows that are written or read one by one wait for it one by one. So they go together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

Row: TypeAlias = tuple[Any, ...]

ROWS_AT_ONCE = 100
"""SQLite takes 32,766 values in a statement, but each length is another statement, kept in memory."""
BYTES_AT_ONCE = 1_000_000
"""Values are copied: large ones must not all be there twice."""


def write(
    db: sqlite3.Connection, sql: str, rows: Iterable[Row], *, weigh: Callable[[Row], int] = lambda _: 0
) -> int:
    """
    Run `sql` with `rows` in the place of ``{values}``; return how many rows of tables it changed.

    `weigh`: how many bytes a row has, where that may be many.
    """
    return sum(_run(db, sql, piece).rowcount for piece in _pieces(rows, weigh))


def select(db: sqlite3.Connection, sql: str, rows: Iterable[Row]) -> list[Row]:
    """Run `sql`, as `write` does, and return the rows that it gives."""
    return [row for piece in _pieces(rows, lambda _: 0) for row in _run(db, sql, piece)]


def fetch(
    db: sqlite3.Connection, sql: str, columns: Sequence[str], values: Sequence[object]
) -> list[list[Any]]:
    """Return these columns of what `sql` selects, numbers and plain words, in whatever order."""
    packed = f"SELECT json_group_array(json_array({', '.join(columns)})) FROM ({sql})"
    return msgspec.json.decode(db.execute(packed, values).fetchone()[0], type=list[list[Any]])


def _run(db: sqlite3.Connection, sql: str, rows: list[Row]) -> sqlite3.Cursor:
    qmarks = f"({', '.join('?' * len(rows[0]))})"
    values = f"VALUES {', '.join([qmarks] * len(rows))}"
    return db.execute(sql.replace("{values}", values), [value for row in rows for value in row])


def _pieces(rows: Iterable[Row], weigh: Callable[[Row], int]) -> Iterator[list[Row]]:
    piece: list[Row] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += weigh(row)
        if len(piece) >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
