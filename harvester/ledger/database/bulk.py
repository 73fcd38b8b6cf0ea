"""
Bulk insert, update and select: one SQL statement for many rows.

Each step of a statement releases Python's interpreter lock and has to get it back from a busy event loop.
Single rows would wait for it once for each row, so one statement writes many rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]

ROWS_AT_ONCE = 100
"""SQLite allows 32,766 values in a statement, but each number of rows is another prepared statement."""
BYTES_AT_ONCE = 1_000_000
"""Values are copied, so this limits the memory for large ones."""


def write(
    db: sqlite3.Connection, sql: str, rows: Iterable[Row], *, weigh: Callable[[Row], int] = lambda _: 0
) -> int:
    """
    Run `sql` with `rows` in place of ``{values}``; return the number of changed rows.

    `weigh`: returns the bytes of a row, for rows that may be large.
    """
    return sum(_run(db, sql, batch).rowcount for batch in _batches(rows, weigh))


def select(db: sqlite3.Connection, sql: str, rows: Iterable[Row]) -> list[Row]:
    """Run `sql`, as `write` does, and return its rows."""
    return [row for batch in _batches(rows, lambda _: 0) for row in _run(db, sql, batch)]


def fetch(
    db: sqlite3.Connection, sql: str, columns: Sequence[str], values: Sequence[object]
) -> list[list[Any]]:
    """Return columns of `sql`, numbers and plain words, in any order."""
    import msgspec  # noqa: PLC0415 - `status` needs none of it

    packed = f"SELECT json_group_array(json_array({', '.join(columns)})) FROM ({sql})"
    return msgspec.json.decode(db.execute(packed, values).fetchone()[0], type=list[list[Any]])


def qmarks(values: Sequence[object]) -> str:
    """Return a placeholder for each of some values."""
    return ", ".join("?" * len(values))


def _run(db: sqlite3.Connection, sql: str, rows: list[Row]) -> sqlite3.Cursor:
    row = f"({qmarks(rows[0])})"
    values = f"VALUES {', '.join([row] * len(rows))}"
    return db.execute(sql.replace("{values}", values), [value for each in rows for value in each])


def _batches(rows: Iterable[Row], weigh: Callable[[Row], int]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += weigh(row)
        if len(batch) >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
