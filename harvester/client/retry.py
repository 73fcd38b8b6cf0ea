"""
Retry with exponential back-off and jitter: the only retry loop.

A `TransientError` is retried until an attempt succeeds or `retry.attempts` are used up. The wait before an
attempt is random, up to a limit that doubles each time until `retry.max_wait`. It is at least as long as the
service says. `health.py` decides whether a service gets requests at all.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from harvester.client.health import PROBE_SECONDS, HealthCheck, ServiceHealth
from harvester.config import Retry
from harvester.errors import NotModified, PermanentError, RateLimited, TransientError

T = TypeVar("T")
log = logging.getLogger(__name__)


def backoff_seconds(number: int, longest: float) -> float:
    """Return the longest wait in seconds after the `number`-th failed attempt: 1, 2, 4 … up to `longest`."""
    return float(min(longest, 2.0 ** min(number - 1, 30)))


class Retrier:
    """
    Makes attempts, and waits between them.

    `services`: their names. `errors`: counts attempts that failed, by service. `clock` and `sleep`: seconds.
    `jitter`: returns the share of the longest wait to take, from 0 to 1.
    """

    def __init__(
        self,
        services: Iterable[str],
        retry: Retry,
        *,
        errors: Counter[str],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self._retry = retry
        self._errors = errors
        self._sleep = sleep
        self._jitter = jitter
        self._health = {
            name: ServiceHealth(
                name,
                outage_timeout=retry.outage_timeout,
                probe_seconds=min(PROBE_SECONDS, retry.max_wait),
                is_vital=name == "api",
                errors=errors,
                clock=clock,
                sleep=sleep,
            )
            for name in services
        }

    def set_health_check(self, service: str, check: HealthCheck) -> None:
        """Set the health check of a service: a request that it is known to answer."""
        self._health[service].health_check = check

    def missing_seconds(self) -> dict[str, float]:
        """Return for how long every attempt has failed, for the services of which the last one did."""
        silent = {name: health.missing_seconds for name, health in self._health.items()}
        return {name: seconds for name, seconds in silent.items() if seconds}

    async def retry(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds; attempts that made progress do not count.

        Raises:
            PermanentError: a retry cannot succeed.
            TransientError: the last attempt failed for a temporary reason; ``attempts`` says how many there
                were.
            FatalError: the API is dead, or the service asks to wait for more than an hour.
        """
        health = self._health[service]
        in_vain = 0
        for made in itertools.count(1):
            is_probe = not health.is_well and await health.admit(made - 1)
            try:
                result = await attempt()
            except TransientError as error:
                error.attempts = made
                in_vain = 0 if error.made_progress else in_vain + 1
                self._errors[service] += 1
                if error.made_progress:
                    health.record_answer()
                health.record_failure(is_throttled=isinstance(error, RateLimited))
                if in_vain == self._retry.attempts or (in_vain and is_probe):
                    await health.give_up(error)
                    raise
                await self._back_off(error, max(1, in_vain))
            except (PermanentError, NotModified) as error:
                error.attempts = made
                health.record_answer()
                raise
            else:
                if not health.is_well:
                    health.record_answer()
                return result
        raise AssertionError("there is no last one")

    async def _back_off(self, error: TransientError, number: int) -> None:
        if isinstance(error, RateLimited):
            return  # the service's limiter is paused: waiting twice is of no use
        longest = backoff_seconds(number, self._retry.max_wait)
        seconds = max(self._jitter() * longest, error.retry_after or 0.0)
        log.debug("%s; attempt %d of %d in %.1f s", error, number + 1, self._retry.attempts, seconds)
        await self._sleep(seconds)
