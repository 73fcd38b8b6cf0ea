"""
Token check: finds out whether figshare refused the token, or only the item that was requested with it.

figshare answers a bad token and a missing right in the same way, with 403 and JSON. So one more request is
made, for a URL that good credentials can always read. A good answer counts until `REFUSALS_BEFORE_CHECK`
refusals have come in a row, because credentials can expire during a run. Before a refusal has consequences,
and at the end of a run, `confirm` checks after fewer refusals too.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import anyio
from yarl import URL

from harvester.errors import DoubtfulResponse, Forbidden, PermanentError, TokenRejected, TransientError

SendRequest: TypeAlias = Callable[[URL], Awaitable[object]]
"""Requests a URL with the secret."""

REFUSALS_BEFORE_CHECK = 8
_KIND = re.compile(r"/(total|timeline|breakdown)/")


@dataclass
class _TokenState:
    """
    What is known about a secret at one kind of URL.

    Attributes:
        address: a URL that it can always read, None while none is known.
        refusals: number of refusals since the last good answer.
        is_vouched_for: there was a good answer, and no refusal since has put it in doubt.
        last: the last refusal.
    """

    address: URL | None
    refusals: int = 0
    is_vouched_for: bool = False
    last: Forbidden | None = None


class TokenCheck:
    """
    Checks whether one secret is still accepted.

    `message`: the error text, such as "the token was refused".
    `variable`: the environment variable that holds the secret, "" if it is unknown.
    `address`: a URL that the secret can always read; None for the last one of the same kind that it could.
    Totals may be public, so they prove nothing about timelines.
    """

    def __init__(self, message: str, variable: str, address: URL | None = None) -> None:
        self._message = message
        self._variable = variable
        self._follows = address is None
        self._states: defaultdict[str, _TokenState] = defaultdict(lambda: _TokenState(address))
        self._refused_because: Forbidden | None = None
        self._lock = anyio.Lock()  # one check serves all requests that were refused meanwhile

    def accepted(self, url: URL) -> None:
        """Note that `url` was answered to a request with the secret."""
        state = self._state_at(str(url))
        state.refusals = 0
        if self._follows:
            state.address = url

    def raise_if_refused(self) -> None:
        """Raise TokenRejected if the secret is known to be refused; no more requests are made with it."""
        if self._refused_because is not None:
            variable = f" (environment variable {self._variable})" if self._variable else ""
            message = f"{self._message}{variable}: {self._refused_because}"
            raise TokenRejected(message) from self._refused_because

    async def judge_refusal(self, error: Forbidden, send: SendRequest) -> None:
        """
        Return if a refusal is about the requested item, and not about the secret.

        Raises:
            TokenRejected: the secret itself is refused.
            DoubtfulResponse: the secret could not be checked now.
        """
        state = self._state_at(error.address)
        state.refusals += 1
        state.last = error
        async with self._lock:
            self.raise_if_refused()
            if not state.is_vouched_for or state.refusals >= REFUSALS_BEFORE_CHECK:
                if error.address == str(state.address):
                    self._refused_because = error
                else:
                    await self._check(state, error, send)
        self.raise_if_refused()

    async def confirm(self, send: SendRequest) -> None:
        """Check the secret again if its last answer was a refusal; raises what `judge_refusal` raises."""
        async with self._lock:
            self.raise_if_refused()
            for state in tuple(self._states.values()):
                if state.refusals and state.last is not None:
                    await self._check(state, state.last, send)
        self.raise_if_refused()

    def _state_at(self, address: str) -> _TokenState:
        kind = _KIND.search(address) if self._follows else None
        return self._states[kind[1] if kind else ""]

    async def _check(self, state: _TokenState, error: Forbidden, send: SendRequest) -> None:
        if state.address is None:
            self._refused_because = error
            return
        try:
            await send(state.address)
        except Forbidden as refusal:
            self._refused_because = refusal
            return
        except TransientError as outage:
            doubt = f"{error}; whether the credentials are good could not be checked"
            raise DoubtfulResponse(f"{doubt}: {outage}") from outage
        except PermanentError:
            pass  # odd, but no refusal
        state.is_vouched_for, state.refusals = True, 0
