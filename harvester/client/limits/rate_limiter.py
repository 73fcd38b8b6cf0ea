"""
Rate limiter: the protocol that the client uses to learn when the next request may start.

`Limiter` implements it within one process. Another implementation can share the rates between machines: it
grants starts and receives reports of their outcomes. Nothing else has to change.
"""

from __future__ import annotations

from typing import Protocol, Self

from msgspec import Struct


class Outcome(Struct, frozen=True, gc=False):
    """
    The outcome of one request.

    Attributes:
        started: when it started, as `RateLimiter.acquire` returned it, in seconds of the limiter's clock.
        throttle_reason: why the service asks for a lower rate (429, a block), "" if it does not.
        retry_after: seconds that the service asks to wait, None where it does not say.
    """

    started: float
    throttle_reason: str = ""
    retry_after: float | None = None


class RateStatistics(Struct, frozen=True):
    """
    What a limiter allows at the moment.

    Attributes:
        per_second: requests a second, `math.inf` for no limit.
        configured: requests a second that it may come to at most.
        paused_seconds: how long it still pauses.
    """

    per_second: float
    configured: float
    paused_seconds: float


class RateLimiter(Protocol):
    """Grants starts of requests to one service."""

    async def acquire(self, also: Self | None = None) -> float:
        """
        Wait until a request may start, count it, and return the time of its start.

        `also`: a second service that the same request counts for.
        """

    def report(self, outcome: Outcome) -> None:
        """Take the outcome of a request; a throttled one pauses the whole service and lowers its rate."""

    def statistics(self) -> RateStatistics:
        """Return what it allows at the moment."""
