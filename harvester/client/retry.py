"""
The only retry loop: ask until it succeeds, gives up or runs out of attempts; sit out a service's outage.

A request that runs out of attempts is given up. When `DOWN_AFTER` in a row are (the first one of the api,
as long as that has answered nothing), the service is in doubt: everybody waits while its proof is asked
for now and then, something that it is known to give. If it comes, the others just had no luck. Where
nothing is known to come, what waits is tried in its place, one at a time and once each.

What gives no proof and never gave anything, or nothing for as long as `retry.patience`, is dead: the api
ends the run, another service is refused at once and probed now and then.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from harvester.client.responses import backoff_seconds
from harvester.config import Retry
from harvester.errors import ConnectionFailed, PermanentError, RateLimited, TransientError, Unreachable

T = TypeVar("T")
log = logging.getLogger(__name__)

DOWN_AFTER = 8
"""So many requests in a row given up, each after all its attempts, and no answer in between."""
PROBE_SECONDS = 15.0
REST_SECONDS = 60.0


@dataclass
class CircuitBreaker:
    """
    Whether a service answers at all. Times are seconds of one clock; nothing here waits.

    ``is_vital``: the run cannot go on without it. ``silent_since``: the first failure since the last
    answer. ``is_well``: it answers, and nothing has failed since. ``next_probe``: nobody asks before.
    ``proof``: asks for what the service is known to give, None where nothing is known; ``proof_failed``:
    and it did not give it.
    """

    patience: float
    probe_seconds: float
    is_vital: bool
    has_answered: bool = False
    given_up: int = 0
    silent_since: float = math.inf
    next_probe: float = -math.inf
    proof: Callable[[], Awaitable[object]] | None = None
    proof_failed: bool = False
    is_well: bool = False

    def is_down(self) -> bool:
        return self.given_up >= (1 if self.is_vital and not self.has_answered else DOWN_AFTER)

    def is_dead(self, now: float) -> bool:
        never = self.proof_failed and not self.has_answered
        return self.is_down() and (never or now - self.silent_since >= self.patience)

    def answered(self) -> None:
        self.has_answered, self.proof_failed = True, False
        self.given_up = 0
        self.silent_since, self.next_probe = math.inf, -math.inf
        self.is_well = True

    def failed(self, now: float) -> None:
        self.is_well = False
        self.silent_since = min(self.silent_since, now)

    def takes_probe(self, now: float) -> bool:
        """Tell whether a request that comes `now` is the one that finds out; the next comes later."""
        if now < self.next_probe:
            return False
        self.next_probe = now + (REST_SECONDS if self.is_dead(now) else self.probe_seconds)
        return True


class Retrier:
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
        probe_seconds = min(PROBE_SECONDS, retry.max_wait)
        self._health = {
            name: CircuitBreaker(retry.patience, probe_seconds, is_vital=name == "api") for name in services
        }

    def prove(self, service: str, proof: Callable[[], Awaitable[object]]) -> None:
        """Remember what a service gives, to ask for it again when it is in doubt."""
        self._health[service].proof = proof

    async def retry(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds; those that made progress are not counted.

        Raises:
            PermanentError: it cannot be had.
            TransientError: the last attempt failed in a way that might pass; ``attempts`` says how many.
            FatalError: the api is dead, or the service asks for a wait of more than an hour.
        """
        health = self._health[service]
        number = 0  # of those in vain
        for made in itertools.count(1):
            is_probe = not health.is_well and await self._admit(service, health, made)
            try:
                result = await attempt()
            except TransientError as error:
                error.attempts = made
                number = 0 if error.made_progress else number + 1
                await self._failed(service, health, error, number, is_probe=is_probe)
                await self._back_off(error, max(1, number))
            except PermanentError as error:
                error.attempts = made
                health.answered()
                raise
            else:
                if not health.is_well:
                    health.answered()
                return result
        raise AssertionError("there is no last one")

    async def _failed(
        self, service: str, health: CircuitBreaker, error: TransientError, number: int, *, is_probe: bool
    ) -> None:
        """Note a failure; raise the last one that is allowed, `number` counts those in vain."""
        self._errors[service] += 1
        if error.made_progress:
            health.answered()
        health.failed(self._clock())
        if number == self._retry.attempts or (number and is_probe):
            await self._give_up(service, health, error)
            raise error

    async def _admit(self, service: str, health: CircuitBreaker, number: int) -> bool:
        """
        Let a request pass; while its service is in doubt nobody, but for one that finds out.

        Returns whether this is the one.
        """
        while health.is_down():
            now = self._clock()
            if health.takes_probe(now):
                if health.proof is None:
                    return True
                await self._probe(service, health, health.proof)
            elif health.is_dead(now) and not health.is_vital:
                error = ConnectionFailed(f"{service}: does not answer; asked again after a rest")
                error.attempts = number - 1
                raise error
            else:
                await self._sleep(max(health.next_probe - now, 0.01))
        return False

    async def _probe(
        self,
        service: str,
        health: CircuitBreaker,
        proof: Callable[[], Awaitable[object]],
        blamed: TransientError | None = None,
    ) -> None:
        try:
            await proof()
        except TransientError as error:
            self._errors[service] += 1
            health.proof_failed = True
            self._bury_if_dead(service, health, blamed or error)
        except PermanentError:
            health.answered()
        else:
            health.answered()

    async def _give_up(self, service: str, health: CircuitBreaker, error: TransientError) -> None:
        was_down = health.is_down()
        health.given_up += 1
        if not health.is_down():
            return
        if health.proof is not None and health.takes_probe(self._clock()):
            await self._probe(service, health, health.proof, blamed=error)
        else:
            self._bury_if_dead(service, health, error)
        if health.is_down() and not was_down:
            log.warning(
                "%s does not answer: %s; waiting for it, for %.0f min at most",
                service, error, health.patience / 60,
            )  # fmt: skip

    def _bury_if_dead(self, service: str, health: CircuitBreaker, error: TransientError) -> None:
        now = self._clock()
        if not health.is_dead(now):
            return
        if health.is_vital:
            raise Unreachable(f"{error}; gave up after {error.attempts} attempts") from error
        health.next_probe = max(health.next_probe, now + REST_SECONDS)
        log.warning("%s does not answer, resting it for %.0f s: %s", service, REST_SECONDS, error)

    async def _back_off(self, error: TransientError, number: int) -> None:
        if isinstance(error, RateLimited):
            return  # the service's limiter is paused: waiting twice helps nobody
        longest = backoff_seconds(number, self._retry.max_wait)
        seconds = max(self._jitter() * longest, error.retry_after or 0.0)
        log.debug("%s; attempt %d of %d in %.1f s", error, number + 1, self._retry.attempts, seconds)
        await self._sleep(seconds)
