"""
Talks to figshare's services: one polite request at a time, and what comes of it.

    persist        ask until it succeeds, gives up or runs out of attempts (`persistence.py`)
      └─ json / fetch   one attempt: an answer decoded, or a file's bytes handed on
           └─ ask       wait for a turn, send, follow redirects, judge the status (`asking.py`)

Every request, a retry and a redirect to a service too, passes that service's limiter. The token goes to
the api's own origin and nowhere else, whatever a record or a redirect says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, Protocol, TypeVar

import aiohttp
import anyio
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from harvester.client.answers import content_range, name_of
from harvester.client.asking import Asking
from harvester.client.bodies import ENCODINGS, JsonBody
from harvester.client.persistence import Persistence
from harvester.config import Retry, Timeouts
from harvester.credentials import Secret
from harvester.errors import Broken, Challenged
from harvester.limits import Limiter

T = TypeVar("T")

_IDENTITY = {"Accept-Encoding": "identity"}


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
        self._asking = Asking(
            session,
            limiters=limiters,
            origins=origins,
            max_wait=retry.max_wait,
            timeouts=timeouts,
            token=token,
            proxies=proxies,
            clock=clock,
        )
        self.limiters = limiters
        self.traffic = self._asking.traffic
        persistence = Persistence(
            limiters, retry, errors=self.traffic.errors, clock=clock, sleep=sleep, jitter=jitter
        )
        self.persist = persistence.persist
        self.prove = persistence.prove

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
        async with self._asking.ask("files", "GET", url, headers=headers, authorised=authorised) as response:
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
        async with self._asking.ask(
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
        async with self._asking.ask("files", "GET", url, headers=headers, authorised=authorised) as response:
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

            await self._asking.read(response, take)
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

    async def _read_json(self, response: aiohttp.ClientResponse) -> bytes:
        body = JsonBody(name_of(response.url), response.headers.get("Content-Encoding", "").lower())
        await self._asking.read(response, body.take)
        return body.whole()


def _refuse_a_page(response: aiohttp.ClientResponse, *, is_page: bool, size: int) -> None:
    """Refuse a page, or nothing, in the place of a file."""
    if response.content_type == "text/html" and not is_page:
        raise Challenged(f"{name_of(response.url)}: a web page where a file was promised")
    if size and response.content_length == 0:
        raise Challenged(f"{name_of(response.url)}: nothing where {size} bytes were promised")
