"""Statistics tables: totals, earlier totals, and counts by period and by country."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from harvester.ledger.database import bulk
from harvester.ledger.messages import ItemResult

OF_ALL = "country = ''"
"""Counts of a timeline."""
BY_COUNTRY = "country > ''"


def save_totals(db: sqlite3.Connection, results: Sequence[ItemResult], now: str) -> None:
    """Save the requested counters of items; a trigger keeps the earlier ones."""
    by_counters: dict[tuple[str, ...], list[bulk.Row]] = {}
    for result in results:
        for found in result.findings:
            if found.totals is not None:
                requested = found.totals.requested()
                row = (result.item_key, *requested.values(), now, ",".join(requested))
                by_counters.setdefault(tuple(requested), []).append(row)
    for counters, rows in by_counters.items():
        columns = (*counters, "asked_at", "asked")
        bulk.write(
            db,
            f"INSERT INTO stats (item_key, {', '.join(columns)}) {{values}} ON CONFLICT DO UPDATE"
            f" SET {', '.join(f'{column} = excluded.{column}' for column in columns)}",
            rows,
        )


def save_usage(db: sqlite3.Connection, results: Sequence[ItemResult]) -> None:
    """Replace the counts of the same item, counters and granularity."""
    usages = [
        (result.item_key, found.usage)
        for result in results
        for found in result.findings
        if found.usage is not None
    ]
    for by_country, kind in ((False, OF_ALL), (True, BY_COUNTRY)):
        bulk.write(
            db,
            # From a SELECT: else SQLite scans the whole table.
            f"DELETE FROM usage WHERE {kind}"
            " AND (item_key, counter, granularity) IN (SELECT * FROM ({values}))",
            [
                (item_key, counter, usage.granularity)
                for item_key, usage in usages
                if usage.by_country is by_country
                for counter in usage.counters
            ],
        )
    bulk.write(
        db,
        "INSERT INTO usage (item_key, counter, granularity, date, country, number) {values}",
        (
            (item_key, each.counter, each.granularity, each.date, each.country, each.number)
            for item_key, usage in usages
            for each in usage.counts
        ),
    )
