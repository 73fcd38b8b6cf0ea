"""The only retry loop: ask until it succeeds, gives up or runs out of attempts; rest what is dead."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from harvester.client.answers import backoff_seconds
from harvester.config import Retry
from harvester.errors import Broken, Damaged, GiveUp, Throttled, TryAgain, Unreachable

T = TypeVar("T")
log = logging.getLogger(__name__)

DEAD_AFTER = 8
"""So many requests in a row given up, each after all its attempts: the service is dead."""
REST_SECONDS = 60.0


@dataclass
class _Health:
    """Whether a service answers at all."""

    has_answered: bool = False
    given_up: int = 0
    rests_until: float = -math.inf

    @property
    def is_dead(self) -> bool:
        return self.given_up >= (DEAD_AFTER if self.has_answered else 1)

    def answered(self) -> None:
        self.has_answered = True
        self.given_up = 0


class Persistence:
    """Makes attempts for the client; `errors` counts those that failed, by service."""

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
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._health = {name: _Health() for name in services}

    async def persist(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds.

        Raises:
            GiveUp: it cannot be had.
            TryAgain: the last attempt failed in a way that might pass; ``attempts`` says how many.
            StopRun: the api is dead, or the service asks for a wait of more than an hour.
        """
        health = self._health[service]
        self._refuse_while_resting(service, health)
        for number in range(1, self._retry.attempts + 1):
            try:
                result = await attempt()
            except TryAgain as error:
                self._errors[service] += 1
                error.attempts = number
                if number == self._retry.attempts:
                    self._give_up(service, health, error)
                    raise
                await self._back_off(error, number)
            except GiveUp as error:
                error.attempts = number
                health.answered()
                raise
            else:
                health.answered()
                return result
        raise AssertionError("attempts is at least one")

    def _refuse_while_resting(self, service: str, health: _Health) -> None:
        if not health.is_dead:
            return
        if self._clock() < health.rests_until:
            error = Broken(f"{service}: does not answer; asked again after a rest")
            error.attempts = 0
            raise error
        health.rests_until = self._clock() + REST_SECONDS  # whoever comes first now, probes

    def _give_up(self, service: str, health: _Health, error: TryAgain) -> None:
        if isinstance(error, Damaged):
            return  # it answers, if only with the wrong bytes
        health.given_up += 1
        if not health.is_dead:
            return
        if service == "api":
            raise Unreachable(f"{error}; gave up after {error.attempts} attempts") from error
        health.rests_until = self._clock() + REST_SECONDS
        log.warning("%s does not answer, resting it for %.0f s: %s", service, REST_SECONDS, error)

    async def _back_off(self, error: TryAgain, number: int) -> None:
        if isinstance(error, Throttled):
            return  # the service's limiter is paused: waiting twice helps nobody
        longest = backoff_seconds(number, self._retry.max_wait)
        seconds = max(self._jitter() * longest, error.retry_after or 0.0)
        log.debug("%s; attempt %d of %d in %.1f s", error, number + 1, self._retry.attempts, seconds)
        await self._sleep(seconds)
