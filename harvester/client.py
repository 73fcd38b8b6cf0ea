"""
One polite HTTP client: the only `import aiohttp`, the only retry loop, the only place where foreign
errors become ours.

    persist   ask until it succeeds, gives up or runs out of attempts; rest a service that is dead
      └─ json / fetch   one attempt: an answer decoded, or a file's bytes handed on
           └─ _ask      wait for a turn, send, follow redirects, judge the status

Every request, a retry and a redirect to a service too, passes that service's limiter. The token goes
to the api's own origin and nowhere else, whatever a record or a redirect says.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import random
import socket
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

import aiohttp
import anyio
import orjson
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver
from multidict import CIMultiDictProxy
from yarl import URL

from harvester.config import Retry, Secret, Timeouts
from harvester.errors import (
    Broken,
    Challenged,
    Damaged,
    GiveUp,
    Gone,
    HarvestError,
    Misshapen,
    Refused,
    ServerFailed,
    StopRun,
    Throttled,
    TokenRefused,
    TryAgain,
    Unreachable,
)
from harvester.limits import Limiter

T = TypeVar("T")
log = logging.getLogger(__name__)

JSON_LIMIT = 64 << 20
"""Bytes of one JSON answer, after decompression."""
MOST_REDIRECTS = 5
LONGEST_RETRY_AFTER_SECONDS = 3600.0
DEAD_AFTER = 8
"""So many requests in a row given up, each after all its attempts: the service is dead."""
REST_SECONDS = 60.0

_REDIRECTS = {301, 302, 303, 307, 308}
_IDENTITY = {"Accept-Encoding": "identity"}


@dataclass
class Traffic:
    """What went over the wire so far; counted by the client, read by whoever shows it."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    file_bytes: int = 0


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A decoded JSON answer with its headers."""

    value: T
    headers: CIMultiDictProxy[str]


class Sink(Protocol):
    """Where a file's bytes go: see `store.Partial`."""

    received: int
    validator: str | None

    async def write(self, piece: bytes) -> None: ...
    async def start_over(self) -> None: ...


@dataclass
class _Health:
    """Whether a service answers at all."""

    has_answered: bool = False
    given_up: int = 0
    complaints: int = 0
    rests_until: float = -math.inf

    @property
    def is_dead(self) -> bool:
        return self.given_up >= (DEAD_AFTER if self.has_answered else 1)

    def answered(self) -> None:
        self.has_answered = True
        self.given_up = 0


class Client:
    """
    Talks to figshare's services within their limits.

    `limiters`: one a service, by its name; "api" is the one without which a run cannot go on.
    `origins`: the services that are known by their address, so that a redirect to one counts.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        limiters: Mapping[str, Limiter],
        origins: Mapping[str, URL],
        retry: Retry,
        timeouts: Timeouts,
        token: Secret | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.limiters = limiters
        self.traffic = Traffic()
        self._session = session
        self._origins = {origin.origin(): name for name, origin in origins.items()}
        self._api = origins["api"].origin()
        self._retry = retry
        self._timeouts = timeouts
        self._token = token
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._health = {name: _Health() for name in limiters}
        self._proxies = urllib.request.getproxies()

    # -- many attempts ----------------------------------------------------------------------------

    async def persist(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds.

        Raises:
            GiveUp: it cannot be had.
            TryAgain: the last attempt failed in a way that might pass; ``attempts`` says how many.
            StopRun: the api is dead, or the service asks for a wait of more than an hour.
        """
        health = self._health[service]
        self._refuse_while_resting(service, health)
        for number in range(1, self._retry.attempts + 1):
            try:
                result = await attempt()
            except TryAgain as error:
                self.traffic.errors[service] += 1
                error.attempts = number
                if number == self._retry.attempts:
                    self._give_up(service, health, error)
                    raise
                await self._back_off(error, number)
            except GiveUp as error:
                error.attempts = number
                health.answered()
                raise
            else:
                health.answered()
                return result
        raise AssertionError("attempts is at least one")

    def _refuse_while_resting(self, service: str, health: _Health) -> None:
        if health.is_dead and self._clock() < health.rests_until:
            error = Broken(f"{service}: does not answer; asked again after a rest")
            error.attempts = 0
            raise error
        health.rests_until = self._clock() + REST_SECONDS  # whoever comes first now, probes

    def _give_up(self, service: str, health: _Health, error: TryAgain) -> None:
        if isinstance(error, Damaged):
            return  # it answers, if only with the wrong bytes
        health.given_up += 1
        if not health.is_dead:
            return
        if service == "api":
            raise Unreachable(f"{error}; gave up after {error.attempts} attempts") from error
        health.rests_until = self._clock() + REST_SECONDS
        log.warning("%s does not answer, resting it for %.0f s: %s", service, REST_SECONDS, error)

    async def _back_off(self, error: TryAgain, number: int) -> None:
        if isinstance(error, Throttled):
            return  # the service's limiter is paused: waiting twice helps nobody
        longest = backoff_seconds(number, self._retry.max_wait)
        seconds = max(self._jitter() * longest, error.retry_after or 0.0)
        log.info("%s; attempt %d of %d in %.1f s", error, number + 1, self._retry.attempts, seconds)
        await self._sleep(seconds)

    # -- one attempt ------------------------------------------------------------------------------

    async def json(
        self,
        service: str,
        method: str,
        url: URL,
        decode: Callable[[bytes], T],
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        authorised: bool = False,
    ) -> Reply[T]:
        """
        Ask for JSON until it comes; `decode` turns the bytes into what is wanted.

        `decode` raises `Broken` for bytes that are not JSON and `Misshapen` for JSON of another
        shape. Other errors: as `persist`.
        """
        sent = dict(headers or {})
        data = None
        if body is not None:
            data = orjson.dumps(body)
            sent["Content-Type"] = "application/json"

        async def attempt() -> Reply[T]:
            async with self._ask(
                service, method, url, headers=sent, data=data, authorised=authorised
            ) as response:
                raw = await self._read_json(response)
                if not raw:
                    raise Challenged(f"{_name(url)}: an empty answer where JSON was promised")
                return Reply(decode(raw), response.headers)

        return await self.persist(service, attempt)

    async def fetch(
        self, url: URL, into: Sink, size: int, *, is_page: bool, authorised: bool = False
    ) -> None:
        """
        Ask once for the rest of a file and hand its bytes on.

        `size`: bytes of the whole file; `is_page`: whether HTML is what the file holds. A request
        to the api's host counts for the api as well as for files.

        Raises:
            Challenged: what came is not the file but a page for browsers, or nothing.
            Broken: the bytes ended early, came too slowly or belong to something else.
        """
        headers = dict(_IDENTITY)
        if 0 < into.received < size:
            headers["Range"] = f"bytes={into.received}-"
            if into.validator:
                headers["If-Range"] = into.validator
        elif into.received:
            return  # all of it is here: a crash came between the last byte and the proof
        async with self._ask("files", "GET", url, headers=headers, authorised=authorised) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                await into.start_over()
                raise Broken(f"{_name(url)}: has no more bytes after {size}; starting over")
            _check_promise(url, response, is_page=is_page, size=size)
            await self._align(response, into, size)

            async def take(piece: bytes) -> None:
                self.traffic.file_bytes += len(piece)
                await into.write(piece)
                if into.received > size:
                    await into.start_over()
                    raise Broken(f"{_name(url)}: more than the promised {size} bytes")

            await self._read(response, take)
            if into.received < size:
                raise Broken(f"{_name(url)}: ended after {into.received} of {size} bytes")

    async def _align(self, response: aiohttp.ClientResponse, into: Sink, size: int) -> None:
        """Make the sink and the answer begin at the same byte, and check that they end together."""
        name = _name(response.url)
        begins = 0
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            begins, total = _content_range(response)
            if begins != into.received or total != size:
                await into.start_over()
                raise Broken(f"{name}: answers with other bytes than asked for; starting over")
        elif into.received:  # 200 to a Range request: the server ignored it, so start over
            await into.start_over()
        offered = response.content_length
        if offered is not None and offered != size - begins:
            raise Broken(f"{name}: offers {begins + offered} bytes where {size} were promised")
        into.validator = _strong_etag(response)

    @asynccontextmanager
    async def _ask(
        self,
        service: str,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        authorised: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request, follow its redirects, and raise what its status means."""
        counted: str | None = service
        for _ in range(MOST_REDIRECTS + 1):
            started = await self._turn(counted, url)
            sent = {**headers, **self._credentials(url, authorised=authorised)}
            with _foreign_errors(url):
                async with self._session.request(
                    method,
                    url,
                    data=data,
                    headers=sent,
                    allow_redirects=False,
                    proxy=self._proxy_for(url),
                    auto_decompress="Accept-Encoding" not in headers,
                ) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        await self._judge(response, counted or service, started)
                        yield response
                        return
                    url = self._redirected(url, response, method)
            counted = self._origins.get(url.origin())
        raise Broken(f"{_name(url)}: more than {MOST_REDIRECTS} redirects")

    async def _turn(self, service: str | None, url: URL) -> float:
        if service is None:  # the storage host behind a redirect: no service of figshare's
            return self._clock()
        self.traffic.requests[service] += 1
        if service == "files" and url.origin() in self._origins:
            other = self._origins[url.origin()]
            self.traffic.requests[other] += 1
            return await self.limiters[other].turn(also=self.limiters["files"])
        return await self.limiters[service].turn()

    def _credentials(self, url: URL, *, authorised: bool) -> dict[str, str]:
        if authorised and self._token is not None and url.origin() == self._api:
            return {"Authorization": f"token {self._token.reveal()}"}
        return {}

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, method: str) -> URL:
        if method != "GET":
            raise Refused(f"{_name(url)}: sends a {method} elsewhere, which is not followed")
        try:
            target = url.join(URL(response.headers["Location"]))
        except ValueError as exc:
            raise Misshapen(f"{_name(url)}: redirects to no address") from exc
        if not is_public(target) and not is_loopback(self._api):
            raise Refused(f"{_name(url)}: redirects to {target.host}, which is not followed")
        return target

    def _proxy_for(self, url: URL) -> str | None:
        if urllib.request.proxy_bypass(url.host or ""):
            return None
        return self._proxies.get(url.scheme)

    async def _judge(self, response: aiohttp.ClientResponse, service: str, started: float) -> None:
        health, limiter = self._health[service], self.limiters[service]
        problem = await self._complaint(response)
        if problem is None:
            health.complaints = 0
            limiter.pace.recover()
            return
        if (problem.retry_after_seconds or 0) > LONGEST_RETRY_AFTER_SECONDS:
            raise StopRun(f"{problem.error}; it asks to wait {problem.retry_after_seconds:.0f} s")
        is_block = isinstance(problem.error, Challenged) and service != "files"
        if isinstance(problem.error, Throttled) or is_block:
            health.complaints += 1
            pause = problem.retry_after_seconds
            if pause is None:
                pause = backoff_seconds(health.complaints, self._retry.max_wait)
            if limiter.penalise(started, pause):
                log.warning(
                    "%s: pausing %s for %.1f s, then at %.3g requests a second",
                    problem.error, service, pause, limiter.pace.rate,
                )  # fmt: skip
        raise problem.error

    async def _complaint(self, response: aiohttp.ClientResponse) -> _Problem | None:
        status = response.status
        if status in {200, 206, 304, 416}:
            return None
        raw = b""
        if 400 <= status < 500:
            raw = await response.content.read(4096)
        wait = retry_after_seconds(response.headers.get("Retry-After"))
        error = complaint(_name(response.url), status, response.headers, raw, wait)
        return _Problem(error, wait)

    async def _read_json(self, response: aiohttp.ClientResponse) -> bytes:
        pieces: list[bytes] = []
        size = 0

        async def take(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            if size > JSON_LIMIT:
                raise Misshapen(f"{_name(response.url)}: more than {JSON_LIMIT} bytes of JSON")
            pieces.append(piece)

        await self._read(response, take)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read(self, response: aiohttp.ClientResponse, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Read a body to its end; give up on one that trickles."""
        window = self._timeouts.idle
        begun, size = self._clock(), 0
        async for piece in response.content.iter_any():
            await take(piece)
            size += len(piece)
            passed = self._clock() - begun
            if passed >= window:
                if size < passed * self._timeouts.slowest:
                    raise Broken(f"{_name(response.url)}: only {size} bytes in {passed:.0f} s")
                begun, size = self._clock(), 0


@asynccontextmanager
async def open_session(
    *, user_agent: str, timeouts: Timeouts, trusted_hosts: frozenset[str]
) -> AsyncIterator[aiohttp.ClientSession]:
    """
    Open the one session of a run.

    `trusted_hosts`: those that the user named; every other host must have a public address.
    """
    connector = aiohttp.TCPConnector(
        limit=0,  # the workers are the limit: a wait for a connection would follow the limiter's turn
        resolver=_PublicResolver(trusted_hosts),
        ssl=ssl.create_default_context(),  # reads SSL_CERT_FILE
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect, sock_read=timeouts.idle),
    ) as session:
        yield session


class _PublicResolver(ThreadedResolver):
    """Finds no private addresses for hosts that a record or a redirect named."""

    def __init__(self, trusted: frozenset[str]) -> None:
        super().__init__()
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        if host in self._trusted:
            return found
        public = [entry for entry in found if ipaddress.ip_address(entry["host"]).is_global]
        if not public:
            raise OSError(None, f"{host} has no public address")
        return public


@dataclass(frozen=True)
class _Problem:
    error: HarvestError
    retry_after_seconds: float | None


def complaint(
    name: str,
    status: int,
    headers: Mapping[str, str],
    raw: bytes,
    wait_seconds: float | None = None,
) -> HarvestError:
    """
    Say what a status other than success means; `raw` is the beginning of the body.

    Source: figshare API reference, Errors; a 403 in figshare's own JSON is a decision about this
    item, any other 403 is the wall before it.
    """
    words = _words(raw)
    said = f": {words}" if words else ""
    if status == 202 or "x-amzn-waf-action" in headers:
        return Challenged(f"{name}: a challenge for browsers ({status})")
    if status == 401:
        return TokenRefused(f"{name}: the token was refused{said}")
    if status == 403:
        if words is None:
            return Challenged(f"{name}: blocked (403)")
        return Refused(f"{name}: refused (403){said}")
    if status in {404, 410}:
        return Gone(f"{name}: not found ({status}){said}")
    if status == 429:
        return Throttled(f"{name}: too many requests (429)", retry_after=wait_seconds)
    if status == 408:
        return Broken(f"{name}: timed out there (408)")
    if status >= 500:
        return ServerFailed(f"{name}: failed there ({status})", retry_after=wait_seconds)
    return Refused(f"{name}: answered {status}{said}")


def _words(raw: bytes) -> str | None:
    """Return figshare's own words in an error, None where the body is not its JSON."""
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or "message" not in told:
        return None
    return printable(str(told["message"]))[:200]


def printable(text: str) -> str:
    """Make a text of unknown origin safe to show on a terminal, in one line."""
    return "".join(char if char.isprintable() else " " for char in text)


def retry_after_seconds(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read a `Retry-After` header: seconds, or a date. None where it says neither."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def backoff_seconds(number: int, longest: float) -> float:
    """Tell how long to wait at most after the `number`-th failed attempt."""
    return float(min(longest, 2.0 ** min(number - 1, 30)))


def is_loopback(url: URL) -> bool:
    """Tell whether an address is this machine's own."""
    host = url.host or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public(url: URL) -> bool:
    """Tell whether an address is https and not literally one of a private network."""
    if url.scheme != "https" or not url.host or is_loopback(url):
        return False
    try:
        return ipaddress.ip_address(url.host).is_global
    except ValueError:
        return True


def _check_promise(url: URL, response: aiohttp.ClientResponse, *, is_page: bool, size: int) -> None:
    """Refuse a page, or nothing, in the place of a file."""
    if response.content_type == "text/html" and not is_page:
        raise Challenged(f"{_name(url)}: a web page where a file was promised")
    if size and response.content_length == 0:
        raise Challenged(f"{_name(url)}: nothing where {size} bytes were promised")


def _content_range(response: aiohttp.ClientResponse) -> tuple[int, int]:
    """Read `Content-Range: bytes 5-9/10` as (5, 10); (-1, -1) where it is not that."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not (first.isdecimal() and total.isdecimal()):
        return -1, -1
    return int(first), int(total)


def _strong_etag(response: aiohttp.ClientResponse) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else None


def _name(url: URL) -> str:
    """Show an address without its query: signatures and secrets live there."""
    return printable(f"{url.host}{url.path}")


@contextmanager
def _foreign_errors(url: URL) -> Iterator[None]:
    """Translate what aiohttp and the system raise. Ours pass."""
    name = _name(url)
    try:
        yield
    except aiohttp.InvalidURL as exc:
        raise Misshapen(f"{name}: not an address") from exc
    except aiohttp.ClientConnectorCertificateError as exc:
        raise Broken(f"{name}: its certificate is not trusted (SSL_CERT_FILE?)") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        raise Broken(f"{name}: the host's name is not known") from exc
    except aiohttp.ClientConnectorError as exc:
        raise Broken(f"{name}: no connection ({_why(exc.os_error)})") from exc
    except TimeoutError as exc:  # aiohttp's own are subclasses
        raise Broken(f"{name}: timed out") from exc
    except aiohttp.ClientPayloadError as exc:
        raise Broken(f"{name}: cut before its end") from exc
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as exc:
        raise Broken(f"{name}: the connection was cut") from exc
    except aiohttp.ClientError as exc:
        raise Broken(f"{name}: {type(exc).__name__}") from exc


def _why(error: OSError) -> str:
    """Say in the system's words why there is no connection; asyncio's own texts show addresses."""
    return os.strerror(error.errno) if error.errno else str(error)


__all__ = ["Client", "Reply", "Sink", "Traffic", "open_session"]
