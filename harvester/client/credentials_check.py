"""
A credentials check: is it the token that was refused, or only what was asked for with it?

figshare answers a bad token and a missing right alike, with 403 and JSON. What decides is one more request,
for something that good credentials always get. A good answer is believed until `REFUSALS_BEFORE_CHECK`
refusals came in a row: credentials can expire in the middle of a run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
from yarl import URL

from harvester.errors import Doubtful, GiveUp, NotAllowed, TokenRefused, TryAgain

REFUSALS_BEFORE_CHECK = 8


class CredentialsCheck:
    """
    Whether one secret is still accepted.

    `said`: how its refusal is told, such as "the token was refused". `variable`: the environment variable
    that holds it, "" where nobody knows. `ask`: requests an address with it. `address`: what it always gets;
    None: what it got last.
    """

    def __init__(
        self, said: str, variable: str, ask: Callable[[URL], Awaitable[object]], address: URL | None = None
    ) -> None:
        self._said = said
        self._variable = variable
        self._ask = ask
        self._address = address
        self._follows = address is None
        self._refusals = 0
        self._is_vouched_for = False
        self._refused_because: NotAllowed | None = None
        self._lock = anyio.Lock()  # one check serves all that were refused meanwhile

    def accepted(self, url: URL) -> None:
        """Note that `url` was answered to a request with the secret."""
        self._refusals = 0
        if self._follows:
            self._address = url

    def raise_if_refused(self) -> None:
        """Raise TokenRefused where the secret is known to be refused: nothing is asked with it any more."""
        if self._refused_because is not None:
            variable = f" (environment variable {self._variable})" if self._variable else ""
            raise TokenRefused(f"{self._said}{variable}: {self._refused_because}") from self._refused_because

    async def settle(self, error: NotAllowed) -> None:
        """
        Return where a refusal is about what was asked for.

        Raises:
            TokenRefused: the secret itself is refused.
            Doubtful: nobody can tell now.
        """
        self._refusals += 1
        async with self._lock:
            self.raise_if_refused()
            if not self._is_vouched_for or self._refusals >= REFUSALS_BEFORE_CHECK:
                await self._check(error)
        self.raise_if_refused()

    async def _check(self, error: NotAllowed) -> None:
        if self._address is None or error.address == str(self._address):
            self._refused_because = error
            return
        try:
            await self._ask(self._address)
        except NotAllowed as refusal:
            self._refused_because = refusal
            return
        except TryAgain as outage:
            doubt = f"{error}; whether the credentials are good could not be asked"
            raise Doubtful(f"{doubt}: {outage}") from outage
        except GiveUp:
            pass  # odd, but no refusal
        self._is_vouched_for, self._refusals = True, 0
