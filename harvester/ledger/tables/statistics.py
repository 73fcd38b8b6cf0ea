"""Statistics in the ledger: totals, those that newer ones have replaced, uses by period and by country."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from harvester.ledger.database import bulk
from harvester.ledger.messages import ItemResult

OF_ALL = "country = ''"
"""Uses in a timeline."""
BY_COUNTRY = "country > ''"


def save_totals(db: sqlite3.Connection, results: Sequence[ItemResult], now: str) -> None:
    """Save the counters of items that were asked for; a trigger keeps those that were there."""
    told: dict[tuple[str, ...], list[bulk.Row]] = {}
    for result in results:
        for found in result.findings:
            if found.totals is not None:
                asked = found.totals.requested()
                row = (result.item_key, *asked.values(), now, ",".join(asked))
                told.setdefault(tuple(asked), []).append(row)
    for counters, rows in told.items():
        columns = (*counters, "asked_at", "asked")
        bulk.write(
            db,
            f"INSERT INTO stats (item_key, {', '.join(columns)}) {{values}} ON CONFLICT DO UPDATE"
            f" SET {', '.join(f'{column} = excluded.{column}' for column in columns)}",
            rows,
        )


def save_usage(db: sqlite3.Connection, results: Sequence[ItemResult]) -> None:
    """Save uses by period in the place of what was there of the same item, counters and granularity."""
    told = [
        (result.item_key, found.usage)
        for result in results
        for found in result.findings
        if found.usage is not None
    ]
    for by_country, kind in ((False, OF_ALL), (True, BY_COUNTRY)):
        bulk.write(
            db,
            # From a SELECT: else SQLite walks the whole table.
            f"DELETE FROM usage WHERE {kind}"
            " AND (item_key, counter, granularity) IN (SELECT * FROM ({values}))",
            [
                (item_key, counter, usage.granularity)
                for item_key, usage in told
                if usage.by_country is by_country
                for counter in usage.counters
            ],
        )
    bulk.write(
        db,
        "INSERT INTO usage (item_key, counter, granularity, date, country, number) {values}",
        (
            (item_key, each.counter, each.granularity, each.date, each.country, each.number)
            for item_key, usage in told
            for each in usage.counts
        ),
    )
