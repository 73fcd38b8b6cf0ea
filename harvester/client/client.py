"""
Talks to figshare's services: one polite request at a time, and what comes of it.

    persist        ask until it succeeds, gives up or runs out of attempts (`persistence.py`)
      └─ json / fetch   one attempt: an answer decoded, or a file's bytes handed on
           └─ _ask      wait for a turn, send, follow redirects, judge the status

Every request, a retry and a redirect to a service too, passes that service's limiter. The token goes to
the api's own origin and nowhere else, whatever a record or a redirect says.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

import aiohttp
import anyio
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from harvester.client.answers import (
    backoff_seconds,
    complaint,
    content_range,
    is_loopback,
    is_public,
    name_of,
    retry_after_seconds,
)
from harvester.client.bodies import ENCODINGS, JsonBody
from harvester.client.persistence import Persistence
from harvester.client.session import foreign_errors
from harvester.config import Retry, Timeouts
from harvester.credentials import Secret
from harvester.errors import (
    Broken,
    Challenged,
    HarvestError,
    Misshapen,
    Refused,
    StopRun,
    Throttled,
)
from harvester.limits import Limiter

T = TypeVar("T")
log = logging.getLogger(__name__)

MOST_REDIRECTS = 5
MOST_WORDS = 4096
"""Bytes of an error's body that are read."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_REDIRECTS = {301, 302, 303, 307, 308}
_GOOD = {200, 206, 304, 416}
_EXPIRED = {401, 403}
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


@dataclass(frozen=True)
class Wanted:
    """
    What is known of a file before it comes.

    ``size`` in bytes; ``has_md5``: its bytes can be proven; ``is_page``: HTML is what it holds.
    """

    size: int
    has_md5: bool
    is_page: bool


class Client:
    """
    Talks to figshare's services within their limits.

    `limiters`: one a service, by its name; "api" is the one without which a run cannot go on.
    `origins`: addresses by service, so that a redirect to one counts. `proxies`: by scheme, and under "no"
    the hosts that need none, as `urllib.request.getproxies` tells them.
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
        proxies: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.limiters = limiters
        self.traffic = Traffic()
        self._session = session
        self._origins = {origin.origin(): name for name, origin in origins.items()}
        self._api = origins["api"].origin()
        self._max_wait = retry.max_wait
        self._timeouts = timeouts
        self._token = token
        self._clock = clock
        self._complaints = Counter[str]()
        self._persistence = Persistence(
            limiters, retry, errors=self.traffic.errors, clock=clock, sleep=sleep, jitter=jitter
        )
        self.persist = self._persistence.persist
        self.prove = self._persistence.prove
        self._proxies = dict(proxies or {})

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
            return await self._ask_json(
                service, method, url, decode, headers=sent, data=data, authorised=authorised
            )

        reply = await self.persist(service, attempt)
        self.prove(service, attempt)
        return reply

    def expect(self, service: str, url: URL, decode: Callable[[bytes], object]) -> None:
        """Name something that a service always gives, to be asked for when it is in doubt."""

        async def attempt() -> object:
            return await self._ask_json(service, "GET", url, decode, headers={})

        self.prove(service, attempt)

    async def touch(self, url: URL, *, authorised: bool) -> None:
        """Ask for the first byte of a file, to see whether files come at all."""
        headers = {**_IDENTITY, "Range": "bytes=0-0"}
        async with self._ask("files", "GET", url, headers=headers, authorised=authorised) as response:
            _refuse_a_page(response, is_page=False, size=1)

    async def _ask_json(
        self,
        service: str,
        method: str,
        url: URL,
        decode: Callable[[bytes], T],
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        authorised: bool = False,
    ) -> Reply[T]:
        sent = {"Accept-Encoding": ENCODINGS, **headers}
        async with self._ask(
            service, method, url, headers=sent, data=data, authorised=authorised
        ) as response:
            raw = await self._read_json(response)
            if not raw:
                raise Challenged(f"{name_of(url)}: an empty answer where JSON was promised")
            return Reply(decode(raw), response.headers)

    async def fetch(self, url: URL, into: Sink, wanted: Wanted, *, authorised: bool = False) -> None:
        """
        Ask once for the rest of a file and hand its bytes on.

        A request to the api's host counts for the api as well as for files.

        Raises:
            Challenged: what came is not the file but a page for browsers, or nothing.
            Broken: the bytes ended early, came too slowly or belong to something else.
        """
        headers, size = dict(_IDENTITY), wanted.size
        if 0 < into.received < size:
            headers["Range"] = f"bytes={into.received}-"
            if into.validator:
                headers["If-Range"] = into.validator
        elif into.received:
            return  # all of it is here: a crash came between the last byte and the proof
        async with self._ask("files", "GET", url, headers=headers, authorised=authorised) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                await into.start_over()
                raise Broken(f"{name_of(url)}: has no more bytes after {size}; starting over")
            length_agrees = response.content_length == size - into.received
            is_page = wanted.is_page or (wanted.has_md5 and length_agrees)  # then the md5 will tell
            _refuse_a_page(response, is_page=is_page, size=size)
            await self._align(response, into, size)

            async def take(piece: bytes) -> None:
                self.traffic.file_bytes += len(piece)
                await into.write(piece)
                if into.received > size:
                    await into.start_over()
                    raise Broken(f"{name_of(url)}: more than the promised {size} bytes")

            await self._read(response, take)
            if into.received < size:
                raise Broken(f"{name_of(url)}: ended after {into.received} of {size} bytes")

    async def _align(self, response: aiohttp.ClientResponse, into: Sink, size: int) -> None:
        """Make the sink and the answer begin at the same byte, and check that they end together."""
        name = name_of(response.url)
        begins = 0
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            begins, total = content_range(response.headers.get("Content-Range", ""))
            if begins != into.received or total != size:
                await into.start_over()
                raise Broken(f"{name}: answers with other bytes than asked for; starting over")
        elif into.received:  # 200 to a Range request: the server ignored it, so start over
            await into.start_over()
        offered = response.content_length
        if offered is not None and offered != size - begins:
            raise Broken(f"{name}: offers {begins + offered} bytes where {size} were promised")
        etag = response.headers.get("ETag", "")
        into.validator = etag if etag.startswith('"') else None  # a weak one proves nothing

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
            with foreign_errors(url):
                async with await self._send(method, url, data, sent) as response:
                    if response.status not in _REDIRECTS or "Location" not in response.headers:
                        if counted is None and response.status in _EXPIRED:
                            # The storage has no opinion on us: its signed address has expired.
                            raise Broken(
                                f"{name_of(url)}: the signed address was refused ({response.status})"
                            )
                        with_token = "Authorization" in sent
                        await self._judge(response, counted, service, started, with_token=with_token)
                        yield response
                        return
                    url = self._redirected(url, response, method)
            counted = self._origins.get(url.origin())
        raise Broken(f"{name_of(url)}: more than {MOST_REDIRECTS} redirects")

    async def _send(
        self, method: str, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the head of its answer; one that trickles is given up."""
        with anyio.fail_after(self._timeouts.connect + self._timeouts.idle):
            return await self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                allow_redirects=False,
                proxy=self._proxy_for(url),
            )

    async def _turn(self, service: str | None, url: URL) -> float:
        if service is None:  # the storage host behind a redirect: no service of figshare's
            return self._clock()
        host = self._origins.setdefault(url.origin(), service)
        if host == service:
            started = await self.limiters[service].turn()
        else:  # a download asked of the api's host counts there too
            started = await self.limiters[host].turn(also=self.limiters[service])
            self.traffic.requests[host] += 1
        self.traffic.requests[service] += 1
        return started

    def _credentials(self, url: URL, *, authorised: bool) -> dict[str, str]:
        if authorised and self._token is not None and url.origin() == self._api:
            return {"Authorization": f"token {self._token.reveal()}"}
        return {}

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, method: str) -> URL:
        if method != "GET":
            raise Refused(f"{name_of(url)}: sends a {method} elsewhere, which is not followed")
        try:
            target = url.join(URL(response.headers["Location"]))
        except ValueError as exc:
            raise Misshapen(f"{name_of(url)}: redirects to no address") from exc
        is_web = target.scheme in {"http", "https"} and bool(target.host)
        if not is_public(target) and not (is_web and is_loopback(self._api)):
            raise Refused(f"{name_of(url)}: redirects to {target.host}, which is not followed")
        return target

    def _proxy_for(self, url: URL) -> str | None:
        if is_loopback(url) or proxy_bypass_environment(url.host or "", self._proxies):
            return None
        return self._proxies.get(url.scheme)

    async def _judge(
        self,
        response: aiohttp.ClientResponse,
        counted: str | None,
        service: str,
        started: float,
        *,
        with_token: bool,
    ) -> None:
        """
        Raise what an answer's status means; a complaint about our pace slows the service down.

        `counted`: the service whose host answered, None for a host behind a redirect. Such a one may fail,
        but has no say over the run or its pace.
        """
        if response.status in _GOOD:
            self._complaints[service] = 0
            self.limiters[service].pace.recover()
            return
        raw = await self._beginning(response) if response.status < 500 else b""
        wait = retry_after_seconds(response.headers.get("Retry-After"), response.headers.get("Date"))
        if counted is None and wait is not None:
            wait = min(wait, self._max_wait)
        error = complaint(
            name_of(response.url), response.status, response.headers, raw, wait, with_token=with_token
        )
        if wait is not None and wait > LONGEST_RETRY_AFTER_SECONDS:
            raise StopRun(f"{error}; it asks to wait {wait:.0f} s: run again after that")
        is_block = isinstance(error, Challenged) and service != "files"  # a file has another route
        if counted is not None and (isinstance(error, Throttled) or is_block):
            self._slow_down(service, started, wait, error)
        raise error

    def _slow_down(self, service: str, started: float, wait: float | None, error: HarvestError) -> None:
        limiter = self.limiters[service]
        self._complaints[service] += limiter.pace.is_news(started)
        pause = backoff_seconds(self._complaints[service], self._max_wait) if wait is None else wait
        if limiter.penalise(started, pause):
            rate = limiter.pace.rate
            log.warning("%s: %s pauses for %.1f s, then %.3g requests a second", error, service, pause, rate)

    async def _read_json(self, response: aiohttp.ClientResponse) -> bytes:
        body = JsonBody(name_of(response.url), response.headers.get("Content-Encoding", "").lower())
        await self._read(response, body.take)
        return body.whole()

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the beginning of an error's body; what of it cannot be had does not matter."""
        with contextlib.suppress(HarvestError):
            body = JsonBody("", response.headers.get("Content-Encoding", "").lower(), limit=MOST_WORDS)
            with contextlib.suppress(HarvestError):
                await self._read(response, body.take)
            return body.whole(cut=True)
        return b""

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
                    raise Broken(f"{name_of(response.url)}: only {size} bytes in {passed:.0f} s")
                begun, size = self._clock(), 0


def _refuse_a_page(response: aiohttp.ClientResponse, *, is_page: bool, size: int) -> None:
    """Refuse a page, or nothing, in the place of a file."""
    if response.content_type == "text/html" and not is_page:
        raise Challenged(f"{name_of(response.url)}: a web page where a file was promised")
    if size and response.content_length == 0:
        raise Challenged(f"{name_of(response.url)}: nothing where {size} bytes were promised")
