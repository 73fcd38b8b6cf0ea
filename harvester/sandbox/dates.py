"""When the items of the sandbox were published and changed: all of it is arithmetic on their numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_BEGIN = datetime(2015, 1, 1)  # noqa: DTZ001 - written with a Z
_BEFORE_NOW = timedelta(hours=12)
"""How long before a world is made its first change is dated: a thousand more are not in the future."""
FAR_FUTURE = "2924-01-01T00:00:00Z"
_SPACING = 300
_DAY = 86400
MOST_DELAY = timedelta(days=2)
"""How much later than published an item can be modified without having been edited."""


def published_seconds(number: int, together: int = 1) -> int:
    """Seconds from the first item's moment to this one's; so many items are published `together`."""
    return _SPACING * (number - number % together)


def first_change(now: float) -> int:
    """Return the moment, as `published_seconds` does, from which on changes are dated."""
    made = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    return int((made - _BEFORE_NOW - _BEGIN).total_seconds())


def modified_seconds(number: int, together: int = 1, changed: int = 0) -> int:
    """As `published_seconds`, for the last change; `changed`: when it was edited, 0 for never."""
    if changed:
        return changed
    return published_seconds(number, together) + _DAY * (number // together % 3)


def written(seconds: int) -> str:
    """Write a moment as the api does."""
    return (_BEGIN + timedelta(seconds=seconds)).isoformat(timespec="seconds") + "Z"


def read(text: str) -> datetime:
    """
    Read a date, with or without a time, as the beginning of it in UTC.

    Raises:
        ValueError: it is none.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def first_since(moment: datetime, together: int = 1, *, strict: bool) -> int:
    """Return the number of the first item published at a moment or after it; `strict`: after it alone."""
    batches, rest = divmod(moment - _BEGIN, timedelta(seconds=_SPACING * together))
    return max(0, batches + (strict or rest > timedelta(0))) * together


def is_since(seconds: int, moment: datetime, *, strict: bool) -> bool:
    """Return whether an item's moment is at another one or after it; `strict`: after it alone."""
    own = _BEGIN + timedelta(seconds=seconds)
    return own > moment if strict else own >= moment
