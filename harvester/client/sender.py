"""
One request: it waits for its turn, takes the token only where that belongs, follows redirects as far as they
may be followed, and its answer's status is judged.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from msgspec import Struct
from yarl import URL

from harvester.client.deadlines import Deadlines
from harvester.client.error_map import TRANSPORT_ERRORS, authorisation, map_error
from harvester.client.json_body import JsonBody
from harvester.client.limits import Limiter
from harvester.client.responses import (
    backoff_seconds,
    display_url,
    error_for_status,
    retry_after_seconds,
)
from harvester.client.token_check import TokenCheck
from harvester.client.url_policy import Network, is_loopback, why_not_public, with_remedy
from harvester.config import Timeouts
from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.config.secrets import Secret
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

log = logging.getLogger(__name__)

MOST_REDIRECTS = 5
MOST_WORDS = 4096
"""Bytes of an error's body that are read."""
LONGEST_RETRY_AFTER_SECONDS = 3600.0

_REDIRECTS = {301, 302, 303, 307, 308}
OK = frozenset({HTTPStatus.OK.value})
UNLESS = OK | {HTTPStatus.NOT_MODIFIED.value}
"""What answers a request with an ETag."""
PARTS = OK | {HTTPStatus.PARTIAL_CONTENT.value, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE.value}
"""What answers a request for a part of a file."""
_MAY_END_THE_RUN = {429, 503}
_EXPIRED = {401, 403}
_NOT_FOUND = {404, 410}


@dataclass
class Traffic:
    """What went over the wire so far; counted by the client, read by whoever shows it."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    file_bytes: int = 0


class Permit(Struct, frozen=True):
    """
    One request's turn.

    ``service``: what it is asked for. ``started``: when it began, by the limiter's clock. ``payers``: the
    services whose allowance it counts for and whose pace its answer is about; none for the storage host
    behind a redirect, which may fail, but has no say over the run or its pace.
    """

    service: str
    started: float
    payers: tuple[str, ...]


class RequestSender:
    """
    Asks figshare's services, each within its limit; parameters as those of `Client`.

    `max_wait`: seconds that a service pauses at most when it complains without saying for how long.
    `checks`: of the token ("token") and of the credentials for the statistics ("stats").
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        limiters: Mapping[str, Limiter],
        origins: Mapping[str, URL],
        max_wait: float,
        timeouts: Timeouts,
        checks: Mapping[str, TokenCheck],
        token: Secret | None = None,
        stats_credentials: Secret | None = None,
        proxies: Proxies = NO_PROXIES,
        private_networks: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limiters = limiters
        self.traffic = Traffic()
        self._session = session
        self._homes: dict[URL, tuple[str, ...]] = {}
        for name, address in origins.items():
            self._homes[address.origin()] = (*self._homes.get(address.origin(), ()), name)
        self._api = origins["api"].origin()
        self._stats = origins["stats"].origin() if "stats" in origins else None
        self._max_wait = max_wait
        self._timeouts = timeouts
        self._deadlines = Deadlines(min(1.0, timeouts.idle / 4))
        self._checks = checks
        self._token = token
        self._stats_credentials = stats_credentials
        self._proxies = proxies
        self._private_networks = private_networks
        self._clock = clock
        self._complaints = Counter[str]()

    @property
    def has_token(self) -> bool:
        """Whether there is a token that the api could be asked with."""
        return self._token is not None

    async def ask(
        self,
        service: str,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        authorised: bool = False,
        takes: frozenset[int] = OK,
    ) -> aiohttp.ClientResponse:
        """
        Send one request, follow its redirects, and raise what a status means that is not one it `takes`.

        The answer's body is still to be read, inside ``async with`` of the answer.
        """
        for redirects in range(MOST_REDIRECTS + 1):
            turn = await self._turn(service, url, is_redirected=redirects > 0)
            sent = self._with_credentials(service, url, headers) if authorised else headers
            check = self.check_of(service) if "Authorization" in sent else None
            if check is not None:
                check.raise_if_refused()
            response = await self._send(method, url, data, sent)
            if response.status in takes:
                self._answered(turn, check, url)
                return response
            async with response:
                if response.status not in _REDIRECTS or "Location" not in response.headers:
                    raise await self._judge(response, turn, with_token=check is not None)
                self._answered(turn, check, url)
                url = self._redirected(url, response, method)
        raise ConnectionFailed(f"{display_url(url)}: more than {MOST_REDIRECTS} redirects")

    async def _send(
        self, method: str, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for the head of its answer; one that trickles is given up."""
        proxy = None if is_loopback(url) else self._proxies.for_host(url.host or "", url.port)
        try:
            with self._deadlines.within(self._timeouts.connect + self._timeouts.idle):
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

    async def _turn(self, service: str, url: URL, *, is_redirected: bool) -> Permit:
        payers = self._payers(service, url.origin(), is_redirected=is_redirected)
        also = self.limiters[payers[1]] if len(payers) > 1 else None
        started = await self.limiters[payers[0]].turn(also) if payers else self._clock()
        for name in payers:
            self.traffic.requests[name] += 1
        return Permit(service, started, payers)

    def _payers(self, service: str, origin: URL, *, is_redirected: bool) -> tuple[str, ...]:
        """
        Tell for whom a request counts: the service it is asked for, and the one whose host it is asked of.

        Where several share a host it is the one asked for, and a download counts for the api as well. After
        a redirect only the host's service counts; the storage belongs to none.
        """
        homes = self._homes.get(origin)
        if homes is None:
            if is_redirected:
                return ()
            homes = self._homes[origin] = (service,)
        if service in homes and (service != "files" or "api" not in homes):
            return (service,)
        host = "api" if "api" in homes else homes[0]
        return (host,) if is_redirected else (service, host)

    def _with_credentials(self, service: str, url: URL, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Add what a service's own origin may know; the services may share one, so it takes both to agree."""
        if service == "stats":
            if self._stats_credentials is not None and url.origin() == self._stats:
                packed = base64.b64encode(self._stats_credentials.reveal().encode()).decode()
                return {**headers, "Authorization": f"Basic {packed}"}
        elif self._token is not None and url.origin() == self._api:
            return {**headers, "Authorization": f"token {self._token.reveal()}"}
        return headers

    def _redirected(self, url: URL, response: aiohttp.ClientResponse, method: str) -> URL:
        if method != "GET":
            raise Rejected(f"{display_url(url)}: sends a {method} elsewhere, which is not followed")
        try:
            target = url.join(URL(response.headers["Location"]))
            # A host like [::12345] is found to be none only when it is asked for.
            is_web = target.scheme in {"http", "https"} and bool(target.host and target.origin())
        except ValueError as exc:
            raise InvalidResponse(f"{display_url(url)}: redirects to no address") from exc
        kind = why_not_public(target, self._private_networks)
        if kind is not None and not (is_web and is_loopback(self._api)):
            where = target.host or f"an address of {target.scheme}"
            raise Rejected(f"{display_url(url)}: redirects to {where}, which is {with_remedy(kind)}")
        return target

    async def _judge(
        self, response: aiohttp.ClientResponse, turn: Permit, *, with_token: bool
    ) -> HarvestError:
        """Return what an answer's status means; a complaint about our pace slows the services down."""
        name, status, headers = display_url(response.url), response.status, response.headers
        wait = retry_after_seconds(headers.get("Retry-After"), headers.get("Date"))
        if not turn.payers:
            wait = None if wait is None else min(wait, self._max_wait)
            if (refusal := _refused_behind_redirect(name, status, turn.service, wait)) is not None:
                return refusal
        raw = await self._beginning(response) if status < 500 else b""
        is_long = wait is not None and wait > LONGEST_RETRY_AFTER_SECONDS
        if is_long and status not in _MAY_END_THE_RUN:  # of one item: no word on the others
            wait, is_long = None, False
        error = error_for_status(name, status, headers, raw, wait, with_token=with_token)
        if isinstance(error, Forbidden):
            error.service, error.address = turn.service, str(response.url)
        if is_long:
            return FatalError(f"{error}; it asks to wait {wait:.0f} s: run again after that")
        is_block = isinstance(error, Blocked) and turn.service != "files"  # a file has another route
        if isinstance(error, RateLimited) or is_block:
            self._slow_down(turn, wait, error)
        elif not isinstance(error, TransientError):
            self._answered(turn)
        return error

    def check_of(self, service: str) -> TokenCheck:
        """Return the check of what is sent with requests for a service."""
        return self._checks["stats" if service == "stats" else "token"]

    def _answered(self, turn: Permit, check: TokenCheck | None = None, url: URL | None = None) -> None:
        """Note an answer that is no complaint, and no failure there; `check`: of what it was asked with."""
        if check is not None and url is not None:
            check.accepted(url)
        for name in turn.payers:
            self._complaints[name] = 0
            self.limiters[name].pace.recover(turn.started)

    def _slow_down(self, turn: Permit, wait: float | None, error: HarvestError) -> None:
        for name in turn.payers:
            limiter = self.limiters[name]
            self._complaints[name] += limiter.pace.is_news(turn.started)
            pause = backoff_seconds(self._complaints[name], self._max_wait) if wait is None else wait
            if limiter.throttle(turn.started, pause):
                rate = limiter.pace.rate
                log.warning("%s: %s pauses for %.1f s, then %.3g requests a second", error, name, pause, rate)

    async def read(self, response: aiohttp.ClientResponse, take: Callable[[bytes], Awaitable[None]]) -> None:
        """Read a body to its end; give up on one that trickles."""
        window, content = self._timeouts.idle, response.content
        begun, size = self._clock(), 0
        while not content.at_eof():
            try:
                if content.is_eof():  # all of it is here
                    piece = content.read_nowait()
                else:
                    with self._deadlines.within(window):
                        piece = await content.readany()
            except TRANSPORT_ERRORS as exc:
                raise map_error(exc, response.url) from exc
            before = self._clock()
            await take(piece)
            begun += self._clock() - before  # a wait for its turn is no slowness of the service
            size += len(piece)
            passed = self._clock() - begun
            if passed >= window:
                if size < passed * self._timeouts.slowest:
                    raise ConnectionFailed(
                        f"{display_url(response.url)}: only {size} bytes in {passed:.0f} s"
                    )
                begun, size = self._clock(), 0

    async def _beginning(self, response: aiohttp.ClientResponse) -> bytes:
        """Return the beginning of an error's body; what of it cannot be had does not matter."""
        with contextlib.suppress(HarvestError):
            encoding = response.headers.get("Content-Encoding", "")
            body = JsonBody(response.url, encoding, limit=MOST_WORDS)
            with contextlib.suppress(HarvestError):
                await self.read(response, body.take)
            return body.whole(cut=True)
        return b""


def _refused_behind_redirect(
    name: str, status: int, service: str, wait: float | None
) -> TransientError | None:
    """
    Say what it means that a host refuses which no service of figshare's is; None for another answer.

    The storage has no opinion on us or on a file, only on an address that was signed: another route has
    another one.
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        # No limiter of ours can pause for it: whoever asked waits.
        return ConnectionFailed(f"{name}: too many requests there ({status})", retry_after=wait)
    if service != "files":
        return ConnectionFailed(f"{name}: refused ({status})") if status in _EXPIRED else None
    if status in _NOT_FOUND:
        return UnprovenNotFound(f"{name}: not found in the storage ({status})")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status != 408:
        return Blocked(f"{name}: the signed address was refused ({status})")
    return None
