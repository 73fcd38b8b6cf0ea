"""
Statistics service: requests the views, downloads and shares of an item, by period and by country.

A span of days is split into windows here. The service silently cuts a window that is too long, so a missing
period would look like a period without any views or downloads.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple, TypeVar

from yarl import URL

from harvester.client import Client, Reply
from harvester.client.breaker import CircuitBreaker
from harvester.config import Statistics
from harvester.config.keys import COUNTERS
from harvester.errors import AuthenticationRequired, InvalidResponse, UsageError
from harvester.figshare.api_version import ApiVersion, Endpoint
from harvester.figshare.rest import NO_PARAMS, RestApi
from harvester.figshare.usage import Numbers
from harvester.figshare.v2 import V2
from harvester.models import ItemId, Totals, UsageCount, UsageSpan
from harvester.text.wording import quoted

T = TypeVar("T")

_MOST_YEARS = {"day": 1, "month": 2, "year": 5, "total": 1}
"""Years of one window. The documents give no limit for "total"; one year is allowed everywhere."""
_PARTS = {"year": 1, "month": 2, "day": 3}
"""How many parts of a date name a period."""
_DATE = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})(?:[T ].*)?)?)?")
_MOST = 2**63 - 1
"""The largest number that the ledger can store."""

REFUSALS_BEFORE_REST = 3
ADVICE = (
    "these statistics may need your institution's credentials"
    " (stats.institution and the environment variable of stats.credentials_env)"
)

REFUSED = f"the service refuses them; {ADVICE}"
"""What all items have in common whose statistics are refused."""


def _breaker() -> CircuitBreaker:
    """
    Return the circuit breaker of a kind of statistics: it stays open for the rest of the run if all are
    refused.

    After one success a refusal is about its item only.
    """
    return CircuitBreaker(math.inf, first_threshold=REFUSALS_BEFORE_REST, rest_seconds=math.inf)


class Window(NamedTuple):
    """The days of one request, the last one included."""

    first: date
    last: date


def windows(granularity: str, since: date, until: date) -> tuple[Window, ...]:
    """
    Split the days from `since` to `until`, both included, into windows that the service does not cut.

    Each day is in exactly one of them. Windows of months and years end at the end of one, so that none is
    split. A year counts as 365 days: how the service counts leap years is not documented.
    """
    found: list[Window] = []
    while since <= until:
        last = min(until, _last_day(granularity, since))
        found.append(Window(since, last))
        if last == until:  # which may be the last day of the calendar
            break
        since = last + timedelta(days=1)
    return tuple(found)


def _last_day(granularity: str, first: date) -> date:
    """Return the last day of the longest window that begins with `first`."""
    years = _MOST_YEARS[granularity]
    try:
        behind = first + timedelta(days=365 * years)
        if granularity not in {"day", "total"}:
            # The limit is the difference of both days, so 365 days a year and one more are allowed.
            behind = _first_day(granularity, min(behind + timedelta(days=1), _anniversary(first, years)))
    except (OverflowError, ValueError):  # after the last year of the calendar
        return date.max
    return behind - timedelta(days=1)


def _anniversary(day: date, years: int) -> date:
    is_leap_day = (day.month, day.day) == (2, 29)
    return day.replace(year=day.year + years, day=28 if is_leap_day else day.day)


def _first_day(granularity: str, day: date) -> date:
    """Return the first day of the period that contains a day."""
    if granularity == "year":
        return day.replace(month=1, day=1)
    return day.replace(day=1) if granularity == "month" else day


def requests_per_item(task_name: str, settings: Statistics, today: date) -> int:
    """Return how many requests a statistics task makes for one item; 0 for any other task."""
    if task_name == "stats":
        return len(_counters(settings))
    if task_name not in {"timeline", "breakdown"} or settings.since is None:
        return 0
    return len(_counters(settings)) * len(
        windows(settings.granularity, settings.since, settings.until or today)
    )


def _counters(settings: Statistics) -> tuple[str, ...]:
    return tuple(counter for counter in COUNTERS if counter in settings.counters)


class StatsService:
    """
    Requests the statistics of items that `settings` select.

    `today`: the last day to request, if the settings have none.
    All calls raise what `Client.retry` raises. Those for an institution carry its credentials.

    Raises:
        UsageError: the first day is after the last.
    """

    def __init__(
        self, client: Client, *, stats: URL, settings: Statistics, today: date, version: ApiVersion = V2
    ) -> None:
        until = settings.until or today
        if settings.since is not None and settings.since > until:
            raise UsageError(f"stats.since: {settings.since} is after {until}, the last day to ask for")
        self.counters = _counters(settings)
        self.granularity = settings.granularity
        self._version = version
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(_breaker)
        self._refusals: dict[str, str] = {}  # the last one, by kind
        self._is_institution = bool(settings.institution)
        base = stats / str(settings.institution) if settings.institution else stats
        self._rest = RestApi(client, base, service="stats")
        self._windows = windows(settings.granularity, settings.since, until) if settings.since else ()

    @property
    def span(self) -> UsageSpan | None:
        """The days from the first of the first period to the last that is requested; None for no days."""
        if not self._windows:
            return None
        first = _first_day(self.granularity, self._windows[0].first)
        return UsageSpan(self.granularity, str(first), str(self._windows[-1].last))

    async def totals(self, item_id: ItemId) -> Totals:
        """
        Return the counters of one item since it was published; UNSET for a counter that is not requested.

        Source: API reference, Stats, Totals. An unknown item has an empty answer, which is not 0.
        """
        found: dict[str, int | None] = {}
        for counter in self.counters:
            reply = await self._request("total", self._version.total, counter=counter, item_id=item_id)
            found[counter] = reply.value
        return Totals(**found)

    async def timeline(self, item_id: ItemId) -> tuple[UsageCount, ...]:
        """
        Return the counts of one item in each period; none for a period that the service does not know.

        Source: API reference, Stats, Timeline.
        """
        return await self._counts("timeline", item_id, self._version.timeline)

    async def breakdown(self, item_id: ItemId) -> tuple[UsageCount, ...]:
        """
        Return the counts of one item in each period by country.

        Source: API reference, Stats, Breakdown. The service gives cities; their sums are kept.
        """
        return await self._counts("breakdown", item_id, self._version.breakdown)

    async def _counts(
        self, kind: str, item_id: ItemId, endpoint: Endpoint[Numbers]
    ) -> tuple[UsageCount, ...]:
        numbers: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        for counter in self.counters:
            values: dict[str, Any] = {"granularity": self.granularity, "counter": counter, "item_id": item_id}
            for window in self._windows:
                reply = await self._request(kind, endpoint, window, **values)
                for begins, country, number in _within(reply.value, self.granularity, window):
                    numbers[counter, begins, country] += number
        if any(number > _MOST for number in numbers.values()):
            raise InvalidResponse(f"{kind} of item {item_id}: an impossible number of uses")
        return tuple(
            UsageCount(counter, self.granularity, begins, number, country)
            for (counter, begins, country), number in numbers.items()
        )

    async def _request(
        self, kind: str, endpoint: Endpoint[T], window: Window | None = None, **values: Any
    ) -> Reply[T]:
        """Request one counter, unless the service has refused this kind of statistics several times."""
        breaker = self._breakers[kind]
        if not breaker.is_closed:
            error = AuthenticationRequired(f"not requested, as others were refused: {self._refusals[kind]}")
            error.attempts = 0
            error.common_cause = REFUSED
            raise error
        params = {"start_date": str(window.first), "end_date": str(window.last)} if window else NO_PARAMS
        try:
            reply = await self._rest.request(endpoint, params, authorised=self._is_institution, **values)
        except AuthenticationRequired as refusal:
            self._refusals[kind] = f"{refusal}: {ADVICE}"
            breaker.record_failure(0.0)  # it stays open for the run: the time does not matter
            error = AuthenticationRequired(self._refusals[kind])
            error.common_cause = REFUSED
            raise error from refusal
        breaker.record_success()
        return reply


def _within(numbers: Numbers, granularity: str, window: Window) -> Iterator[tuple[str, str, int]]:
    """
    Yield the numbers of a window: when the period begins, the country, the number.

    Numbers of other days are excluded: those days are in other windows, or were not requested.

    Raises:
        InvalidResponse: no number belongs to this window, or a period has no valid name.
    """
    earliest = _first_day(granularity, window.first)
    begins = {name: _begin(name, granularity, window) for name in numbers}
    wanted = {name: day for name, day in begins.items() if earliest <= day <= window.last}
    if numbers and not wanted:
        raise InvalidResponse(f"requested {window.first} to {window.last}, got {min(numbers)}")
    for name, day in wanted.items():
        for country, number in numbers[name].items():
            yield day.isoformat(), country, number


def _begin(name: str, granularity: str, window: Window) -> date:
    """
    Return when a period begins, by its name: 2015, 2015-07, 2015-07-01.

    A total is one period with any name.
    """
    if granularity == "total":
        return window.first
    found = _DATE.fullmatch(name)
    parts = [int(part) for part in found.groups() if part] if found else []
    needed = _PARTS[granularity]
    if len(parts) >= needed:
        year, month, day = (*parts[:needed], 1, 1)[:3]
        try:
            return date(year, month, day)
        except ValueError:
            pass
    raise InvalidResponse(f"{quoted(name)} is not a {granularity}")
