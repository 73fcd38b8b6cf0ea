"""
Download routes with a circuit breaker each: which URLs serve a file, in which order they are tried, and when
one is disabled for a while.

A public file is requested from the URL in its record (a separate host, so that downloads do not use up the
API's rate), then from the API; a private file from the API, with the token. After a challenge, or from a
route that does not know the file, the other route is tried immediately. A 404 with a web page counts as a
challenge. But if the other route answers with figshare's JSON that there is no such file, the file does not
exist.

After corrupt bytes the next attempt uses a route that was not tried yet, over one connection, because the
bytes may come from a proxy's cache. A file that keeps failing is requested from the routes alternately, even
from a disabled one.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from yarl import URL

from harvester.client import Client, ExpectedBody, RangeMismatch, SlotUsage, is_progress
from harvester.client.breaker import CircuitBreaker
from harvester.client.url_policy import Network, is_loopback, is_public
from harvester.errors import (
    Blocked,
    ChecksumMismatch,
    CorruptBody,
    Deferred,
    NotFound,
    TransientError,
    UnprovenNotFound,
)
from harvester.figshare.api_version import ApiVersion
from harvester.figshare.v2 import V2
from harvester.models import PendingFile
from harvester.storage.protocol import Upload, held_bytes
from harvester.system.log_events import event
from harvester.text.redaction import MARK

log = logging.getLogger(__name__)

DOWNLOADS = "https://ndownloader.figshare.com"
"""The host of the download URLs in records."""
CHALLENGES_BEFORE_REST = 3
REST_SECONDS = 60.0
BEST_FIRST_TRIES = 2
"""The first attempts use the best route first; later ones alternate between the routes."""

_FIGSHARE = ("figshare.com", "figsh.com")
_PAGES = (".html", ".htm", ".xhtml")


@dataclass
class _Attempts:
    """
    The results of the attempts for one file.

    Attributes:
        most: the most bytes received at any time.
        usage: how well it used its connection slots.
        count: attempts so far.
        wrong: how often corrupt bytes were received, by their md5.
        tried: routes that were tried.
        answered: routes that sent bytes, or refused.
        mismatches: responses with other bytes than were requested.
    """

    most: int
    usage: SlotUsage
    count: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    tried: set[URL] = field(default_factory=set)
    answered: set[URL] = field(default_factory=set)
    mismatches: int = 0

    def order(self, routes: Sequence[URL]) -> Sequence[URL]:
        """Return the routes, given best first, in the order in which this attempt tries them."""
        if self.wrong and not self.tried.issuperset(routes):
            return sorted(routes, key=self.tried.__contains__)
        return routes[::-1] if self.count > BEST_FIRST_TRIES and self.count % 2 else routes

    def note_wrong(self, md5: str, routes: Sequence[URL]) -> bool:
        """
        Count corrupt bytes.

        Return whether they are final: twice the same, and all routes have answered.
        """
        self.wrong[md5] += 1
        return self.wrong[md5] > 1 and self.answered.issuperset(routes)

    def note_held(self, held: int, size: int) -> bool:
        """Note the received bytes after a failed attempt; return whether it has made progress."""
        # Compared with the maximum so far: bytes that were discarded and received again are no progress.
        gained, self.most = held - self.most, max(self.most, held)
        return is_progress(gained, size)


class DownloadRoutes:
    """
    The download routes, each with a circuit breaker for the run.

    Attributes:
        client: sends the requests.
        api: base URL of the API, which serves files too.
        impersonate: the account whose private files an administrator's token requests, 0 for its own.
        private_networks: networks that addresses in records may belong to.
        version: of the API, which says where it serves files.
        clock: returns seconds.
    """

    def __init__(
        self,
        client: Client,
        *,
        api: URL,
        impersonate: int = 0,
        private_networks: Sequence[Network] = (),
        version: ApiVersion = V2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._api = api
        self._impersonate = impersonate
        self._private_networks = private_networks
        self._clock = clock
        self._path = version.download
        self._breakers: dict[str, CircuitBreaker] = {}
        self._disabled: set[str] = set()  # origins whose route has not worked since it was disabled
        self._deferrals: Counter[tuple[int, int]] = Counter()

    async def download(
        self, pending: PendingFile, upload: Upload, commit: Callable[[], Awaitable[None]]
    ) -> None:
        """
        Fill an upload, and have `commit` verify its checksum; corrupt bytes are fetched again.

        Raises:
            ChecksumMismatch: the same wrong bytes were received twice, and every route was tried.
            Deferred: it is slow, and other files wait.
            Others: as `Client.retry` and `commit`.
        """
        key = (pending.item_key, pending.file.id)
        attempts = _Attempts(held_bytes(upload), self._client.downloads.usage(self._deferrals[key]))

        async def attempt() -> None:
            attempts.count += 1
            try:
                await self._fetch_and_commit(pending, upload, attempts, commit)
            except TransientError as error:
                error.made_progress = attempts.note_held(held_bytes(upload), pending.file.size)
                raise

        try:
            with self._client.traffic.transfer(pending.path, pending.file.size, upload):
                await self._client.retry("files", attempt)
        except Deferred:
            self._deferrals[key] += 1
            raise
        self._deferrals.pop(key, None)

    async def size_of(self, pending: PendingFile) -> int:
        """Return the size of a file in bytes, 0 if no route gives it; raises what `Client.retry` raises."""
        is_page = pending.file.name.lower().endswith(_PAGES)

        async def attempt() -> int:
            problem: Blocked | NotFound | None = None
            for url in self._routes(pending):
                try:
                    return await self._client.measure(url, is_page=is_page, authorised=pending.private)
                except (Blocked, NotFound) as error:
                    problem = problem or error
            assert problem is not None, "the API's route is always there"
            raise problem

        return await self._client.retry("files", attempt)

    async def _fetch_and_commit(
        self,
        pending: PendingFile,
        upload: Upload,
        attempts: _Attempts,
        commit: Callable[[], Awaitable[None]],
    ) -> None:
        try:
            await self._fetch(pending, upload, attempts)
            await commit()
        except RangeMismatch:
            attempts.mismatches += 1
            if attempts.mismatches > 1:  # if ranges do not match, request the whole file
                await upload.start_over()
            raise
        except CorruptBody as error:
            if attempts.note_wrong(error.md5, self._routes(pending)):
                raise ChecksumMismatch(f"{error}, twice the same") from error
            attempts.most = max(attempts.most, pending.file.size)
            raise

    async def _fetch(self, pending: PendingFile, upload: Upload, attempts: _Attempts) -> None:
        """Try the routes, best first; disabled ones only if no other is left, or none has worked so far."""
        problem: Blocked | NotFound | None = None
        resting: list[URL] = []
        for url in attempts.order(self._routes(pending)):
            may_rest = attempts.count <= BEST_FIRST_TRIES
            if may_rest and not self._try_acquire(url, pending.file.id):
                resting.append(url)
            elif (problem := await self._try_route(url, pending, upload, attempts, problem)) is None:
                return
        if problem is None or isinstance(
            problem, NotFound
        ):  # only if all routes say so is the file not found
            for url in resting:
                if (problem := await self._try_route(url, pending, upload, attempts, problem)) is None:
                    return
        assert problem is not None, "the API's route is always there"
        raise problem

    async def _try_route(
        self,
        url: URL,
        pending: PendingFile,
        upload: Upload,
        attempts: _Attempts,
        before: Blocked | NotFound | None,
    ) -> Blocked | NotFound | None:
        """
        Try one route.

        Return None after success, else the error; `before`: the error of the route before.
        """
        breaker, file = self._breaker(url), pending.file
        wanted = ExpectedBody(
            file.size,
            has_md5=file.md5 is not None,
            is_page=file.name.lower().endswith(_PAGES),
            one_connection=bool(attempts.wrong),
        )
        attempts.tried.add(url)
        try:
            await self._client.downloads.fetch(
                url, upload, wanted, authorised=pending.private, usage=attempts.usage
            )
        except Blocked as error:
            attempts.answered.add(url)
            self._note_challenge(url, file.id, error)
            return before if isinstance(before, NotFound) and isinstance(error, UnprovenNotFound) else error
        except NotFound as error:
            attempts.answered.add(url)
            if isinstance(before, UnprovenNotFound):  # a gateway's page said so too: the API decides
                return error
            return before or error
        else:
            attempts.answered.add(url)
            self._note_success(url)
            if file.size:
                check = functools.partial(self._client.touch, url, wanted, authorised=pending.private)
                self._client.set_health_check("files", check)
            return None
        finally:
            breaker.release_probe(file.id)

    def _routes(self, pending: PendingFile) -> list[URL]:
        """Return the routes to a file, best first."""
        routes = [self._api / self._path.format(file_id=pending.file.id)]
        if pending.private and self._impersonate:
            routes = [url.with_query(impersonate=self._impersonate) for url in routes]
        if not pending.private and (
            url := recorded_address(pending.file.url, self._api, self._private_networks)
        ):
            routes.insert(0, url)
        return routes

    def _breaker(self, url: URL) -> CircuitBreaker:
        return self._breakers.setdefault(str(url.origin()), route_breaker())

    def _try_acquire(self, url: URL, file_id: int) -> bool:
        """Return whether a file may try a route now; if it was disabled, reserve the probe for the file."""
        breaker = self._breaker(url)
        return breaker.is_closed or breaker.try_acquire_probe(self._clock(), file_id)

    def _note_success(self, url: URL) -> None:
        self._breaker(url).record_success()
        self._disabled.discard(str(url.origin()))

    def _note_challenge(self, url: URL, file_id: int, error: Blocked) -> None:
        """Count a challenge; the disabled route is logged once, until it works again."""
        self._client.traffic.errors["files"] += 1
        breaker, origin = self._breaker(url), str(url.origin())
        if breaker.record_failure(self._clock(), file_id):
            level = logging.DEBUG if origin in self._disabled else logging.WARNING
            self._disabled.add(origin)
            log.log(
                level, "%s; download route disabled for %.0f s", error, REST_SECONDS,
                extra=event("pause", service="files", seconds=REST_SECONDS, reason=str(error)),
            )  # fmt: skip
        if origin in self._disabled:
            error.common_cause = f"{url.host}: downloads are blocked"


def route_breaker() -> CircuitBreaker:
    """Return the circuit breaker of one route, which opens after challenges of different files in a row."""
    return CircuitBreaker(CHALLENGES_BEFORE_REST, rest_seconds=REST_SECONDS)


def recorded_address(text: str, api: URL, networks: Sequence[Network] = ()) -> URL | None:
    """
    Return the URL that a record gives for a file, None where it must not be requested.

    It must be https, on a host of figshare or of the API; on this machine only if the API is too. None
    with a name or password, with an invalid host name (a label is empty or too long), or with a redacted
    signature, without which it does not work.
    """
    if MARK in text:
        return None
    try:
        url = URL(text)
        host = url.host or ""
        (url.raw_host or "").encode("idna")
    except ValueError:
        return None
    if url.raw_user is not None or url.raw_password is not None:
        return None
    if is_loopback(url):
        return url if is_loopback(api) else None
    is_figshare = host in {*_FIGSHARE, api.host} or host.endswith(tuple(f".{name}" for name in _FIGSHARE))
    return url if is_figshare and is_public(url, networks) else None
