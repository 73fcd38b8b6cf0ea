"""
Usage data: how often an item was used, by day and place.

The counts of each place repeat every week, so the count of any period is the difference of two sums.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from harvester.sandbox.dates import written
from harvester.sandbox.item import Item

COUNTERS = {"views": 3, "downloads": 2, "shares": 1}
"""Counters, and the weight of each."""
GRANULARITIES = {"day": 1, "month": 2, "year": 5, "total": 1}
"""Granularities, and the years of the longest window."""
_PLACES = (
    ("Germany", "Berlin"),
    ("Kenya", "Nairobi"),
    ("Germany", "Leipzig"),
    ("Korea, Republic of", "Seoul"),
    ("Côte d'Ivoire", "Abidjan"),
    ("United Kingdom", "London"),
)
_WEEK = (0, 1, 2, 3, 0, 1, 2)
"""Counts in a week; the first day of the week depends on the place."""


def longest(granularity: str, start: date, end: date) -> date:
    """Return the last day of a window after the service has cut it."""
    year = start.year + GRANULARITIES[granularity]
    is_leap_day = (start.month, start.day) == (2, 29)
    behind = date(year, 3, 1) if is_leap_day else start.replace(year=year)
    return min(end, behind - timedelta(days=1))


def timeline(item: Item, counter: str, granularity: str, start: date, end: date) -> dict[str, int]:
    """Return the counts of an item by period; a period at the edge counts the days within the window."""
    published = _published(item)
    return {
        key.isoformat(): sum(_counts(item.number, counter, max(first, published), last))
        for key, first, last in _periods(granularity, start, end)
    }


def breakdown(
    item: Item, counter: str, granularity: str, start: date, end: date
) -> dict[str, dict[str, dict[str, int]]]:
    """Return the same by country and city, without zeros."""
    published = _published(item)
    found = {
        key.isoformat(): _by_country(_counts(item.number, counter, max(first, published), last))
        for key, first, last in _periods(granularity, start, end)
    }
    return {key: countries for key, countries in found.items() if countries}


def _by_country(counts: Iterable[int]) -> dict[str, dict[str, int]]:
    countries: dict[str, dict[str, int]] = {}
    for (country, city), number in zip(_PLACES, counts, strict=True):
        if number:
            cities = countries.setdefault(country, {})
            cities[city] = number
            cities["total"] = cities.get("total", 0) + number
    return countries


def _periods(granularity: str, start: date, end: date) -> Iterator[tuple[date, date, date]]:
    """Yield the name of each period, and its first and last day in the window."""
    first = start
    while first <= end:
        key, behind = _period(granularity, first, end)
        last = min(end, behind - timedelta(days=1))
        yield key, first, last
        first = behind


def _period(granularity: str, day: date, end: date) -> tuple[date, date]:
    """Return the name of the period of a day, and the first day after it."""
    if granularity == "day":
        return day, day + timedelta(days=1)
    if granularity == "month":
        begin = day.replace(day=1)
        return begin, (begin + timedelta(days=31)).replace(day=1)
    if granularity == "year":
        return date(day.year, 1, 1), date(day.year + 1, 1, 1)
    return day, end + timedelta(days=1)


def _published(item: Item) -> date:
    return date.fromisoformat(written(item.published_seconds)[:10])


def _counts(number: int, counter: str, first: date, last: date) -> tuple[int, ...]:
    """Return the counts of an item in each place; `number`: the item's."""
    weight, begin = COUNTERS[counter], first.toordinal()
    return _of_weekday((number + weight + begin) % 7, max(0, last.toordinal() + 1 - begin), weight)


@functools.lru_cache(maxsize=4096)
def _of_weekday(day: int, days: int, weight: int) -> tuple[int, ...]:
    begins = [day + 3 * place for place in range(len(_PLACES))]
    return tuple(weight * (_until(begin + days) - _until(begin)) for begin in begins)


def _until(day: int) -> int:
    """Return the sum of all days before `day`."""
    weeks, days = divmod(day, 7)
    return weeks * sum(_WEEK) + sum(_WEEK[:days])
