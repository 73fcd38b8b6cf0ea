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
from harvester.system.log_events import event
from harvester.text.units import human_seconds
from harvester.text.wording import counted

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
        self._missing_since = math.inf  # the same, 0 after a request for a pause
        self._check_failed = False
        self._cause = ""  # what requests have in common that fail in an outage
        self._logged: set[str] = set()  # what was logged of an outage; its end is logged too
        self._errors = errors
        self._clock = clock
        self._sleep = sleep

    def record_answer(self) -> None:
        """Count an answer."""
        self._breaker.record_success()
        if self._logged:
            self._log_end()
        self._check_failed = False
        self._silent_since = self._missing_since = math.inf
        self.is_well = True

    def _log_end(self) -> None:
        self._logged.clear()
        seconds = max(0.0, self._clock() - self._silent_since)
        extra = event("resume", service=self.name, seconds=round(seconds, 1))
        log.info("%s answers again after %s", self.name, human_seconds(seconds), extra=extra)

    def record_failure(self, *, is_throttled: bool = False) -> None:
        """Count a failed attempt; `is_throttled`: the service answered that it wants a pause."""
        self.is_well = False
        self._silent_since = min(self._silent_since, self._clock())
        self._missing_since = math.inf if is_throttled else min(self._missing_since, self._clock())

    @property
    def missing_seconds(self) -> float:
        """For how long every attempt has failed; 0 if the last one did not, or if it is dead."""
        if self._is_dead():  # then nothing waits for it
            return 0.0
        return max(0.0, self._clock() - self._missing_since)

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
                error.common_cause = self._cause
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
        self._cause = error.common_cause = error.common_cause or f"{self.name} is unavailable"
        if self.health_check is not None and self._try_acquire_probe():
            await self._probe(self.health_check, blamed=error)
        else:
            self._rest_if_dead(error)
        if not self._logged and was_closed and not self._breaker.is_closed:
            self._log_outage(error, f"waiting for up to {human_seconds(self.outage_timeout)}")

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
            raise Unreachable(f"{error}; gave up after {counted(error.attempts, 'attempt')}") from error
        self._breaker.rest_until(self._clock() + DEAD_SECONDS)
        self._log_outage(error, f"its requests fail now; checked again every {DEAD_SECONDS:.0f} s")

    def _log_outage(self, error: TransientError, then: str) -> None:
        """Log what an outage leads to, once until it ends: it may take days."""
        level = logging.DEBUG if then in self._logged else logging.WARNING
        self._logged.add(then)
        extra = event("pause", service=self.name, seconds=None, reason=str(error))
        log.log(level, "%s is unavailable: %s; %s", self.name, error, then, extra=extra)
