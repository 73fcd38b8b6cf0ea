"""REST calls: sends the parameters of an endpoint, with the account that the token acts for."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from yarl import URL

from harvester.client import Client, Reply
from harvester.errors import Forbidden, NotFound, Rejected
from harvester.figshare.api_version import Endpoint

T = TypeVar("T")
NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


class RestApi:
    """
    The endpoints of one service. All calls raise what `Client.retry` raises.

    `service`: its name, "api" or "stats".
    `impersonate`: the account that an administrator's token acts for, 0 for its own. It is not sent without
    a token.

    Source: API reference, Impersonation: it is in the query of a GET, in the body of a POST.
    """

    def __init__(self, client: Client, base: URL, *, service: str = "api", impersonate: int = 0) -> None:
        self._client = client
        self._base = base
        self._service = service
        self._impersonate = impersonate

    @property
    def has_token(self) -> bool:
        """Whether there is a token."""
        return self._client.has_token

    async def request(
        self,
        endpoint: Endpoint[T],
        params: Mapping[str, Any] = NO_PARAMS,
        *,
        headers: Mapping[str, str] | None = None,
        authorised: bool = False,
        if_none_match: str = "",
        **values: Any,
    ) -> Reply[T]:
        """
        Return the decoded answer of an endpoint; `values`: the values in its path.

        `authorised`: send the credentials, even if the endpoint does not require them.
        `if_none_match`: an ETag, "" for none.

        Raises:
            NotModified: the answer still has this ETag.
        """
        authorised = authorised or endpoint.authorised
        params = self._impersonating(params, authorised=authorised)
        in_query = endpoint.method == "GET"
        reply = self._client.json(
            self._service,
            endpoint.method,
            self.url(endpoint, params if in_query else NO_PARAMS, **values),
            endpoint.decode,
            body=None if in_query else params,
            headers=headers,
            authorised=authorised,
            if_none_match=if_none_match,
        )
        return await self._explained(reply, endpoint, authorised=authorised)

    def url(self, endpoint: Endpoint[Any], params: Mapping[str, Any] = NO_PARAMS, **values: Any) -> URL:
        """Return the URL of an endpoint, three times as fast as ``base / path``."""
        path = f"{self._base.raw_path.rstrip('/')}/{endpoint.path.format(**values)}"
        url = self._base.with_path(path, encoded=True)
        return url.with_query(params) if params else url

    def _impersonating(self, params: Mapping[str, Any], *, authorised: bool) -> Mapping[str, Any]:
        if not (authorised and self._impersonate):
            return params
        return {**params, "impersonate": self._impersonate}

    async def _explained(self, reply: Awaitable[T], endpoint: Endpoint[Any], *, authorised: bool) -> T:
        """Return the reply; the error of a refusal names the missing right, if it is known."""
        right, acts = endpoint.right, authorised and self._impersonate
        if acts:
            right = f"act for account {self._impersonate}"
        try:
            return await reply
        except NotFound as error:
            if not acts or "{" in endpoint.path:  # what the path names may be missing
                raise
            why = "the token may not act for this account, or there is none"
            rejected = Rejected(f"--impersonate {self._impersonate}: {why}")
            rejected.attempts = error.attempts
            raise rejected from error
        except Forbidden as error:  # the token is good: the client has checked it
            if not right:
                raise
            rejected = Rejected(f"{error}: the token may not {right}: an administrator's token is needed")
            rejected.attempts = error.attempts
            raise rejected from error
