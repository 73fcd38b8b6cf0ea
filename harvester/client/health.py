"""
Health check and outage of a service: one circuit breaker for each service, and what happens while it is open.

The breaker opens after `FAILURES_BEFORE_OPEN` requests in a row have failed in all their attempts. For the
API the first such request is enough if it has never answered. While the breaker is open, requests wait and
the health check is repeated: a request that the service is known to answer. If it succeeds, only the failed
requests were at fault, and all others continue. Without a health check the waiting requests are tried one at
a time, once each.

A service is dead if its health check fails and it has never answered, or after `retry.outage_timeout` without
an answer. A dead API ends the run. Requests to another dead service fail immediately, and it is probed from
time to time.
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
"""Requests in a row that failed in all their attempts, with no answer in between."""
PROBE_SECONDS = 15.0
DEAD_SECONDS = 60.0
"""Time between two probes of a dead service."""
SHORTEST_SLEEP_SECONDS = 0.01


class ServiceHealth:
    """
    The health of one service: whether it answers, and which requests may be sent while that is in doubt.

    Attributes:
        name: of the service.
        outage_timeout: seconds without an answer after which it is dead.
        is_vital: whether the run cannot continue without it.
        is_well: whether its last attempt got an answer.
        health_check: requests something that the service is known to answer; None if nothing is known.
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
        """Count an answer."""
        self._breaker.record_success()
        self._check_failed = False
        self._silent_since = math.inf
        self.is_well = True

    def record_failure(self) -> None:
        """Count a failed attempt."""
        self.is_well = False
        self._silent_since = min(self._silent_since, self._clock())

    async def admit(self, attempts_made: int) -> bool:
        """
        Wait until a request may be made; return whether it is a probe.

        Raises:
            ConnectionFailed: the service is dead; other requests probe it.
            Unreachable: the API is dead.
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
        Count a request that failed in all its attempts, the last time with `error`.

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
