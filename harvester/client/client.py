"""
Talks to figshare's services: one polite request at a time, and what comes of it.

    persist        ask until it succeeds, gives up or runs out of attempts (`persistence.py`)
      └─ json / fetch   one attempt: an answer decoded, or a file's bytes handed on (`transfer.py`)
           └─ ask       wait for a turn, send, follow redirects, judge the status (`asking.py`)

Every request, a retry and a redirect to a service too, passes that service's limiter. The token goes to
the api's own origin and nowhere else, whatever a record or a redirect says; so do the credentials for
statistics, to theirs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import aiohttp
import anyio
import msgspec
import orjson
from anyio import to_thread
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from harvester.client.download.segment_policy import USUAL, SegmentPolicy
from harvester.client.download.segmented import SegmentedDownload
from harvester.client.download.single import IDENTITY, Wanted, refuse_a_page, refuse_a_page_for_the_first_byte
from harvester.client.json_body import JsonBody
from harvester.client.json_size import is_heavy
from harvester.client.limits import Limiter
from harvester.client.memory_gate import HEAVY, MemoryGate, MemoryPermit
from harvester.client.responses import content_range, date_of, display_url, is_of_another, says_nothing
from harvester.client.retry import Retrier
from harvester.client.sender import PARTS, UNLESS, RequestSender
from harvester.client.token_check import TokenCheck
from harvester.client.url_policy import Network
from harvester.config import Retry, Timeouts
from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.config.secrets import Secret
from harvester.errors import Blocked, ConnectionFailed, Forbidden, HarvestError, InvalidResponse
from harvester.text.redaction import REDACTOR

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""No part of JSON, and harmless before it."""
ANY_FILE = Wanted(size=1, has_md5=False, is_page=False)
"""A file of which nothing is known: a page is none."""


class Reply(Struct, Generic[T], frozen=True):
    """A decoded JSON answer with its headers."""

    value: T
    headers: CIMultiDictProxy[str]

    @property
    def told_at(self) -> str:
        """When it was given, by the service's clock: ISO 8601, "" where it does not say."""
        return date_of(self.headers)


class Client:
    """
    Talks to figshare's services within their limits.

    `limiters`: one a service, by its name; "api" is the one without which a run cannot go on.
    `origins`: addresses by service, so that a redirect to one counts. `stats_credentials`: "name:password",
    for what is asked of "stats" as authorised. `private_networks`: redirects may lead there. `splitting`:
    when a file comes over several connections. ``hold_turn``: see `MemoryGate.hold`.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        limiters: Mapping[str, Limiter],
        origins: Mapping[str, URL],
        retry: Retry,
        timeouts: Timeouts,
        splitting: SegmentPolicy = USUAL,
        token: Secret | None = None,
        stats_credentials: Secret | None = None,
        proxies: Proxies = NO_PROXIES,
        private_networks: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._checks = {
            "token": TokenCheck(
                "the token was refused",
                token.name if token else "",
                partial(self._ask_with_credentials, "api"),
                origins["api"] / "account",
            ),
            "stats": TokenCheck(
                "the credentials for the statistics were refused",
                stats_credentials.name if stats_credentials else "",
                partial(self._ask_with_credentials, "stats"),
            ),
        }
        self._asking = RequestSender(
            session,
            limiters=limiters,
            origins=origins,
            max_wait=retry.max_wait,
            timeouts=timeouts,
            checks=self._checks,
            token=token,
            stats_credentials=stats_credentials,
            proxies=proxies,
            private_networks=private_networks,
            clock=clock,
        )
        self.limiters = limiters
        self.traffic = self._asking.traffic
        transfers = SegmentedDownload(self._asking, splitting, timeouts, clock)
        self.fetch, self.holding = transfers.fetch, transfers.holding
        self._turns = MemoryGate(clock)
        self.hold_turn = self._turns.hold
        self._persistence = Retrier(
            limiters, retry, errors=self.traffic.errors, clock=clock, sleep=sleep, jitter=jitter
        )
        self.set_health_check = self._persistence.set_health_check

    async def retry(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds; find out what a refusal is about.

        Raises:
            Forbidden: what was asked for is refused, and the credentials are good.
            TokenRejected: they are not.
            Others: as `Retrier.retry`, and `TokenCheck.settle`.
        """
        try:
            return await self._persistence.retry(service, attempt)
        except Forbidden as error:
            await self._asking.check_of(error.service or service).settle(error)
            raise

    async def confirm_credentials(self, *names: str) -> None:
        """
        Ask again where a refusal was the last word; `names`: "token", "stats", both where none is given.

        Raises:
            TokenRejected: they are good no more.
            DoubtfulResponse: nobody can tell now.
        """
        for name in names or self._checks:
            await self._checks[name].confirm()

    async def _ask_with_credentials(self, service: str, url: URL) -> None:
        attempt = partial(self._ask_json, service, "GET", url, _any_json, headers={}, authorised=True)
        await self._persistence.retry(service, attempt)

    @property
    def has_token(self) -> bool:
        """Whether there is a token that the api could be asked with."""
        return self._asking.has_token

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

        `decode` raises `ConnectionFailed` for bytes that are not JSON and `InvalidResponse` for JSON of
        another shape: that is final once it came twice. Other errors: as `retry`.
        """
        sent, data = headers or {}, None
        if body is not None:
            data = orjson.dumps(body)
            sent = {**sent, "Content-Type": "application/json"}

        attempt = partial(
            self._ask_json, service, method, url, decode, headers=sent, data=data, authorised=authorised
        )
        reply = await self.retry(service, twice(attempt))
        self.set_health_check(service, attempt)
        return reply

    async def json_unless(
        self, etag: str, service: str, url: URL, decode: Callable[[bytes], T], *, authorised: bool = False
    ) -> Reply[T] | None:
        """As `json`, for a GET; None where the service says that what had this ETag is what it still has."""
        attempt = partial(self._ask_json_unless, etag, service, url, decode, authorised=authorised)
        reply = await self.retry(service, twice(attempt))
        self.set_health_check(service, attempt)
        return reply

    def expect(self, service: str, url: URL, decode: Callable[[bytes], object]) -> None:
        """Name something that a service always gives, as its first health check."""
        self.set_health_check(service, partial(self._ask_json, service, "GET", url, decode, headers={}))

    async def touch(self, url: URL, wanted: Wanted = ANY_FILE, *, authorised: bool) -> None:
        """Ask for the first byte of a file that came as `wanted`, to see whether files come at all."""
        headers = {**IDENTITY, "Range": "bytes=0-0"}
        response = await self._asking.ask(
            "files", "GET", url, headers=headers, authorised=authorised, takes=PARTS
        )
        async with response:
            refuse_a_page_for_the_first_byte(response, wanted)

    async def measure(self, url: URL, *, is_page: bool, authorised: bool) -> int:
        """Ask how many bytes a file has; 0 where the answer does not tell. Errors: as `fetch`."""
        headers = {**IDENTITY, "Range": "bytes=0-0"}
        response = await self._asking.ask(
            "files", "GET", url, headers=headers, authorised=authorised, takes=PARTS
        )
        async with response:
            refuse_a_page(response, is_page=is_page, size=1)
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                return max(content_range(response.headers.get("Content-Range", "")).total, 0)
            return (response.content_length or 0) if response.status == HTTPStatus.OK else 0

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
        response = await self._asking.ask(
            service, method, url, headers=headers, data=data, authorised=authorised
        )
        return await self._read_json(response, url, decode)

    async def _ask_json_unless(
        self, etag: str, service: str, url: URL, decode: Callable[[bytes], T], *, authorised: bool
    ) -> Reply[T] | None:
        headers = {"If-None-Match": etag}
        response = await self._asking.ask(
            service, "GET", url, headers=headers, authorised=authorised, takes=UNLESS
        )
        if response.status == HTTPStatus.NOT_MODIFIED:
            response.release()
            if is_of_another(response.headers.get("ETag", ""), etag):
                raise ConnectionFailed(f"{display_url(url)}: says that nothing has changed, of another ETag")
            return None
        return await self._read_json(response, url, decode)

    async def _read_json(
        self, response: aiohttp.ClientResponse, url: URL, decode: Callable[[bytes], T]
    ) -> Reply[T]:
        async with self._turns.hold() as turn:
            raw = await self._read(response, turn)
            if not raw:
                raise Blocked(f"{display_url(url)}: an empty answer where JSON was promised")
            if is_heavy(raw, most=HEAVY):
                await turn.take()
                value, error = await to_thread.run_sync(_tried, decode, raw, display_url(url))
            else:
                value, error = _tried(decode, raw, display_url(url))
            del raw
            if error is not None:
                raise error
            return Reply(value, _harmless(response.headers))

    async def _read(self, response: aiohttp.ClientResponse, turn: MemoryPermit) -> bytes:
        body = None
        try:
            body = JsonBody(response.url, response.headers.get("Content-Encoding", ""), turn=turn)
            await self._asking.read(response, body.take)
            return body.whole().removeprefix(BYTE_ORDER_MARK)
        except BaseException:
            response.release()  # one that was read to its end has let go of its connection
            if body is not None:
                body.drop()  # an error keeps all that was in reach where it was raised
            raise


def twice(attempt: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Return an attempt that believes an odd answer only when it comes a second time."""
    seen: set[str] = set()

    async def asked_again() -> T:
        try:
            return await attempt()
        except InvalidResponse as error:
            if (said := str(error)) in seen:
                raise
            seen.add(said)
            raise ConnectionFailed(said) from error

    return asked_again


def _harmless(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """Leave out headers that repeat a secret: what they say may be stored, as cursors and ETags are."""
    if _tells_nothing("\n".join(headers.values())):
        return headers
    told = [(name, value) for name, value in headers.items() if _tells_nothing(value)]
    return CIMultiDictProxy(CIMultiDict(told))


def _tells_nothing(value: str) -> bool:
    raw = value.encode(errors="replace")
    return REDACTOR.record(raw) == raw


def _tried(decode: Callable[[bytes], T], raw: bytes, name: str) -> tuple[Any, HarvestError | None]:
    """Decode, and return the error rather than raise it: it would keep the bytes until nobody knows when."""
    try:
        return decode(REDACTOR.record(raw)), None
    except HarvestError as exc:
        error: HarvestError = exc
    if isinstance(error, InvalidResponse) and says_nothing(raw):
        error = ConnectionFailed(f"{name}: an answer that says nothing: {error}")
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return None, error


_json = msgspec.json.Decoder(msgspec.Raw)


def _any_json(raw: bytes) -> object:
    try:
        return _json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ConnectionFailed(f"not JSON: {exc}") from exc
