"""The one session of a run, and what aiohttp's errors are called here."""

from __future__ import annotations

import ipaddress
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from harvester.client.answers import name_of
from harvester.client.bodies import ENCODINGS
from harvester.config import Timeouts
from harvester.errors import Broken, HarvestError, Misshapen

READ_AHEAD = 1 << 20
"""Bytes of an answer that may wait to be taken: with fewer a connection is stopped all the time."""

Lookup = Callable[[str], Awaitable[None]]
"""Called with a host's name before it is looked up; it may raise OSError, as a name server's silence does."""


@asynccontextmanager
async def open_session(
    *,
    user_agent: str,
    timeouts: Timeouts,
    trusted_hosts: frozenset[str],
    private_hosts: bool = False,
    before_lookup: Lookup | None = None,
) -> AsyncIterator[aiohttp.ClientSession]:
    """
    Open the one session of a run.

    `trusted_hosts`: those that the user named; every other host must have a public address, unless
    `private_hosts` are meant, as with a sandbox.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the workers are the limit: a wait for a connection would follow the limiter's turn
        resolver=_PublicResolver(None if private_hosts else trusted_hosts, before_lookup),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,  # md5 and Range are of the stored bytes, and JSON has a limit: `bodies.py`
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": ENCODINGS},
        read_bufsize=READ_AHEAD,
        # The rest: `deadlines.py`.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_finite(timeouts.connect)),
    ) as session:
        yield session


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


class _PublicResolver(ThreadedResolver):
    """Finds no private addresses for hosts that a record or a redirect named; `trusted` None: for any."""

    def __init__(self, trusted: frozenset[str] | None, before_lookup: Lookup | None) -> None:
        super().__init__()
        self._trusted = trusted
        self._before_lookup = before_lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if self._before_lookup is not None:
            await self._before_lookup(host)
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError as exc:
            raise OSError(None, f"{host} is no name of a host") from exc
        if self._trusted is None or host in self._trusted:
            return found
        public = [entry for entry in found if ipaddress.ip_address(entry["host"]).is_global]
        if not public:
            raise OSError(None, f"{host} has no public address")
        return public


FOREIGN = (aiohttp.ClientError, TimeoutError, ValueError)
"""What aiohttp raises while an address is asked, also of one that cannot be; `translated` makes it ours."""


def translated(error: Exception, url: URL) -> HarvestError:
    """Say in our own errors what aiohttp and the system say of `url`."""
    name = name_of(url)
    match error:
        case ValueError():  # aiohttp's own is a subclass
            return Misshapen(f"{name}: not an address")
        case aiohttp.ClientConnectorCertificateError():
            return Broken(f"{name}: its certificate is not trusted (SSL_CERT_FILE?)")
        case aiohttp.ClientConnectorDNSError():
            return Broken(f"{name}: the host's name leads nowhere")
        case aiohttp.ClientConnectorError():
            return Broken(f"{name}: no connection ({_why(error.os_error)})")
        case TimeoutError():  # aiohttp's own are subclasses
            return Broken(f"{name}: timed out")
        case aiohttp.ClientPayloadError():
            return Broken(f"{name}: cut before its end")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return Broken(f"{name}: the connection was cut")
        case _:
            return Broken(f"{name}: {type(error).__name__}")


def _why(error: OSError) -> str:
    """Say in the system's words why there is no connection; asyncio's own texts show addresses."""
    return os.strerror(error.errno) if error.errno else str(error)
