"""Dates: when items were published and modified, computed from their numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_BEGIN = datetime(2015, 1, 1)  # noqa: DTZ001 - written with a Z
_BEFORE_NOW = timedelta(hours=12)
"""
The first change is dated this long before the start of the world, so that later ones
are not in the future.
"""
FAR_FUTURE = "2924-01-01T00:00:00Z"
_SPACING = 300
_DAY = 86400
MOST_DELAY = timedelta(days=2)
"""The longest time between publication and modification of an unedited item."""


def published_seconds(number: int, together: int = 1) -> int:
    """Seconds from the first item's publication to this one's; `together`: items published at one moment."""
    return _SPACING * (number - number % together)


def first_change(now: float) -> int:
    """Return the moment of the first change, in the unit of `published_seconds`."""
    made = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    return int((made - _BEFORE_NOW - _BEGIN).total_seconds())


def modified_seconds(number: int, together: int = 1, changed: int = 0) -> int:
    """As `published_seconds`, for the last change; `changed`: when it was edited, 0 for never."""
    if changed:
        return changed
    return published_seconds(number, together) + _DAY * (number // together % 3)


@lru_cache(maxsize=1 << 15)
def written(seconds: int) -> str:
    """Return a moment as the API writes it."""
    return (_BEGIN + timedelta(seconds=seconds)).isoformat(timespec="seconds") + "Z"


def read(text: str) -> datetime:
    """
    Parse a date, with or without a time, as a moment in UTC.

    Raises:
        ValueError: it is no date.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def first_since(moment: datetime, together: int = 1, *, strict: bool) -> int:
    """Return the number of the first item published at a moment or later; `strict`: only later."""
    batches, rest = divmod(moment - _BEGIN, timedelta(seconds=_SPACING * together))
    return max(0, batches + (strict or rest > timedelta(0))) * together


def is_since(seconds: int, moment: datetime, *, strict: bool) -> bool:
    """Return whether an item's moment is at another one or later; `strict`: only later."""
    own = _BEGIN + timedelta(seconds=seconds)
    return own > moment if strict else own >= moment
