"""
Polite HTTP client for figshare's services: retries, rate limits, credentials and JSON, behind a few calls.

    retry          attempts until one succeeds, or none is left (`retry.py`)
      └─ json / downloads.fetch   one attempt: an answer decoded, or a file's bytes handed on
           └─ send       wait for the rate limiter, send, follow redirects, read the status (`sender.py`)
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping
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

from harvester.client.download.segment_policy import DEFAULT_POLICY, SegmentPolicy
from harvester.client.download.segmented import SegmentedDownload
from harvester.client.download.single import (
    IDENTITY,
    ExpectedBody,
    refuse_a_page,
    refuse_a_page_for_the_first_byte,
)
from harvester.client.health import HealthCheck
from harvester.client.json_body import JsonBody
from harvester.client.json_size import is_heavy
from harvester.client.memory_gate import HEAVY, MemoryGate, MemoryPermit
from harvester.client.responses import content_range, date_of, display_url, is_of_another, says_nothing
from harvester.client.retry import Retrier
from harvester.client.sender import CONDITIONAL, OK, PARTS, RequestSender
from harvester.config import Retry
from harvester.errors import Blocked, ConnectionFailed, Forbidden, HarvestError, InvalidResponse, NotModified
from harvester.text.redaction import REDACTOR

T = TypeVar("T")

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""No part of JSON, and harmless before it."""
ANY_FILE = ExpectedBody(size=1, has_md5=False, is_page=False)
"""A file about which nothing is known; a web page is not accepted."""
FIRST_BYTE = {**IDENTITY, "Range": "bytes=0-0"}
NO_HEADERS: Mapping[str, str] = {}
AUTHORISED = ("api", "stats")
"""The services that credentials are sent to."""


class Reply(Struct, Generic[T], frozen=True):
    """A decoded JSON answer with its headers."""

    value: T
    headers: CIMultiDictProxy[str]

    @property
    def served_at(self) -> str:
        """When the service answered, by its own clock: ISO 8601, "" if it does not say."""
        return date_of(self.headers)


class Client:
    """
    Requests to figshare's services, within their limits, until they succeed.

    `sender`: sends one request.
    `segment_policy`: when a file comes over several connections.
    `clock`, `sleep`: seconds.
    `jitter`: see `Retrier`.

    Attributes:
        traffic: what went over the wire so far.
        limiters: the rate limiter of each service, by its name.
        downloads: fetches the bytes of files, one attempt at a time.
        memory: keeps large answers apart; see `MemoryGate.hold`.
    """

    def __init__(
        self,
        sender: RequestSender,
        retry: Retry,
        *,
        segment_policy: SegmentPolicy = DEFAULT_POLICY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.traffic = sender.traffic
        self.limiters = sender.limiters
        self.downloads = SegmentedDownload(sender, segment_policy, sender.timeouts, clock)
        self.memory = MemoryGate(clock)
        self._sender = sender
        self._retrier = Retrier(
            sender.limiters, retry, errors=sender.traffic.errors, clock=clock, sleep=sleep, jitter=jitter
        )

    def missing_seconds(self) -> dict[str, float]:
        """Return for how long each service has not answered, without those that answer."""
        return self._retrier.missing_seconds()

    @property
    def has_token(self) -> bool:
        """Whether there is a token for the api."""
        return self._sender.credentials.has_token

    async def retry(self, service: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """
        Make attempts until one succeeds; on a refusal, check whether the credentials are still good.

        Raises:
            Forbidden: what was requested is refused, and the credentials are good.
            TokenRejected: the credentials are not good.
            DoubtfulResponse: the credentials could not be checked now.
            Others: as `Retrier.retry`.
        """
        try:
            return await self._retrier.retry(service, attempt)
        except Forbidden as error:
            refused = error.service or service
            await self._sender.credentials.check_of(refused).judge_refusal(error, self._requester(refused))
            raise

    async def confirm_credentials(self, *services: str) -> None:
        """
        Check the credentials of `services` (default: all) again if their last answer was a refusal.

        Raises:
            TokenRejected: they are no longer good.
            DoubtfulResponse: they could not be checked now.
        """
        for service in services or AUTHORISED:
            await self._sender.credentials.check_of(service).confirm(self._requester(service))

    def _requester(self, service: str) -> Callable[[URL], Awaitable[object]]:
        """Return a function that requests a URL with the credentials of a service."""
        owner = "stats" if service == "stats" else "api"

        async def request(url: URL) -> None:
            attempt = partial(self._request_json, owner, "GET", url, _any_json, authorised=True)
            await self._retrier.retry(owner, attempt)

        return request

    def set_health_check(self, service: str, check: HealthCheck) -> None:
        """Set the health check of a service: a request that it is known to answer."""
        self._retrier.set_health_check(service, check)

    def expect(self, service: str, url: URL, decode: Callable[[bytes], object]) -> None:
        """Set the first health check of a service: a URL that it always answers."""
        self.set_health_check(service, partial(self._request_json, service, "GET", url, decode))

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
        if_none_match: str = "",
    ) -> Reply[T]:
        """
        Return JSON as `decode` reads it from the bytes; `if_none_match`: an ETag, "" for none.

        Raises:
            NotModified: the service still has the version with this ETag.
            InvalidResponse: `decode` raised it twice: the JSON has another shape.
            ConnectionFailed: `decode` raised it in every attempt: the bytes are not JSON.
            Others: as `retry`.
        """
        headers, data = headers or {}, None
        if body is not None:
            data = orjson.dumps(body)
            headers = {**headers, "Content-Type": "application/json"}
        request = partial(self._request_json, service, method, url, decode, headers=headers, data=data)
        attempt = partial(request, authorised=authorised)
        conditional = partial(attempt, if_none_match=if_none_match) if if_none_match else attempt
        reply = await self.retry(service, twice(conditional))
        self.set_health_check(service, attempt)
        return reply

    async def touch(self, url: URL, expected: ExpectedBody = ANY_FILE, *, authorised: bool) -> None:
        """
        Request the first byte of a file that was downloaded before, to check that
        files are served at all.
        """
        async with await self._first_byte(url, authorised=authorised) as response:
            refuse_a_page_for_the_first_byte(response, expected)

    async def measure(self, url: URL, *, is_page: bool, authorised: bool) -> int:
        """Return how many bytes a file has, 0 where the answer does not say. Errors: as `downloads.fetch`."""
        async with await self._first_byte(url, authorised=authorised) as response:
            refuse_a_page(response, is_page=is_page, size=1)
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                return max(content_range(response.headers.get("Content-Range", "")).total, 0)
            return (response.content_length or 0) if response.status == HTTPStatus.OK else 0

    async def _first_byte(self, url: URL, *, authorised: bool) -> aiohttp.ClientResponse:
        return await self._sender.send(
            "files", "GET", url, headers=FIRST_BYTE, authorised=authorised, accepts=PARTS
        )

    async def _request_json(
        self,
        service: str,
        method: str,
        url: URL,
        decode: Callable[[bytes], T],
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        data: bytes | None = None,
        authorised: bool = False,
        if_none_match: str = "",
    ) -> Reply[T]:
        """Make one attempt; see `json`."""
        if if_none_match:
            headers = {**headers, "If-None-Match": if_none_match}
        accepts = CONDITIONAL if if_none_match else OK
        response = await self._sender.send(
            service, method, url, headers=headers, data=data, authorised=authorised, accepts=accepts
        )
        if response.status == HTTPStatus.NOT_MODIFIED:
            response.release()
            if is_of_another(response.headers.get("ETag", ""), if_none_match):
                raise ConnectionFailed(f"{display_url(url)}: answers 304 of another ETag")
            raise NotModified(f"{display_url(url)}: not modified")
        return await self._read_json(response, url, decode)

    async def _read_json(
        self, response: aiohttp.ClientResponse, url: URL, decode: Callable[[bytes], T]
    ) -> Reply[T]:
        async with self.memory.hold() as permit:
            raw = await self._read(response, permit)
            if not raw:
                raise Blocked(f"{display_url(url)}: empty response instead of JSON")
            if is_heavy(raw, most=HEAVY):
                await permit.acquire()
                value, error = await to_thread.run_sync(_decoded, decode, raw, url)
            else:
                value, error = _decoded(decode, raw, url)
            del raw
            if error is not None:
                raise error
            return Reply(value, _without_secrets(response.headers))

    async def _read(self, response: aiohttp.ClientResponse, permit: MemoryPermit) -> bytes:
        body = None
        try:
            body = JsonBody(response.url, response.headers.get("Content-Encoding", ""), permit=permit)
            await self._sender.read(response, body.take)
            return body.whole().removeprefix(BYTE_ORDER_MARK)
        except BaseException:
            response.release()  # after its end it has already released the connection
            if body is not None:
                body.drop()  # the traceback of an error keeps what was in scope alive
            raise


def twice(attempt: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """Return an attempt that accepts an unexpected answer only when it comes a second time."""
    seen: set[str] = set()

    async def attempt_or_doubt() -> T:
        try:
            return await attempt()
        except InvalidResponse as error:
            if (message := str(error)) in seen:
                raise
            seen.add(message)
            raise ConnectionFailed(message) from error

    return attempt_or_doubt


def _without_secrets(headers: CIMultiDictProxy[str]) -> CIMultiDictProxy[str]:
    """Return the headers without those that contain a secret, as cursors and ETags are stored."""
    if _is_harmless("\n".join(headers.values())):
        return headers
    kept = [(name, value) for name, value in headers.items() if _is_harmless(value)]
    return CIMultiDictProxy(CIMultiDict(kept))


def _is_harmless(value: str) -> bool:
    raw = value.encode(errors="replace")
    return REDACTOR.record(raw) == raw


def _decoded(decode: Callable[[bytes], T], raw: bytes, url: URL) -> tuple[Any, HarvestError | None]:
    """Decode; return an error rather than raise it, as its traceback would keep the bytes in memory."""
    try:
        return decode(REDACTOR.record(raw)), None
    except HarvestError as exc:
        error: HarvestError = exc
    if isinstance(error, InvalidResponse) and says_nothing(raw):
        error = ConnectionFailed(f"{display_url(url)}: empty response: {error}")
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
        raise ConnectionFailed("the answer is not JSON") from exc
