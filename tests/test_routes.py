"""The ways to a file: which one is asked, when one rests, and what all of them together say."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from harvester.client import ExpectedBody
from harvester.client.breaker import CircuitBreaker
from harvester.errors import Blocked, HarvestError, NotFound, ServerError
from harvester.figshare.downloads import REST_SECONDS, DownloadRoutes, route_breaker
from harvester.models import ItemId, ItemKey, PendingFile, RemoteFile
from harvester.storage.local.store import Store
from tests.support.http import Hours, client, served
from tests.support.routes import CONTENT, comes, is_gone, two_routes
from tests.support.stores import download as download_file

pytestmark = pytest.mark.anyio


# -- a breaker, by itself -------------------------------------------------------------------------


def test_a_route_is_disabled_after_challenges_of_three_different_files_in_a_row() -> None:
    breaker = route_breaker()
    assert not breaker.record_failure(0, 1)
    assert not breaker.record_failure(0, 1), "the same file again"
    assert not breaker.record_failure(0, 2)
    assert breaker.is_closed
    assert breaker.record_failure(0, 3)
    assert not breaker.is_closed
    assert not breaker.try_acquire_probe(REST_SECONDS - 1, 9)


def test_a_fetched_file_resets_the_count_of_challenges() -> None:
    breaker = route_breaker()
    breaker.record_failure(0, 1)
    breaker.record_failure(0, 2)
    breaker.record_success()
    assert not breaker.record_failure(0, 3)


def open_breaker() -> CircuitBreaker:
    breaker = route_breaker()
    for file_id in (1, 2, 3):
        breaker.record_failure(0, file_id)
    return breaker


def test_after_the_pause_one_file_probes_the_route() -> None:
    breaker = open_breaker()
    assert breaker.try_acquire_probe(REST_SECONDS, 7)
    assert breaker.try_acquire_probe(REST_SECONDS, 7), "it is its own"
    assert not breaker.try_acquire_probe(REST_SECONDS, 8)
    breaker.record_success()
    breaker.release_probe(7)
    assert breaker.is_closed


def test_one_challenge_after_a_pause_disables_the_route_again() -> None:
    breaker = open_breaker()
    assert breaker.try_acquire_probe(REST_SECONDS, 7)
    assert breaker.record_failure(REST_SECONDS, 7)
    breaker.release_probe(7)
    assert not breaker.try_acquire_probe(2 * REST_SECONDS - 1, 8)
    assert breaker.try_acquire_probe(2 * REST_SECONDS, 8)


def test_a_probe_without_a_result_leaves_the_probe_to_the_next_file() -> None:
    breaker = open_breaker()
    assert breaker.try_acquire_probe(REST_SECONDS, 7)
    breaker.release_probe(7)  # cut, or cancelled
    assert breaker.try_acquire_probe(REST_SECONDS, 8)


def test_a_challenge_of_a_disabled_route_does_not_lengthen_its_pause() -> None:
    breaker = open_breaker()
    assert not breaker.record_failure(REST_SECONDS / 2, 4)
    assert breaker.try_acquire_probe(REST_SECONDS, 5)


# -- over sockets ---------------------------------------------------------------------------------


def challenges(_: int) -> web.Response:
    return web.Response(status=202)


def fails(_: int) -> web.Response:
    return web.Response(status=500)


def challenges_once(number: int) -> web.Response:
    return challenges(number) if number == 1 else comes(number)


async def test_a_challenge_sends_a_file_to_the_other_route_at_once(tmp_path: Path) -> None:
    async with two_routes(challenges, comes, tmp_path) as (download, asked, _):
        await download(1)
        assert asked == ["own", "api"]
        assert (tmp_path / "files/5/1.csv").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412, 421, 425, 451])
async def test_a_file_that_the_storage_refuses_is_requested_from_the_other_route(
    status: int, tmp_path: Path
) -> None:
    def refused(_: int) -> web.Response:
        return web.Response(status=status, text='{"message": "No entity"}')

    async def storage(_: web.Request) -> web.StreamResponse:
        return refused(0)

    async with served(storage) as other:

        def redirects(_: int) -> web.Response:
            return web.Response(status=302, headers={"Location": str(other / "signed")})

        async with two_routes(redirects, comes, tmp_path) as (download, asked, _):
            await download(1)
            assert asked == ["own", "api"]


async def test_a_private_file_is_requested_from_the_api_alone(tmp_path: Path) -> None:
    async with two_routes(comes, comes, tmp_path, private=True) as (download, asked, _):
        await download(1)
        assert asked == ["api"]


async def test_a_file_is_not_found_only_if_every_route_says_so(tmp_path: Path) -> None:
    async with two_routes(is_gone, comes, tmp_path) as (download, asked, _):
        await download(1)
        assert asked == ["own", "api"]
    async with two_routes(is_gone, is_gone, tmp_path) as (download, asked, _):
        with pytest.raises(NotFound):
            await download(2)
        assert asked == ["own", "api"]
    async with two_routes(challenges_once, is_gone, tmp_path) as (download, asked, _):
        await download(3)
        assert asked == ["own", "api", "own"], "a challenge is no word on whether it is there"


async def test_routes_that_stay_blocked_are_logged_once_each_and_are_what_failed_files_have_in_common(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    causes = []
    async with two_routes(challenges, challenges, tmp_path) as (download, _, hours):
        for file_id in range(1, 7):
            with pytest.raises(Blocked) as caught:
                await download(file_id)
            causes.append(caught.value.common_cause)
            hours.now += 10 * REST_SECONDS
    assert causes == ["", "", *["127.0.0.1: downloads are blocked"] * 4]
    assert [record.getMessage().partition("; ")[2] for record in caplog.records if record.levelno > 20] == [
        "download route disabled for 60 s"
    ] * 2


async def test_a_disabled_route_is_tried_before_a_file_is_not_found(tmp_path: Path) -> None:
    own_works = False

    def own(number: int) -> web.Response:
        return comes(number) if own_works else challenges(number)

    api_knows = True

    def api(number: int) -> web.Response:
        return comes(number) if api_knows else is_gone(number)

    async with two_routes(own, api, tmp_path) as (download, asked, _):
        for file_id in (1, 2, 3):
            await download(file_id)
        await download(4)
        assert asked[-1:] == ["api"], "the own route rests"
        own_works, api_knows = True, False
        await download(5)
        assert asked[-2:] == ["api", "own"]


async def test_a_file_that_keeps_failing_is_requested_from_every_route(tmp_path: Path) -> None:
    async with two_routes(fails, comes, tmp_path) as (download, asked, _):
        await download(1)
        assert asked == ["own", "own", "api"]


# -- one route, files of any kind -----------------------------------------------------------------

MD5 = hashlib.md5(CONTENT).hexdigest()
NOWHERE = [f"https://{'a' * 64}.figshare.com/1", "https://.figshare.com/1", "https://a..figshare.com/1"]
"""Addresses whose host has no DNS entry."""


@asynccontextmanager
async def one_route(
    answer: Callable[[int, web.Request], web.Response], folder: Path
) -> AsyncIterator[tuple[Callable[..., Awaitable[None]], Hours]]:
    """A route whose answers depend on the file; the function downloads one by its id, name, md5 and url."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(int(request.path.rpartition("/")[2]), request)

    hours = Hours()
    async with (
        served(handle) as api,
        client(api, attempts=2, clock=hours.clock, wait=hours.sleep) as made,
    ):
        routes, store = DownloadRoutes(made, api=api, clock=hours.clock), Store(folder)

        async def download(file_id: int, name: str = "x", md5: str | None = MD5, url: str = "") -> None:
            file = RemoteFile(file_id, name, "", len(CONTENT), md5, url, is_link=False)
            path = f"files/5/{file_id}"
            pending = PendingFile(1, ItemId(5), file, path, private=False, item_key=ItemKey(5))
            await download_file(routes, store, pending)

        yield download, hours


def part(request: web.Request, content_type: str, content: bytes = CONTENT) -> web.Response:
    """The bytes that were requested."""
    asked = request.http_range
    if asked.start is None and asked.stop is None:
        return web.Response(body=content, content_type=content_type)
    begin, end = asked.start or 0, min(asked.stop or len(content), len(content))
    headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"}
    return web.Response(status=206, body=content[begin:end], content_type=content_type, headers=headers)


@pytest.mark.parametrize(("name", "md5"), [("a.html", None), ("a.html", MD5), ("a.csv", MD5)])
async def test_an_outage_also_ends_if_the_last_file_had_the_type_of_a_web_page(
    name: str, md5: str | None, tmp_path: Path
) -> None:
    is_out = False

    def answer(file_id: int, request: web.Request) -> web.Response:
        if is_out:
            return web.Response(status=500)
        return part(request, "text/html" if file_id == 1 else "text/csv")

    async with one_route(answer, tmp_path) as (download, hours):
        await download(1, name, md5)
        is_out = True
        for file_id in range(2, 10):
            with pytest.raises(ServerError):
                await download(file_id)
        is_out, began = False, hours.now
        for file_id in range(2, 10):
            await download(file_id)
        assert hours.now - began < 60, "the files wait for the proof, and it comes"


@pytest.mark.parametrize(
    ("wanted", "answered", "is_proof"),
    [
        (ExpectedBody(9, has_md5=True, is_page=False), web.Response(body=b"<b>no</b>"), True),
        (ExpectedBody(8, has_md5=True, is_page=False), web.Response(body=b"<b>no</b>"), False),
        (ExpectedBody(8, has_md5=False, is_page=True), web.Response(body=b"<b>no</b>"), False),
        (ExpectedBody(9, has_md5=False, is_page=False), web.Response(body=b"<b>no</b>"), False),
        (ExpectedBody(9, has_md5=True, is_page=True), web.Response(body=b""), False),
    ],
)
async def test_a_web_page_proves_that_files_are_served_only_if_it_may_be_the_file(
    wanted: ExpectedBody, answered: web.Response, is_proof: bool
) -> None:
    answered.content_type = "text/html"

    async def handle(_: web.Request) -> web.StreamResponse:
        return answered

    async with served(handle) as api, client(api) as asked:
        if is_proof:
            await asked.touch(api / "f", wanted, authorised=False)
        else:
            with pytest.raises(Blocked):
                await asked.touch(api / "f", wanted, authorised=False)


@pytest.mark.parametrize("url", [*NOWHERE, "https://xn--a.figshare.com/1", "https://a%3Ab:c@figshare.com/1"])
async def test_a_file_with_an_unreachable_address_is_fetched_from_the_api(url: str, tmp_path: Path) -> None:
    async with one_route(lambda _, request: part(request, "text/csv"), tmp_path) as (download, _):
        await download(1, url=url)
        assert (tmp_path / "files/5/1").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "target", [*NOWHERE, "http://a%3Ab:c@127.0.0.1:9/1", "http://\u20ac:c@127.0.0.1:9/1"]
)
async def test_an_invalid_redirect_is_a_failure_of_that_file_alone(target: str, tmp_path: Path) -> None:
    def answer(file_id: int, request: web.Request) -> web.Response:
        if file_id == 1:
            return web.Response(status=302, headers={"Location": target})
        return part(request, "text/csv")

    async with one_route(answer, tmp_path) as (download, _):
        with pytest.raises(HarvestError, match="DNS lookup failed|not an address"):
            await download(1)
        await download(2)
        assert (tmp_path / "files/5/2").read_bytes() == CONTENT
