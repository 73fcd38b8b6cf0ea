"""Statistics in the ledger: totals, those that newer ones have replaced, uses by period and by country."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from harvester.ledger.database import bulk
from harvester.ledger.messages import ItemResult
from harvester.models import Usage

OF_ALL = "country = ''"
"""Uses in a timeline."""
BY_COUNTRY = "country > ''"


class Counters:
    """What is here of the uses of items; `call` reads in the ledger's own thread."""

    def __init__(self, db: sqlite3.Connection, call: Callable[..., Awaitable[Any]]) -> None:
        self._db = db
        self._call = call

    async def totals(self, key: int) -> Mapping[str, int | None]:
        """Return the totals of an item by counter, none where they were not asked for."""
        found: Mapping[str, int | None] = await self._call(self._totals, key)
        return found

    def _totals(self, key: int) -> Mapping[str, int | None]:
        told = self._db.execute("SELECT views, downloads, shares FROM stats WHERE item_id = ?", (key,))
        row = told.fetchone()
        return dict(zip(("views", "downloads", "shares"), row, strict=True)) if row else {}

    async def uses(self, key: int, like: Usage, counter: str, first: str, last: str) -> int:
        """Add up the uses of an item in periods that begin between two days, both included."""
        return int(await self._call(self._uses, key, like, counter, first, last))

    def _uses(self, key: int, like: Usage, counter: str, first: str, last: str) -> int:
        kind = BY_COUNTRY if like.by_country else OF_ALL
        (number,) = self._db.execute(
            f"SELECT ifnull(sum(number), 0) FROM usage WHERE {kind} AND item_id = ? AND counter = ?"
            " AND granularity = ? AND date BETWEEN ? AND ?",
            (key, counter, like.granularity, first, last),
        ).fetchone()
        return int(number)


def save_totals(db: sqlite3.Connection, results: Sequence[ItemResult], now: str) -> None:
    """Save the counters of items that were asked for; a trigger keeps those that were there."""
    told: dict[tuple[str, ...], list[bulk.Row]] = {}
    for result in results:
        for found in result.findings:
            if found.totals is not None:
                asked = found.totals.asked()
                row = (result.item_id, *asked.values(), now, ",".join(asked))
                told.setdefault(tuple(asked), []).append(row)
    for counters, rows in told.items():
        columns = (*counters, "asked_at", "asked")
        bulk.write(
            db,
            f"INSERT INTO stats (item_id, {', '.join(columns)}) {{values}} ON CONFLICT DO UPDATE"
            f" SET {', '.join(f'{column} = excluded.{column}' for column in columns)}",
            rows,
        )


def save_uses(db: sqlite3.Connection, results: Sequence[ItemResult]) -> None:
    """Save uses by period in the place of what was there of the same item, counters and granularity."""
    told = [
        (result.item_id, found.usage)
        for result in results
        for found in result.findings
        if found.usage is not None
    ]
    for by_country, kind in ((False, OF_ALL), (True, BY_COUNTRY)):
        bulk.write(
            db,
            # From a SELECT: else SQLite walks the whole table.
            f"DELETE FROM usage WHERE {kind}"
            " AND (item_id, counter, granularity) IN (SELECT * FROM ({values}))",
            [
                (item_id, counter, usage.granularity)
                for item_id, usage in told
                if usage.by_country is by_country
                for counter in usage.counters
            ],
        )
    bulk.write(
        db,
        "INSERT INTO usage (item_id, counter, granularity, date, country, number) {values}",
        (
            (item_id, each.counter, each.granularity, each.date, each.country, each.number)
            for item_id, usage in told
            for each in usage.uses
        ),
    )
