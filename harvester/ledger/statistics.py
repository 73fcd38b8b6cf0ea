"""Statistics in the ledger: totals, those that newer ones have replaced, uses by period and by country."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from harvester.ledger import many
from harvester.ledger.results import ItemResult
from harvester.models import Totals

OF_ALL = "country = ''"
"""Uses in a timeline."""
BY_COUNTRY = "country > ''"


def save_totals(db: sqlite3.Connection, results: Sequence[ItemResult], now: str) -> None:
    """Save the counters of items; a trigger keeps those that were there."""
    many.write(
        db,
        "INSERT INTO stats (item_id, views, downloads, shares, asked_at) {values} ON CONFLICT DO UPDATE"
        " SET views = excluded.views, downloads = excluded.downloads, shares = excluded.shares,"
        " asked_at = excluded.asked_at",
        [
            (result.item_id, *_counters(found.totals), now)
            for result in results
            for found in result.findings
            if found.totals is not None
        ],
    )


def _counters(totals: Totals) -> tuple[int | None, int | None, int | None]:
    return totals.views, totals.downloads, totals.shares


def save_uses(db: sqlite3.Connection, results: Sequence[ItemResult]) -> None:
    """Save uses by period in the place of what was there of the same item, counters and granularity."""
    told = [
        (result.item_id, found.usage)
        for result in results
        for found in result.findings
        if found.usage is not None
    ]
    for by_country, kind in ((False, OF_ALL), (True, BY_COUNTRY)):
        many.write(
            db,
            # From a SELECT: else SQLite walks the whole table.
            f"DELETE FROM uses WHERE {kind}"
            " AND (item_id, counter, granularity) IN (SELECT * FROM ({values}))",
            [
                (item_id, counter, usage.granularity)
                for item_id, usage in told
                if usage.by_country is by_country
                for counter in usage.counters
            ],
        )
    many.write(
        db,
        "INSERT INTO uses (item_id, counter, granularity, date, country, number) {values}",
        (
            (item_id, each.counter, each.granularity, each.date, each.country, each.number)
            for item_id, usage in told
            for each in usage.uses
        ),
    )
