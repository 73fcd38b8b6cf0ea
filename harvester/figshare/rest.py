"""How the api's endpoints are asked: where their fields go, for whose account, and with which right."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from yarl import URL

from harvester.client import Client, Reply
from harvester.errors import Forbidden, Rejected

T = TypeVar("T")


class RestApi:
    """
    The api's endpoints, by their paths. All raise what `Client.retry` raises.

    `impersonate`: the account for which an administrator's token asks, 0 for its own. What is asked without
    a token is the same for everybody. ``right``: what only an administrator may do, for the error's words.

    Source: API reference, Impersonation: in the query of a GET, in the body of a POST.
    """

    def __init__(self, client: Client, base: URL, impersonate: int = 0) -> None:
        self._client = client
        self._base = base
        self._impersonate = impersonate

    @property
    def has_token(self) -> bool:
        """Whether there is a token to ask with."""
        return self._client.has_token

    async def get(
        self,
        path: str,
        decode: Callable[[bytes], T],
        fields: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        authorised: bool = False,
        if_none_match: str = "",
        right: str = "",
    ) -> Reply[T]:
        """Send the fields in the query; raise NotModified where `if_none_match` is still the ETag."""
        url = self._address(path, self._told(fields or {}, authorised=authorised))
        asking = self._client.json(
            "api", "GET", url, decode, headers=headers, authorised=authorised, if_none_match=if_none_match
        )
        return await self._explained(asking, right, authorised=authorised)

    async def post(
        self,
        path: str,
        decode: Callable[[bytes], T],
        fields: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        authorised: bool = False,
    ) -> Reply[T]:
        """Ask with the fields in a JSON body."""
        url, body = self._address(path, {}), self._told(fields, authorised=authorised)
        asking = self._client.json(
            "api", "POST", url, decode, body=body, headers=headers, authorised=authorised
        )
        return await self._explained(asking, "", authorised=authorised)

    def _told(self, fields: Mapping[str, Any], *, authorised: bool) -> Mapping[str, Any]:
        return {**fields, "impersonate": self._impersonate} if authorised and self._impersonate else fields

    def _address(self, path: str, query: Mapping[str, Any]) -> URL:
        """Return the address of a plain path below the base, at a third of what ``/`` costs."""
        url = self._base.with_path(f"{self._base.raw_path.rstrip('/')}/{path}", encoded=True)
        return url.with_query(query) if query else url

    async def _explained(self, asking: Awaitable[T], right: str, *, authorised: bool) -> T:
        """Wait for an answer; where a right is lacking and it is known which, say so."""
        if authorised and self._impersonate:
            right = f"act for account {self._impersonate}"
        try:
            return await asking
        except Forbidden as error:  # with a token that is good: the client has asked
            if not right:
                raise
            told = Rejected(f"{error}: the token may not {right}: an administrator's token is needed")
            told.attempts = error.attempts
            raise told from error
