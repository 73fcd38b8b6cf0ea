"""
A credentials check: is it the token that was refused, or only what was asked for with it?

figshare answers a bad token and a missing right alike, with 403 and JSON. What decides is one more request,
for something that good credentials always get. A good answer is believed until `REFUSALS_BEFORE_CHECK`
refusals came in a row: credentials can expire in the middle of a run. Before much is made of a refusal, and
at the end of a run, `confirm` asks also after fewer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from yarl import URL

from harvester.errors import DoubtfulResponse, Forbidden, PermanentError, TokenRejected, TransientError

REFUSALS_BEFORE_CHECK = 8
_KIND = re.compile(r"/(total|timeline|breakdown)/")


@dataclass
class _Standing:
    """
    What is known of a secret at one kind of address.

    ``address``: what it always gets there, None while nobody knows. ``refusals``: since it was last seen to
    be good; ``last``: the last of them.
    """

    address: URL | None
    refusals: int = 0
    is_vouched_for: bool = False
    last: Forbidden | None = None


class TokenCheck:
    """
    Whether one secret is still accepted.

    `said`: how its refusal is told, such as "the token was refused". `variable`: the environment variable
    that holds it, "" where nobody knows. `ask`: requests an address with it. `address`: what it always gets;
    None: what it got last of the same kind. Totals may be open to everybody, and prove nothing of timelines.
    """

    def __init__(
        self, said: str, variable: str, ask: Callable[[URL], Awaitable[object]], address: URL | None = None
    ) -> None:
        self._said = said
        self._variable = variable
        self._ask = ask
        self._follows = address is None
        self._standings: defaultdict[str, _Standing] = defaultdict(lambda: _Standing(address))
        self._refused_because: Forbidden | None = None
        self._lock = anyio.Lock()  # one check serves all that were refused meanwhile

    def accepted(self, url: URL) -> None:
        """Note that `url` was answered to a request with the secret."""
        standing = self._standing(str(url))
        standing.refusals = 0
        if self._follows:
            standing.address = url

    def raise_if_refused(self) -> None:
        """Raise TokenRefused where the secret is known to be refused: nothing is asked with it any more."""
        if self._refused_because is not None:
            variable = f" (environment variable {self._variable})" if self._variable else ""
            raise TokenRejected(f"{self._said}{variable}: {self._refused_because}") from self._refused_because

    async def settle(self, error: Forbidden) -> None:
        """
        Return where a refusal is about what was asked for.

        Raises:
            TokenRejected: the secret itself is refused.
            DoubtfulResponse: nobody can tell now.
        """
        standing = self._standing(error.address)
        standing.refusals += 1
        standing.last = error
        async with self._lock:
            self.raise_if_refused()
            if not standing.is_vouched_for or standing.refusals >= REFUSALS_BEFORE_CHECK:
                if error.address == str(standing.address):
                    self._refused_because = error
                else:
                    await self._check(standing, error)
        self.raise_if_refused()

    async def confirm(self) -> None:
        """Ask again where a refusal was the last word on the secret; raises what `settle` raises."""
        async with self._lock:
            self.raise_if_refused()
            for standing in tuple(self._standings.values()):
                if standing.refusals and standing.last is not None:
                    await self._check(standing, standing.last)
        self.raise_if_refused()

    def _standing(self, address: str) -> _Standing:
        kind = _KIND.search(address) if self._follows else None
        return self._standings[kind[1] if kind else ""]

    async def _check(self, standing: _Standing, error: Forbidden) -> None:
        if standing.address is None:
            self._refused_because = error
            return
        try:
            await self._ask(standing.address)
        except Forbidden as refusal:
            self._refused_because = refusal
            return
        except TransientError as outage:
            doubt = f"{error}; whether the credentials are good could not be asked"
            raise DoubtfulResponse(f"{doubt}: {outage}") from outage
        except PermanentError:
            pass  # odd, but no refusal
        standing.is_vouched_for, standing.refusals = True, 0
