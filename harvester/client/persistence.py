"""
The only retry loop: ask until it succeeds, gives up or runs out of attempts; sit out a service's outage.

A request that runs out of attempts is given up. When `DOWN_AFTER` in a row are given up and the service
has not answered anything meanwhile, it is in doubt: everybody waits while it is asked again, now and
then, for what it gave last. If it gives that, the others just had no luck. What never answered in this
run (for the api one request is enough to say so, as the first is alone), or nothing for as long as
`retry.patience`, is dead: the api ends the run, another service is refused at once and probed now and then.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from harvester.client.answers import backoff_seconds
from harvester.config import Retry
from harvester.errors import Broken, GiveUp, Throttled, TryAgain, Unreachable

T = TypeVar("T")
log = logging.getLogger(__name__)

DOWN_AFTER = 8
"""So many requests in a row given up, each after all its attempts, and no answer in between."""
PROBE_SECONDS = 15.0
REST_SECONDS = 60.0


@dataclass
class _Health:
    """
    Whether a service answers at all. Times are seconds of one clock; nothing here waits.

    ``is_vital``: the run cannot go on without it. ``silent_since``: the first failure since the last
    answer. ``next_probe``: nobody asks before. ``proof``: asks again for what the service gave last, None
    where nothing can be asked for twice.
    """

    patience: float
    is_vital: bool
    has_answered: bool = False
    given_up: int = 0
    silent_since: float = math.inf
    next_probe: float = -math.inf
    proof: Callable[[], Awaitable[object]] | None = None

    def is_down(self) -> bool:
        return self.given_up >= (1 if self.is_vital and not self.has_answered else DOWN_AFTER)

    def is_dead(self, now: float) -> bool:
        return self.is_down() and (not self.has_answered or now - self.silent_since >= self.patience)

    def answered(self) -> None:
        self.has_answered = True
        self.given_up = 0
        self.silent_since, self.next_probe = math.inf, -math.inf

    def failed(self, now: float) -> None:
        self.silent_since = min(self.silent_since, now)

    def takes_probe(self, now: float) -> bool:
        """Tell whether a request that comes `now` is the one that finds out; the next comes later."""
        if now < self.next_probe:
            return False
        self.next_probe = now + (REST_SECONDS if self.is_dead(now) else PROBE_SECONDS)
        return True


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
        self._health = {name: _Health(retry.patience, is_vital=name == "api") for name in services}

    def answered(self, service: str) -> None:
        """Note that a service is there: it answered, whatever it said."""
        self._health[service].answered()

    async def persist(
        self, service: str, attempt: Callable[[], Awaitable[T]], *, repeatable: bool = False
    ) -> T:
        """
        Make attempts until one succeeds; a `repeatable` one may be made again to see whether all is well.

        Raises:
            GiveUp: it cannot be had.
            TryAgain: the last attempt failed in a way that might pass; ``attempts`` says how many.
            StopRun: the api is dead, or the service asks for a wait of more than an hour.
        """
        health = self._health[service]
        for number in range(1, self._retry.attempts + 1):
            await self._admit(service, health)
            try:
                result = await attempt()
            except TryAgain as error:
                self._errors[service] += 1
                health.failed(self._clock())
                error.attempts = number
                if number == self._retry.attempts:
                    self._give_up(service, health, error)
                    raise
                await self._back_off(error, number)
            except GiveUp as error:
                error.attempts = number
                raise
            else:
                if repeatable:
                    health.proof = attempt
                return result
        raise AssertionError("attempts is at least one")

    async def _admit(self, service: str, health: _Health) -> None:
        """Let a request pass; while its service is down nobody, but for the one that finds out."""
        while health.is_down():
            now = self._clock()
            if health.takes_probe(now):
                if health.proof is None:
                    return
                await self._probe(service, health, health.proof)
            elif health.is_dead(now):
                error = Broken(f"{service}: does not answer; asked again after a rest")
                error.attempts = 0
                raise error
            else:
                await self._sleep(health.next_probe - now)

    async def _probe(self, service: str, health: _Health, proof: Callable[[], Awaitable[object]]) -> None:
        try:
            await proof()
        except TryAgain as error:
            self._errors[service] += 1
            if health.is_dead(self._clock()):
                self._bury(service, health, error)
        except GiveUp:
            health.answered()
        else:
            health.answered()

    def _give_up(self, service: str, health: _Health, error: TryAgain) -> None:
        was_down = health.is_down()
        health.given_up += 1
        now = self._clock()
        if health.is_dead(now):
            self._bury(service, health, error)
            health.next_probe = max(health.next_probe, now + REST_SECONDS)
        elif health.is_down() and not was_down:
            log.warning(
                "%s: %s in a row had no answer, the last: %s; waiting for it, for %.0f min at most",
                service, DOWN_AFTER, error, health.patience / 60,
            )  # fmt: skip

    def _bury(self, service: str, health: _Health, error: TryAgain) -> None:
        if health.is_vital:
            raise Unreachable(f"{error}; gave up after {error.attempts} attempts") from error
        log.warning("%s does not answer, resting it for %.0f s: %s", service, REST_SECONDS, error)

    async def _back_off(self, error: TryAgain, number: int) -> None:
        if isinstance(error, Throttled):
            return  # the service's limiter is paused: waiting twice helps nobody
        longest = backoff_seconds(number, self._retry.max_wait)
        seconds = max(self._jitter() * longest, error.retry_after or 0.0)
        log.debug("%s; attempt %d of %d in %.1f s", error, number + 1, self._retry.attempts, seconds)
        await self._sleep(seconds)
