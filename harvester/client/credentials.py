"""
Credentials of requests: which origin gets which secret, and what was found out about each.

The token goes to the api's own origin and nowhere else, whatever a record or a redirect says; so do the
credentials for statistics, to theirs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from yarl import URL

from harvester.client.token_check import TokenCheck
from harvester.config.secrets import Secret


class Credentials:
    """
    The token for the api, and the credentials for statistics.

    `origins`: addresses by service.
    `token_check`: what every good token gets.
    `token`: None for requests without one.
    `stats`: "name:password", None for none.
    """

    def __init__(
        self,
        origins: Mapping[str, URL],
        *,
        token_check: URL,
        token: Secret | None = None,
        stats: Secret | None = None,
    ) -> None:
        self._token = token
        self._stats = stats
        self._token_origin = origins["api"].origin()
        self._stats_origin = origins["stats"].origin() if "stats" in origins else None
        self._token_check = TokenCheck("the token was refused", token.name if token else "", token_check)
        self._stats_check = TokenCheck(
            "the credentials for the statistics were refused", stats.name if stats else ""
        )

    @property
    def has_token(self) -> bool:
        """Whether there is a token for the api."""
        return self._token is not None

    def header(self, service: str, url: URL) -> str | None:
        """Return the value of Authorization for a request, None where the origin of `url` gets no secret."""
        # The services may share an origin, so it takes both to agree.
        if service == "stats":
            if self._stats is not None and url.origin() == self._stats_origin:
                return f"Basic {base64.b64encode(self._stats.reveal().encode()).decode()}"
        elif self._token is not None and url.origin() == self._token_origin:
            return f"token {self._token.reveal()}"
        return None

    def check_of(self, service: str) -> TokenCheck:
        """Return the check of what is sent with requests for a service."""
        return self._stats_check if service == "stats" else self._token_check
