"""
Credentials of requests: which origin gets which secret, and whether each secret is still accepted.

The token is sent to the API's own origin only, even if a record or a redirect names another one. The
credentials for statistics are sent to the statistics service only.
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
    `token_check`: a URL that every good token can read.
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
        # Services may share an origin, so service and origin must both match.
        if service == "stats":
            if self._stats is not None and url.origin() == self._stats_origin:
                return f"Basic {base64.b64encode(self._stats.reveal().encode()).decode()}"
        elif self._token is not None and url.origin() == self._token_origin:
            return f"token {self._token.reveal()}"
        return None

    def check_of(self, service: str) -> TokenCheck:
        """Return the check of the secret that requests to a service carry."""
        return self._stats_check if service == "stats" else self._token_check
