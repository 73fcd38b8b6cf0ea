"""
Health check and outage of a service: one circuit breaker each, and what happens while it is open.

A request that runs out of attempts is given up. When `FAILURES_BEFORE_OPEN` in a row are (the first one of
the api, as long as that has answered nothing), the breaker opens: requests to the service wait while the
health check is made now and then, a request that it is known to answer. If it answers, the requests before
were bad ones, and all goes on. Where there is no health check, what waits is tried, one at a time and once
each.

A service is dead when its health check fails and it never answered, or when it was silent for as long as
`retry.outage_timeout`. A dead api ends the run; requests to another dead service fail at once, and it is
probed now and then.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from harvester.client.breaker import CircuitBreaker
from harvester.errors import ConnectionFailed, PermanentError, TransientError, Unreachable

log = logging.getLogger(__name__)

HealthCheck: TypeAlias = Callable[[], Awaitable[object]]

FAILURES_BEFORE_OPEN = 8
"""So many requests in a row given up, each after all its attempts, and no answer in between."""
PROBE_SECONDS = 15.0
DEAD_SECONDS = 60.0
"""Between two probes of a dead service."""
SHORTEST_SLEEP_SECONDS = 0.01


class ServiceHealth:
    """
    Whether a service answers, and who may ask while that is in doubt.

    Attributes:
        name: of the service.
        outage_timeout: seconds of silence after which it is dead.
        is_vital: whether the run cannot go on without it.
        is_well: whether it answers, and nothing has failed since.
        health_check: requests what the service is known to give; None where nothing is known.
    """

    def __init__(
        self,
        name: str,
        *,
        outage_timeout: float,
        probe_seconds: float,
        is_vital: bool,
        errors: Counter[str],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.name = name
        self.outage_timeout = outage_timeout
        self.is_vital = is_vital
        self.is_well = False
        self.health_check: HealthCheck | None = None
        self._breaker = CircuitBreaker(FAILURES_BEFORE_OPEN, first_threshold=1 if is_vital else None)
        self._probe_seconds = probe_seconds
        self._silent_since = math.inf
        self._check_failed = False
        self._errors = errors
        self._clock = clock
        self._sleep = sleep

    def record_answer(self) -> None:
        """Note that it answered."""
        self._breaker.record_success()
        self._check_failed = False
        self._silent_since = math.inf
        self.is_well = True

    def record_failure(self) -> None:
        """Note that an attempt failed."""
        self.is_well = False
        self._silent_since = min(self._silent_since, self._clock())

    async def admit(self, attempts_made: int) -> bool:
        """
        Wait until a request may be made; return whether it is a probe.

        Raises:
            ConnectionFailed: the service is dead, and others find out when it is not.
            Unreachable: the api is dead.
        """
        while not self._breaker.is_closed:
            if self._try_acquire_probe():
                if self.health_check is None:
                    return True
                await self._probe(self.health_check)
            elif self._is_dead() and not self.is_vital:
                error = ConnectionFailed(f"{self.name}: unavailable; it is requested again later")
                error.attempts = attempts_made
                raise error
            else:
                await self._sleep(max(self._breaker.next_probe - self._clock(), SHORTEST_SLEEP_SECONDS))
        return False

    async def give_up(self, error: TransientError) -> None:
        """
        Note that a request ran out of attempts with `error`.

        Raises:
            Unreachable: the api is dead.
        """
        was_closed = self._breaker.is_closed
        self._breaker.record_failure(self._clock())
        if self._breaker.is_closed:
            return
        if self.health_check is not None and self._try_acquire_probe():
            await self._probe(self.health_check, blamed=error)
        else:
            self._rest_if_dead(error)
        if was_closed and not self._breaker.is_closed:
            log.warning(
                "%s is unavailable: %s; waiting for up to %.0f min",
                self.name, error, self.outage_timeout / 60,
            )  # fmt: skip

    def _try_acquire_probe(self) -> bool:
        seconds = DEAD_SECONDS if self._is_dead() else self._probe_seconds
        return self._breaker.try_acquire_probe(self._clock(), seconds=seconds)

    def _is_dead(self) -> bool:
        has_never_worked = self._check_failed and not self._breaker.has_succeeded
        silent_seconds = self._clock() - self._silent_since
        is_dead = has_never_worked or silent_seconds >= self.outage_timeout
        return is_dead and not self._breaker.is_closed

    async def _probe(self, check: HealthCheck, blamed: TransientError | None = None) -> None:
        try:
            await check()
        except TransientError as error:
            self._errors[self.name] += 1
            self._check_failed = True
            self._rest_if_dead(blamed or error)
        except PermanentError:
            self.record_answer()
        else:
            self.record_answer()

    def _rest_if_dead(self, error: TransientError) -> None:
        if not self._is_dead():
            return
        if self.is_vital:
            raise Unreachable(f"{error}; gave up after {error.attempts} attempts") from error
        self._breaker.rest_until(self._clock() + DEAD_SECONDS)
        log.warning("%s is unavailable; retrying in %.0f s: %s", self.name, DEAD_SECONDS, error)
