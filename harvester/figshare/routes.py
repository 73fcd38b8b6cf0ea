"""
How a file's bytes are reached: which routes there are, which one is asked, when one rests.

A public file is asked of the address in its record (a host of its own, so that downloads do not eat
the api's allowance), then of the api; a private one of the api, with the token. A challenge sends the
file to the other route at once. A route that challenged several files in a row rests, and is probed
by the next file after that.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from yarl import URL

from harvester.client import Client, is_loopback, is_public
from harvester.errors import Challenged, Damaged, Unverified
from harvester.models import OwedFile
from harvester.store import Partial

log = logging.getLogger(__name__)

DOWNLOADS = "https://ndownloader.figshare.com"
"""The host of the addresses in records."""
CHALLENGES_BEFORE_REST = 3
REST_SECONDS = 60.0

_FIGSHARE = ("figshare.com", "figsh.com")
_PAGES = (".html", ".htm", ".xhtml")


@dataclass
class _Health:
    """The files that a route challenged in a row, and until when it rests."""

    challenged: set[int] = field(default_factory=set)
    rests_until: float = -math.inf


class Routes:
    """The ways to a file; remembers which of them are blocked."""

    def __init__(self, client: Client, *, api: URL, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._api = api
        self._clock = clock
        self._health: dict[str, _Health] = {}

    async def download(self, owed: OwedFile, partial: Partial) -> None:
        """
        Fill a partial file, prove it and put it in its place.

        Raises:
            Unverified: the same wrong bytes came twice.
            Others: as `Client.persist`.
        """
        wrong: set[str] = set()

        async def attempt() -> None:
            await self._fetch(owed, partial)
            try:
                await partial.publish(owed.path)
            except Damaged as error:
                if error.md5 in wrong:
                    raise Unverified(f"{error}, twice the same") from error
                wrong.add(error.md5)
                raise

        await self._client.persist("files", attempt)

    async def _fetch(self, owed: OwedFile, partial: Partial) -> None:
        is_page = owed.file.name.lower().endswith(_PAGES)
        problem: Challenged | None = None
        for url in self._open_routes(owed):
            try:
                await self._client.fetch(
                    url, partial, owed.file.size, is_page=is_page, authorised=owed.private
                )
            except Challenged as error:
                self._note_challenge(url, owed.file.id, error)
                problem = error
            else:
                self._health.pop(_route(url), None)
                return
        assert problem is not None, "there is always the api's route"
        raise problem

    def _open_routes(self, owed: OwedFile) -> list[URL]:
        """List the addresses to ask, best first; those that rest only where no other is left."""
        routes = [self._api / f"file/download/{owed.file.id}"]
        if not owed.private and (url := recorded_address(owed.file.url, self._api)):
            routes.insert(0, url)
        now = self._clock()
        awake = [url for url in routes if self._health.get(_route(url), _Health()).rests_until <= now]
        return awake or routes

    def _note_challenge(self, url: URL, file_id: int, error: Challenged) -> None:
        health = self._health.setdefault(_route(url), _Health())
        health.challenged.add(file_id)
        self._client.traffic.errors["files"] += 1
        if len(health.challenged) >= CHALLENGES_BEFORE_REST:
            health.challenged.clear()
            health.rests_until = self._clock() + REST_SECONDS
            log.warning("%s: this way to files rests for %.0f s", error, REST_SECONDS)


def recorded_address(text: str, api: URL) -> URL | None:
    """
    Return the address that a record gives for a file, None where it must not be asked.

    Only https on a host of figshare's or the api's own; this machine only where the api is on it too.
    """
    try:
        url = URL(text)
    except ValueError:
        return None
    host = url.host or ""
    if is_loopback(url):
        return url if is_loopback(api) else None
    is_figshare = host in {*_FIGSHARE, api.host} or host.endswith(tuple(f".{name}" for name in _FIGSHARE))
    return url if is_figshare and is_public(url) else None


def _route(url: URL) -> str:
    return str(url.origin())
