"""HTTP session of a run, with a DNS resolver that applies the SSRF guard (`url_policy.py`)."""

from __future__ import annotations

import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver

from harvester.client.json_body import ENCODINGS
from harvester.client.url_policy import Network, refusal_reason, with_remedy
from harvester.config import Timeouts

READ_AHEAD = 1 << 20
"""Bytes of an answer that may wait in the buffer; with fewer the connection would pause all the time."""

Lookup = Callable[[str], Awaitable[None]]
"""Called with a host name before the DNS lookup; may raise OSError, as the lookup itself does."""


@asynccontextmanager
async def open_session(
    *,
    user_agent: str,
    timeouts: Timeouts,
    trusted_hosts: frozenset[str],
    private_hosts: bool = False,
    private_networks: Sequence[Network] = (),
    before_lookup: Lookup | None = None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """
    Open the HTTP session of a run.

    `trusted_hosts`: those in the config. Every other host must resolve to an address that is public or in
    one of `private_networks`, unless `private_hosts` are allowed, as with a sandbox: see `url_policy.py`.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the workers are the limit: no wait for a connection after the rate limiter
        resolver=_PublicResolver(None if private_hosts else trusted_hosts, private_networks, before_lookup),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,  # md5 and Range are of the stored bytes, and JSON has a limit: `json_body.py`
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": ENCODINGS},
        read_bufsize=READ_AHEAD,
        # The rest: `deadlines.py`.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_finite(timeouts.connect)),
    ) as session:
        yield session


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


class AddressForbidden(OSError):
    """A host name resolves to forbidden addresses only."""


class _PublicResolver(ThreadedResolver):
    """Resolves the hosts of records and redirects to public addresses only; `trusted` None: no such limit."""

    def __init__(
        self, trusted: frozenset[str] | None, networks: Sequence[Network], before_lookup: Lookup | None
    ) -> None:
        super().__init__()
        self._trusted = trusted
        self._networks = networks
        self._before_lookup = before_lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self._before_lookup is not None:
            await self._before_lookup(host)
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError as exc:
            raise OSError(None, f"{host} is not a valid host name") from exc
        if self._trusted is None or host in self._trusted:
            return found
        allowed = [entry for entry in found if refusal_reason(entry["host"], self._networks) is None]
        if found and not allowed:
            raise self._forbidden(host, found[0]["host"])
        return allowed

    def _forbidden(self, host: str, address: str) -> AddressForbidden:
        kind = refusal_reason(address, self._networks) or ""
        return AddressForbidden(None, f"{host} is {address} here, which is {with_remedy(kind)}")
