"""
Request sender with redirect policy: sends one request, from the rate limiter to the mapped status.

It waits for the rate limiter, sends credentials only to the origin that they belong to, and follows at most
`MOST_REDIRECTS` redirects, to public addresses only. Every request counts for the rate of its service, also a
retry and a redirect to a service.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import aiohttp
from msgspec import Struct
from yarl import URL

from harvester.client.credentials import Credentials
from harvester.client.deadlines import Deadlines
from harvester.client.error_map import TRANSPORT_ERRORS, authorisation, map_error
from harvester.client.json_body import JsonBody
from harvester.client.limits import Outcome, RateLimiter
from harvester.client.responses import (
    display_url,
    error_for_status,
    retry_after_seconds,
)
from harvester.client.token_check import TokenCheck
from harvester.client.traffic import Traffic
from harvester.client.url_policy import Network, is_loopback, why_not_public, with_remedy
from harvester.config import Timeouts
from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.errors import (
    Blocked,
    ConnectionFailed,
    FatalError,
    Forbidden,
    HarvestError,
    InvalidResponse,
    RateLimited,
    Rejected,
    TransientError,
    UnprovenNotFound,
)

MOST_REDIRECTS = 5
MOST_ERROR_BYTES = 4096
"""Bytes of an error's body that are read."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_REDIRECTS = {301, 302, 303, 307, 308}
OK = frozenset({HTTPStatus.OK.value})
CONDITIONAL = OK | {HTTPStatus.NOT_MODIFIED.value}
"""The statuses that answer a conditional request, one with an ETag."""
PARTS = OK | {HTTPStatus.PARTIAL_CONTENT.value, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE.value}
"""The statuses that answer a request for a range of a file."""
_MAY_END_THE_RUN = {429, 503}
_EXPIRED = {401, 403}
_NOT_FOUND = {404, 410}


class Permit(Struct, frozen=True, gc=False):
    """
    Permission to send one request.

    Attributes:
        service: what the request is for.
        started: when it started, in seconds of the limiter's clock.
        charged: the services whose rate it counts for, and whose rate its answer can lower. Empty for the
            storage host behind a redirect, which may fail, but does not affect the run or its rates.
    """

    service: str
    started: float
    charged: tuple[str, ...]


class RequestSender:
    """
    Sends requests to figshare's services, each within its rate.

    `limiters`: one a service, by its name.
    `origins`: addresses by service, so that a redirect to one counts.
    `max_wait`: seconds that a file waits at most for a storage host that asks to wait.
    `private_networks`: networks that redirects may lead to.
    `clock`: returns seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        limiters: Mapping[str, RateLimiter],
        origins: Mapping[str, URL],
        credentials: Credentials,
        timeouts: Timeouts,
        max_wait: float,
        proxies: Proxies = NO_PROXIES,
        private_networks: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiters = limiters
        self.credentials = credentials
        self.traffic = Traffic(clock=clock)
        self._session = session
        self._services_at: dict[URL, tuple[str, ...]] = {}
        for name, address in origins.items():
            origin = address.origin()
            self._services_at[origin] = (*self._services_at.get(origin, ()), name)
        self._is_local = is_loopback(origins["api"])
        self._max_wait = max_wait
        self.timeouts = timeouts
        self._deadlines = Deadlines(min(1.0, timeouts.idle / 4))
        self._proxies = proxies
        self._private_networks = private_networks
        self._clock = clock

    async def send(
        self,
        service: str,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        authorised: bool = False,
        accepts: frozenset[int] = OK,
    ) -> aiohttp.ClientResponse:
        """
        Send one request and follow its redirects; raise the error of a status that is not in `accepts`.

        The caller reads the body, inside ``async with`` of the response.
        """
        for redirects in range(MOST_REDIRECTS + 1):
            charged = self._charged(service, url.origin(), is_redirected=redirects > 0)
            usage = self.traffic.usage
            # Which of two services a request waits for is not known, and only that one may be slow.
            with usage.of(charged if len(charged) == 1 else ()):
                permit = await self._acquire(service, charged)
            check, sent = None, headers
            if authorised and (secret := self.credentials.header(service, url)) is not None:
                sent = {**headers, "Authorization": secret}
                check = self.credentials.check_of(service)
                check.raise_if_refused()
            try:
                with usage.of(charged):
                    response = await self._send(method, url, data, sent)
            except HarvestError:
                self.traffic.unanswered.update(charged)
                raise
            if response.status in accepts:
                self._report_answer(permit, check, url)
                return response
            async with response:
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    raise await self._error_of(response, permit, with_token=check is not None)
                self._report_answer(permit, check, url)
                url = self._redirected(url, response, method)
        raise ConnectionFailed(f"{display_url(url)}: more than {MOST_REDIRECTS} redirects")

    async def _send(
        self, method: str, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the headers of its response, within the timeouts."""
        proxy = None
        if self._proxies.proxy is not None and not is_loopback(url):
            proxy = self._proxies.for_host(url.host or "", url.port)
        try:
            with self._deadlines.within(self.timeouts.connect + self.timeouts.idle):
                return await self._session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    allow_redirects=False,
                    proxy=proxy and proxy.url,
                    proxy_auth=proxy and authorisation(proxy),
                )
        except TRANSPORT_ERRORS as exc:
            raise map_error(exc, url, proxy) from exc

    async def _acquire(self, service: str, charged: tuple[str, ...]) -> Permit:
        """Wait until all `charged` services allow a request."""
        also = self.limiters[charged[1]] if len(charged) > 1 else None
        started = await self.limiters[charged[0]].acquire(also) if charged else self._clock()
        for name in charged:
            self.traffic.count(name)
        return Permit(service, started, charged)

    def _charged(self, service: str, origin: URL, *, is_redirected: bool) -> tuple[str, ...]:
        """
        Return the services that a request counts for: its own, and the one whose host is requested.

        If several services share a host, its own service counts, and a download counts for the API as well.
        After a redirect only the host's service counts; the storage belongs to none.
        """
        at_host = self._services_at.get(origin)
        if at_host is None:
            if is_redirected:
                return ()
            at_host = self._services_at[origin] = (service,)
        if service in at_host and (service != "files" or "api" not in at_host):
            return (service,)
        host = "api" if "api" in at_host else at_host[0]
        return (host,) if is_redirected else (service, host)

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, method: str) -> URL:
        """Apply the redirect policy: return the target of a GET, or raise why it is not followed."""
        if method != "GET":
            raise Rejected(f"{display_url(url)}: redirects a {method}, which is not followed")
        try:
            target = url.join(URL(response.headers["Location"]))
            # A host like [::12345] turns out to be invalid only when it is parsed.
            is_web = target.scheme in {"http", "https"} and bool(target.host and target.origin())
        except ValueError as exc:
            raise InvalidResponse(f"{display_url(url)}: redirects to something that is not a URL") from exc
        kind = why_not_public(target, self._private_networks)
        if kind is not None and not (is_web and self._is_local):
            where = target.host or f"a URL of scheme {target.scheme}"
            raise Rejected(f"{display_url(url)}: redirects to {where}, which is {with_remedy(kind)}")
        return target

    async def _error_of(
        self, response: aiohttp.ClientResponse, permit: Permit, *, with_token: bool
    ) -> HarvestError:
        """Return the error of a status; a throttling one lowers the rate of the charged services."""
        name, status, headers = display_url(response.url), response.status, response.headers
        wait = retry_after_seconds(headers.get("Retry-After"), headers.get("Date"))
        if not permit.charged:
            wait = None if wait is None else min(wait, self._max_wait)
            if (refusal := _refused_behind_redirect(name, status, permit.service, wait)) is not None:
                return refusal
        raw = await self._beginning(response) if status < 500 else b""
        is_long = wait is not None and wait > LONGEST_RETRY_AFTER_SECONDS
        if is_long and status not in _MAY_END_THE_RUN:  # about one item: it says nothing about the others
            wait, is_long = None, False
        error = error_for_status(name, status, headers, raw, wait, with_token=with_token)
        if isinstance(error, Forbidden):
            error.service, error.address = permit.service, str(response.url)
        if is_long:
            return FatalError(f"{error}; it asks to wait {wait:.0f} s: run again after that")
        is_block = isinstance(error, Blocked) and permit.service != "files"  # a file has another route
        if isinstance(error, RateLimited) or is_block:
            self._report(permit, Outcome(permit.started, str(error), wait))
        elif not isinstance(error, TransientError):
            self._report_answer(permit)
        return error

    def _report_answer(self, permit: Permit, check: TokenCheck | None = None, url: URL | None = None) -> None:
        """Report a good answer to rate limiter and health; `check`: of the credentials that were sent."""
        if check is not None and url is not None:
            check.accepted(url)
        self._report(permit, Outcome(permit.started))

    def _report(self, permit: Permit, outcome: Outcome) -> None:
        for name in permit.charged:
            self.limiters[name].report(outcome)

    async def read(self, response: aiohttp.ClientResponse, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Read a body to its end; raise ConnectionFailed if it is slower than `timeouts.min_speed`."""
        window, content = self.timeouts.idle, response.content
        since, size = self._clock(), 0
        while not content.at_eof():
            try:
                if content.is_eof():  # complete
                    piece = content.read_nowait()
                else:
                    with self._deadlines.within(window):
                        piece = await content.readany()
            except TRANSPORT_ERRORS as exc:
                raise map_error(exc, response.url) from exc
            before = self._clock()
            await take(piece)
            since += self._clock() - before  # our own waits do not make the service slow
            size += len(piece)
            passed = self._clock() - since
            if passed >= window:
                if size < passed * self.timeouts.min_speed:
                    raise ConnectionFailed(
                        f"{display_url(response.url)}: only {size} bytes in {passed:.0f} s"
                    )
                since, size = self._clock(), 0

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the beginning of an error's body, as much as can be read."""
        with contextlib.suppress(HarvestError):
            encoding = response.headers.get("Content-Encoding", "")
            body = JsonBody(response.url, encoding, limit=MOST_ERROR_BYTES)
            with contextlib.suppress(HarvestError):
                await self.read(response, body.take)
            return body.whole(cut=True)
        return b""


def _refused_behind_redirect(
    name: str, status: int, service: str, wait: float | None
) -> TransientError | None:
    """
    Return the error of a refusal by a host behind a redirect, None for any other answer.

    The storage host knows only the signed URL, not us or the file: another route has another URL.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        # It has no rate limiter here: only this request waits.
        return ConnectionFailed(f"{name}: too many requests ({status})", retry_after=wait)
    if service != "files":
        return ConnectionFailed(f"{name}: refused ({status})") if status in _EXPIRED else None
    if status in _NOT_FOUND:
        return UnprovenNotFound(f"{name}: not found in the storage ({status})")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != 408:
        return Blocked(f"{name}: the signed address was refused ({status})")
    return None
