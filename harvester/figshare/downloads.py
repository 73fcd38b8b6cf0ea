"""
How a file's bytes are reached: which routes there are, which one is asked, when one rests.

A public file is asked of the address in its record (a host of its own, so that downloads do not eat
the api's allowance), then of the api; a private one of the api, with the token. A challenge sends the
file to the other route at once, and so does a route that knows nothing of it. A page that says 404 is a
challenge, but where the other route says in figshare's own words that there is no such file, there is none.
A route that challenged several files in a row rests; then one file probes it, and unless that works it rests
again. A file that has no luck is in the end asked of every route in turn, rested or not. After wrong bytes
the next try asks a route that was not asked yet, over one connection: what a proxy keeps is no word of
figshare's.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from yarl import URL

from harvester.client import Client, Holding, Unfit, Wanted, is_progress
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
from harvester.figshare.protocol import ApiVersion
from harvester.figshare.v2 import V2
from harvester.models import PendingFile
from harvester.storage.local import Partial
from harvester.text.redaction import MARK

log = logging.getLogger(__name__)

DOWNLOADS = "https://ndownloader.figshare.com"
"""The host of the addresses in records."""
CHALLENGES_BEFORE_REST = 3
REST_SECONDS = 60.0
BEST_FIRST_TRIES = 2
"""So often a file is asked of the best route first; then of each in turn."""

_FIGSHARE = ("figshare.com", "figsh.com")
_PAGES = (".html", ".htm", ".xhtml")


@dataclass
class _Tried:
    """
    What the tries of one file have shown.

    ``most``: bytes that were here at once. ``wrong``: how often wrong bytes came, by their md5. ``asked``:
    routes, ``answered``: those that gave bytes, or would not. ``unfit``: answers with other bytes than were
    asked for. ``holding``: how it used its connections.
    """

    most: int
    holding: Holding
    tries: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    asked: set[URL] = field(default_factory=set)
    answered: set[URL] = field(default_factory=set)
    unfit: int = 0

    def order(self, routes: Sequence[URL]) -> Sequence[URL]:
        """Put the routes, best first, in the order in which this try asks them."""
        if self.wrong and not self.asked.issuperset(routes):
            return sorted(routes, key=self.asked.__contains__)
        return routes[::-1] if self.tries > BEST_FIRST_TRIES and self.tries % 2 else routes

    def is_final(self, md5: str, routes: Sequence[URL]) -> bool:
        """Note wrong bytes; tell whether there is no hope for others: twice the same, all routes asked."""
        self.wrong[md5] += 1
        return self.wrong[md5] > 1 and self.answered.issuperset(routes)

    def has_grown(self, held: int, size: int) -> bool:
        """Tell whether a try that failed has brought bytes enough to be none in vain."""
        # Compared with the most that ever was: what is thrown away and comes again is no progress.
        gained, self.most = held - self.most, max(self.most, held)
        return is_progress(gained, size)


class DownloadRoutes:
    """
    The ways to a file; remembers which of them are blocked.

    `impersonate`: the account whose private files an administrator's token asks for, 0 for its own.
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
        self._path = version.download
        self._impersonate = impersonate
        self._private_networks = private_networks
        self._clock = clock
        self._breakers: dict[str, CircuitBreaker] = {}
        self._put_off: Counter[tuple[int, int]] = Counter()

    async def download(self, owed: PendingFile, partial: Partial) -> None:
        """
        Fill a partial file, prove it and put it in its place.

        Raises:
            ChecksumMismatch: the same wrong bytes came twice, and every route was asked.
            Deferred: it comes slowly, and others wait.
            Others: as `Client.retry`.
        """
        key = (owed.key, owed.file.id)
        tried = _Tried(partial.held, self._client.downloads.holding(self._put_off[key]))

        async def attempt() -> None:
            tried.tries += 1
            try:
                await self._try(owed, partial, tried)
            except TransientError as error:
                error.made_progress = tried.has_grown(partial.held, owed.file.size)
                raise

        try:
            await self._client.retry("files", attempt)
        except Deferred:
            self._put_off[key] += 1
            raise
        self._put_off.pop(key, None)

    async def size_of(self, owed: PendingFile) -> int:
        """Find out how many bytes a file has, 0 where nobody tells; raises as `Client.retry`."""
        is_page = owed.file.name.lower().endswith(_PAGES)

        async def attempt() -> int:
            problem: Blocked | NotFound | None = None
            for url in self._routes(owed):
                try:
                    return await self._client.measure(url, is_page=is_page, authorised=owed.private)
                except (Blocked, NotFound) as error:
                    problem = problem or error
            assert problem is not None, "there is always the api's route"
            raise problem

        return await self._client.retry("files", attempt)

    async def _try(self, owed: PendingFile, partial: Partial, tried: _Tried) -> None:
        """Fetch what is missing, and publish; raises as `download`."""
        try:
            await self._fetch(owed, partial, tried)
            await partial.publish(owed.path)
        except Unfit:
            tried.unfit += 1
            if tried.unfit > 1:  # where what is here cannot be gone on with, the whole may come
                await partial.start_over()
            raise
        except CorruptBody as error:
            if tried.is_final(error.md5, self._routes(owed)):
                raise ChecksumMismatch(f"{error}, twice the same") from error
            tried.most = max(tried.most, owed.file.size)
            raise

    async def _fetch(self, owed: PendingFile, partial: Partial, tried: _Tried) -> None:
        """Ask the routes, best first; those that rest only where no other is left, or has helped so far."""
        problem: Blocked | NotFound | None = None
        resting: list[URL] = []
        for url in tried.order(self._routes(owed)):
            may_rest = tried.tries <= BEST_FIRST_TRIES
            if may_rest and not self._may_ask(url, owed.file.id):
                resting.append(url)
            elif (problem := await self._ask(url, owed, partial, tried, problem)) is None:
                return
        if problem is None or isinstance(problem, NotFound):  # gone is only what every route says is gone
            for url in resting:
                if (problem := await self._ask(url, owed, partial, tried, problem)) is None:
                    return
        assert problem is not None, "there is always the api's route"
        raise problem

    async def _ask(
        self, url: URL, owed: PendingFile, partial: Partial, tried: _Tried, before: Blocked | NotFound | None
    ) -> Blocked | NotFound | None:
        """Ask one route; return None when the bytes are here, else what is wrong, with what was `before`."""
        breaker, file = self._breaker(url), owed.file
        wanted = Wanted(
            file.size,
            has_md5=file.md5 is not None,
            is_page=file.name.lower().endswith(_PAGES),
            one_connection=bool(tried.wrong),
        )
        tried.asked.add(url)
        try:
            await self._client.downloads.fetch(
                url, partial, wanted, authorised=owed.private, holding=tried.holding
            )
        except Blocked as error:
            tried.answered.add(url)
            self._note_challenge(breaker, file.id, error)
            return before if isinstance(before, NotFound) and isinstance(error, UnprovenNotFound) else error
        except NotFound as error:
            tried.answered.add(url)
            if isinstance(before, UnprovenNotFound):  # a page of some gateway said so too: the api decides
                return error
            return before or error
        else:
            tried.answered.add(url)
            breaker.record_success()
            if file.size:
                check = functools.partial(self._client.touch, url, wanted, authorised=owed.private)
                self._client.set_health_check("files", check)
            return None
        finally:
            breaker.release_probe(file.id)

    def _routes(self, owed: PendingFile) -> list[URL]:
        """List the routes to a file, best first."""
        routes = [self._api / self._path.format(file_id=owed.file.id)]
        if owed.private and self._impersonate:
            routes = [url.with_query(impersonate=self._impersonate) for url in routes]
        if not owed.private and (url := recorded_address(owed.file.url, self._api, self._private_networks)):
            routes.insert(0, url)
        return routes

    def _breaker(self, url: URL) -> CircuitBreaker:
        return self._breakers.setdefault(str(url.origin()), route_breaker())

    def _may_ask(self, url: URL, file_id: int) -> bool:
        breaker = self._breaker(url)
        return breaker.is_closed or breaker.try_acquire_probe(self._clock(), file_id)

    def _note_challenge(self, breaker: CircuitBreaker, file_id: int, error: Blocked) -> None:
        self._client.traffic.errors["files"] += 1
        if breaker.record_failure(self._clock(), file_id):
            log.warning("%s; download route disabled for %.0f s", error, REST_SECONDS)


def route_breaker() -> CircuitBreaker:
    """Return the circuit breaker of one route, which opens after challenges of different files in a row."""
    return CircuitBreaker(CHALLENGES_BEFORE_REST, rest_seconds=REST_SECONDS)


def recorded_address(text: str, api: URL, networks: Sequence[Network] = ()) -> URL | None:
    """
    Return the address that a record gives for a file, None where it must not be asked.

    Only https on a host of figshare's or the api's own; this machine only where the api is on it too. None
    with a name or password, and none whose host cannot be looked up, as a part of it is empty or too long.
    Nor one that a signature was taken out of: it leads nowhere without.
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
