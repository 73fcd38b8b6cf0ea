"""The client: what an answer means, where the token and redirects may go, when to ask again."""

from __future__ import annotations

import contextlib
import gzip
import random
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import aiohttp
import anyio
import orjson
import pytest
from aiohttp import web
from anyio.abc import SocketAttribute, SocketStream
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from harvester.client import Client, ExpectedBody
from harvester.client.error_map import TRANSPORT_ERRORS, map_error
from harvester.client.json_body import JSON_LIMIT
from harvester.client.limits import AdaptiveRate, Limiter, Rate
from harvester.client.responses import content_range, error_for_status, retry_after_seconds
from harvester.client.retry import backoff_seconds
from harvester.client.url_policy import is_public
from harvester.config.proxies import read_proxies
from harvester.errors import (
    BadRequest,
    Blocked,
    ConnectionFailed,
    FatalError,
    Forbidden,
    HarvestError,
    InvalidResponse,
    NotFound,
    NotModified,
    RateLimited,
    Rejected,
    ServerError,
    TokenRejected,
    TransientError,
    UnprovenNotFound,
    Unreachable,
)
from harvester.models import RemoteFile
from harvester.storage.local.store import Store
from harvester.text.display import one_line
from tests.support.each import for_each
from tests.support.http import Hours, client, limiters, served
from tests.support.stores import opened

pytestmark = pytest.mark.anyio

OURS = b'{"message": "No entity", "code": 1}'
PAGE = b"<html>blocked</html>"
ENDLESS = "9" * 5000
"""More digits than Python reads as a number."""


@for_each(
    ("status", "raw", "kind"),
    [
        (202, b"", Blocked),
        *[(status, b"", ConnectionFailed) for status in (101, 204, 205, 206, 226, 300, 304, 305, 306, 416)],
        (400, OURS, BadRequest),
        *[(status, PAGE, ConnectionFailed) for status in (400, 402, 405, 413, 417, 422, 451)],
        *[(status, OURS, Rejected) for status in (402, 405, 406, 411, 413, 414, 415, 417, 428, 451)],
        *[(status, OURS, ConnectionFailed) for status in (409, 412, 418, 421, 423, 424, 425, 426, 431, 499)],
        (401, OURS, Forbidden),
        (401, b"", Forbidden),
        (403, OURS, Forbidden),
        (403, PAGE, Blocked),
        (403, b"", Blocked),
        (403, b'["message"', Blocked),
        (403, b'{"message": null, "data": "x', Blocked),
        (404, OURS, NotFound),
        (404, PAGE, UnprovenNotFound),
        (408, b"", ConnectionFailed),
        (410, OURS, NotFound),
        (410, b"", UnprovenNotFound),
        (422, OURS, BadRequest),
        (429, PAGE, RateLimited),
        (500, b"", ServerError),
        (502, PAGE, ServerError),
        (503, b"", ServerError),
        (504, b"", ServerError),
        *[(status, OURS, ServerError) for status in (501, 520, 522, 524, 525, 530, 598, 600, 999)],
    ],
)
def test_what_a_status_means(status: int, raw: bytes, kind: type[HarvestError]) -> None:
    error = error_for_status("api.example.org/x", status, {}, raw)
    assert type(error) is kind
    assert str(error).startswith("api.example.org/x: ")
    if raw is OURS and status != 429 and status < 500:
        assert str(error).endswith(": No entity")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"message": "No \\"entity\\"", "code": 1, "data": {"a', 'No \\"entity\\"'),
        (b'{"code": 40300, "message": "No entity", "data": [', "No entity"),
        (b' {"code": "Forbidden", "message" : "' + b"No" * 2000, "No" * 100),
        (b'{"message": "\xe4\xbd', "\ufffd"),
    ],
)
def test_the_beginning_of_figshare_s_own_error_is_enough(raw: bytes, words: str) -> None:
    error = error_for_status("x", 403, {}, raw)
    assert (type(error), str(error)) == (Forbidden, f"x: refused (403): {words}")


@for_each(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("1.5", 1.5),
        ("-3", 0),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0),
        ("Monday, 23-Nov-26 10:00:30 GMT", 30),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        (ENDLESS, None),
        (f"Mon, 23 Nov {ENDLESS} 10:00:30 GMT", None),
        (None, None),
    ],
)
def test_retry_after_in_both_forms(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, "Mon, 23 Nov 2026 10:00:00 GMT") == seconds


def test_a_retry_after_date_is_counted_from_the_date_of_the_response() -> None:
    assert retry_after_seconds("Tue, 01 Jan 2002 00:00:07 GMT", "Tue, 01 Jan 2002 00:00:00 GMT") == 7
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 28 < (retry_after_seconds(later) or 0) <= 30  # an answer without a date: our clock must do


_DATES = st.datetimes().map(lambda when: format_datetime(when.replace(tzinfo=UTC), usegmt=True))


@given(st.text() | st.integers().map(str) | st.datetimes().map(str) | _DATES, st.none() | st.text() | _DATES)
def test_any_retry_after_header_gives_a_wait_or_none(value: str, date: str | None) -> None:
    seconds = retry_after_seconds(value, date)
    assert seconds is None or 0 <= seconds < float("inf")


def test_backoff_doubles_up_to_the_longest_wait() -> None:
    assert [backoff_seconds(number, 10) for number in range(1, 7)] == [1, 2, 4, 8, 10, 10]
    assert backoff_seconds(10_000, 60) == 60


@for_each(
    ("address", "public"),
    [
        ("https://s3.amazonaws.com/x", True),
        ("http://s3.amazonaws.com/x", False),
        ("https://127.0.0.1/x", False),
        ("https://localhost/x", False),
        ("https://10.0.0.1/x", False),
        ("https://169.254.169.254/latest", False),
        ("https://[::1]/x", False),
        ("https://[fd00::1]/x", False),
        ("https://93.184.216.34/x", True),
        ("ftp://example.org/x", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(URL(address)) is public


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("bytes 5-9/10", (5, 10, 10)),
        ("bytes 5-5/10", (5, 6, 10)),
        ("bytes */10", (-1, -1, -1)),
        ("", (-1, -1, -1)),
        ("items 5-9/10", (-1, -1, -1)),
        ("bytes 5-9/*", (-1, -1, -1)),
        ("bytes 5-4/10", (-1, -1, -1)),
        ("bytes 5-10/10", (-1, -1, -1)),
        (f"bytes 5-9/{ENDLESS}", (-1, -1, -1)),
        (f"bytes {ENDLESS}-9/10", (-1, -1, -1)),
    ],
)
def test_content_range(value: str, read: tuple[int, int, int]) -> None:
    assert content_range(value) == read


def test_no_control_character_reaches_a_terminal() -> None:
    assert one_line("a\x1b[31mb\nc\u202e") == "a [31mb c "


def test_every_foreign_error_becomes_ours() -> None:
    """aiohttp's own tree, walked: whatever it raises, the layers above meet only ours."""

    def kinds(base: type[BaseException]) -> list[type[BaseException]]:
        return [base, *(kind for sub in base.__subclasses__() for kind in kinds(sub))]

    found = {kind for kind in kinds(aiohttp.ClientError) if kind.__module__ == "aiohttp.client_exceptions"}
    assert len(found) > 20
    for kind in found:
        error = kind.__new__(kind)
        error.args = ("a", "b")
        error.__dict__.update(
            _os_error=OSError(111, "refused"),
            _conn_key=None,
            message="m",
            status=500,
            request_info=None,
            headers=None,
        )
        assert isinstance(error, TRANSPORT_ERRORS)
        ours = map_error(error, URL("https://example.org/x?secret=1"))
        assert isinstance(ours, ConnectionFailed | InvalidResponse)
        assert "secret" not in str(ours)
    assert str(map_error(TimeoutError(), URL("https://example.org/x?s=1"))) == "example.org/x: timed out"


async def test_the_token_is_sent_only_to_the_api_and_never_after_a_redirect() -> None:
    seen: list[tuple[str, str | None]] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(("elsewhere", request.headers.get("Authorization")))
        return web.json_response({})

    async with served(elsewhere) as other:

        async def api(request: web.Request) -> web.StreamResponse:
            seen.append((request.path, request.headers.get("Authorization")))
            if request.path == "/redirect":
                raise web.HTTPFound(str(other / "x"))
            return web.json_response({})

        async with served(api) as address, client(address, token="s3cret") as asked:
            await asked.json("api", "GET", address / "public", orjson.loads)
            await asked.json("api", "GET", address / "own", orjson.loads, authorised=True)
            await asked.json("api", "GET", address / "redirect", orjson.loads, authorised=True)
    assert seen == [
        ("/public", None),
        ("/own", "token s3cret"),
        ("/redirect", "token s3cret"),
        ("elsewhere", None),
    ]


async def test_a_redirect_to_a_service_waits_for_its_rate_limiter() -> None:
    async def stats(_: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async with served(stats) as other:

        async def api(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(str(other / "x"))

        async with served(api) as address, client(address, stats=other) as asked:
            await asked.json("api", "GET", address / "x", orjson.loads)
            assert asked.traffic.requests == {"api": 1, "stats": 1}


def sharing(address: URL, shared: set[str]) -> AbstractAsyncContextManager[Client]:
    """A client for which the api and others are at one address."""
    return client(
        address,
        stats=address if "stats" in shared else None,
        files=address if "files" in shared else None,
    )


@pytest.mark.parametrize("shared", [{"stats"}, {"files"}, {"stats", "files"}])
async def test_services_that_share_a_host_each_count_for_themselves_and_a_download_for_the_api_too(
    shared: set[str],
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/moved":
            raise web.HTTPFound("/x")
        return web.json_response({})

    async with served(answer) as address, sharing(address, shared) as asked:
        await asked.json("api", "GET", address / "x", orjson.loads)
        assert asked.traffic.requests == {"api": 1}
        await asked.json("api", "GET", address / "moved", orjson.loads)
        assert asked.traffic.requests == {"api": 3}
        await asked.touch(address / "x", authorised=False)
        assert asked.traffic.requests == {"api": 4, "files": 1}
        if "stats" in shared:
            await asked.json("stats", "GET", address / "x", orjson.loads)
            assert asked.traffic.requests == {"api": 4, "files": 1, "stats": 1}


@pytest.mark.parametrize(
    "head",
    [
        f"200 OK\r\nContent-Length: {ENDLESS}",
        f"404 Not Found\r\nContent-Length: {ENDLESS}",
        f"{ENDLESS} OK\r\nContent-Length: 0",
        f"429 Slow\r\nRetry-After: Mon, 23 Nov 2026 {ENDLESS}:00:30 GMT\r\nContent-Length: 0",
        f"302 Found\r\nLocation: http://127.0.0.1:{ENDLESS}/\r\nContent-Length: 0",
        f"302 Found\r\nLocation: http://[::{ENDLESS}]/\r\nContent-Length: 0",
        "302 Found\r\nLocation: http://[::1.2.3.4.5]/\r\nContent-Length: 0",
    ],
)
async def test_a_malformed_number_in_headers_is_a_mapped_error(head: str) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(f"HTTP/1.1 {head}\r\n\r\n".encode())

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, answer)
        address = URL(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        async with client(address) as asked:
            with pytest.raises(HarvestError):
                await asked._sender.send("api", "GET", address / "x", headers={})
        group.cancel_scope.cancel()


async def test_a_range_of_an_endless_file_is_a_mismatch(tmp_path: Path) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=206, body=b"67", headers={"Content-Range": f"bytes 3-4/{ENDLESS}"})

    partial = await opened(Store(tmp_path), 1, RemoteFile(1, "a", "", 5, "0" * 32, "", False))
    await partial.write(b"345")
    async with served(answer) as address, client(address) as asked:
        with pytest.raises(ConnectionFailed, match="another range than requested; starting over"):
            await asked.downloads.fetch(address / "x", partial, ExpectedBody(5, has_md5=True, is_page=False))
    await partial.abort()
    assert partial.received == 0


async def test_redirects_end() -> None:
    async def around(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.path)

    async with served(around) as address, client(address, attempts=1) as asked:
        with pytest.raises(Unreachable, match="more than 5 redirects"):
            await asked.json("api", "GET", address / "x", orjson.loads)


async def test_a_redirected_post_is_not_followed() -> None:
    async def around(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.path)

    async with served(around) as address, client(address) as asked:
        with pytest.raises(Rejected, match="redirects a POST"):
            await asked.json("api", "POST", address / "x", orjson.loads, body={})


async def test_retries_wait_longer_each_time_and_end() -> None:
    asked_for = 0
    slept: list[float] = []

    async def failing(_: web.Request) -> web.StreamResponse:
        nonlocal asked_for
        asked_for += 1
        return web.Response(status=503)

    async with served(failing) as address, client(address, attempts=5, slept=slept, stats=address) as asked:
        with pytest.raises(ServerError) as caught:
            await asked.json("stats", "GET", address / "x", orjson.loads)
    assert (asked_for, caught.value.attempts) == (5, 5)
    assert slept == [1, 2, 4, 4]


async def test_retry_after_is_waited_for_and_pauses_the_service() -> None:
    answers = iter([web.Response(status=429, headers={"Retry-After": "7"}), web.json_response({})])

    async def throttling(_: web.Request) -> web.StreamResponse:
        return next(answers)

    limits, paused = limiters(), list[float]()

    async def note(seconds: float) -> None:
        paused.append(seconds)
        limits["api"].rate.paused_until = 0.0

    limits["api"] = Limiter("api", Rate(float("inf")), sleep=note)
    async with served(throttling) as address, client(address, limits=limits) as asked:
        await asked.json("api", "GET", address / "x", orjson.loads)
        assert 6.5 < sum(paused) <= 7


async def test_a_wait_of_more_than_an_hour_ends_the_run() -> None:
    async def throttling(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "4000"})

    async with served(throttling) as address, client(address) as asked:
        with pytest.raises(FatalError, match="asks to wait 4000 s"):
            await asked.json("api", "GET", address / "x", orjson.loads)


async def test_incomplete_json_is_requested_again() -> None:
    answers = iter([b'{"a": ', b"", b'{"a": 1}'])

    async def halving(_: web.Request) -> web.StreamResponse:
        return web.Response(body=next(answers), content_type="application/json")

    def decode(raw: bytes) -> object:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise ConnectionFailed("half") from exc

    async with served(halving) as address, client(address) as asked:
        assert (await asked.json("api", "GET", address / "x", decode)).value == {"a": 1}


async def test_compressed_json_is_read_and_a_bomb_is_a_failure_of_that_answer_alone() -> None:
    squeezed = zlib.compressobj(wbits=31)
    bomb = (
        b"".join(squeezed.compress(bytes(1 << 20)) for _ in range(JSON_LIMIT // (1 << 20) + 2))
        + squeezed.flush()
    )

    async def compressing(request: web.Request) -> web.StreamResponse:
        assert "gzip" in request.headers["Accept-Encoding"]
        body = bomb if request.path == "/bomb" else gzip.compress(b'{"a": 1}')
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with served(compressing) as address, client(address) as asked:
        assert (await asked.json("api", "GET", address / "x", orjson.loads)).value == {"a": 1}
        with pytest.raises(InvalidResponse, match=f"more than {JSON_LIMIT} bytes"):
            await asked.json("api", "GET", address / "bomb", orjson.loads)


async def test_an_address_shows_without_its_query_in_an_error() -> None:
    async def missing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404, body=OURS)

    async with served(missing) as address, client(address) as asked:
        with pytest.raises(NotFound) as caught:
            await asked.json("api", "GET", (address / "x").with_query(signature="s3cret"), orjson.loads)
    assert str(caught.value) == "127.0.0.1/x: not found (404): No entity"


async def test_an_api_that_never_answered_ends_the_run() -> None:
    async def failing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async with served(failing) as address, client(address, attempts=2) as asked:
        with pytest.raises(Unreachable, match="gave up after 2 attempts"):
            await asked.json("api", "GET", address / "x", orjson.loads)


async def test_an_api_with_a_bad_first_answer_is_alive_if_its_health_check_succeeds() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({}) if request.path == "/proof" else web.Response(status=500)

    async with served(answer) as address, client(address, attempts=2) as asked:
        for number in range(20):
            with pytest.raises(ServerError):
                await asked.json("api", "GET", address / f"x{number}", orjson.loads)


async def test_web_pages_instead_of_json_count_as_an_outage() -> None:
    def failing() -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async with in_an_outage(1, 300, failing=failing) as (hours, ask, seen):
        await ask()
        hours.now = 1
        for _ in range(8):
            with pytest.raises(ConnectionFailed):
                await ask()
        began = len(seen)
        await ask()
        assert 300 <= hours.now < 310
        assert len(seen) - began < 300 / 4 + 4


@pytest.mark.parametrize(("header", "waits"), [({}, [1, 2]), ({"Retry-After": "3"}, [3, 3])])
async def test_a_429_behind_a_redirect_is_retried_after_a_wait(
    header: dict[str, str], waits: list[float]
) -> None:
    async def storage(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers=header)

    slept: list[float] = []
    async with served(storage) as other:

        async def api(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(str(other / "x"))

        async with served(api) as address, client(address, slept=slept) as asked:
            with pytest.raises(ConnectionFailed, match=r"too many requests \(429\)") as caught:
                await asked.retry("files", lambda: asked.touch(address / "file", authorised=False))
            assert (caught.value.attempts, slept) == (3, waits)
            assert {limiter.statistics().paused_seconds for limiter in asked.limiters.values()} == {0}


@pytest.mark.parametrize("rate", [lambda: Rate(64), lambda: AdaptiveRate(64)])
async def test_a_429_to_a_download_from_the_api_throttles_both_services(rate: Callable[[], Rate]) -> None:
    answers = iter([200, 429])

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=next(answers), body=b"x", headers={"Retry-After": "30"})

    limits = limiters(rate)
    async with served(answer) as address, client(address, limits=limits) as asked:
        both = [limits[name] for name in ("api", "files")]
        for limiter in both:
            limiter.rate.per_second = 64
        await asked.touch(address / "file", authorised=False)
        with pytest.raises(RateLimited):
            await asked.touch(address / "file", authorised=False)
        for limiter in both:
            assert 29 < limiter.statistics().paused_seconds <= 30
            assert limiter.rate.per_second <= 32
        assert limits["stats"].statistics().paused_seconds == 0


async def test_a_429_after_a_redirect_throttles_the_host_of_the_redirect() -> None:
    async def api(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "30"})

    async with served(api) as other:

        async def files(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(str(other / "x"))

        async with served(files) as address, client(other) as asked:
            with pytest.raises(RateLimited):
                await asked.touch(address / "file", authorised=False)
            paused = {name for name, each in asked.limiters.items() if each.statistics().paused_seconds}
            assert paused == {"api"}


@pytest.mark.parametrize(
    ("status", "body", "rate"),
    [
        (200, b"{}", 520),
        (302, b"", 520),
        (400, OURS, 520),
        (403, OURS, 520),
        (404, OURS, 520),
        (404, PAGE, 250),
        (422, OURS, 520),
        (202, b"", 250),
        (403, PAGE, 250),
        (408, b"", 500),
        (500, b"", 500),
        (503, b"", 500),
    ],
)
async def test_each_good_answer_gives_back_rate(status: int, body: bytes, rate: float) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={"Location": "ftp://nowhere"})

    limits = limiters(lambda: Rate(1000))
    async with served(answer) as address, client(address, stats=address, limits=limits) as asked:
        limits["stats"].rate.throttle(0, 0, 0)
        with contextlib.suppress(HarvestError):
            await asked._sender.send("stats", "GET", address / "x", headers={})
        assert limits["stats"].rate.per_second == rate


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("size", [100, 5_000, 100_000])
async def test_a_refusal_of_any_length_is_not_taken_for_a_block(size: int, encoding: str) -> None:
    filling = random.Random(1).randbytes(size).hex()
    body = orjson.dumps({"message": "No entity", "code": 403, "data": filling})

    async def answer(_: web.Request) -> web.StreamResponse:
        sent = gzip.compress(body) if encoding == "gzip" else body
        return web.Response(status=403, body=sent, headers={"Content-Encoding": encoding})

    async with served(answer) as address, client(address, stats=address) as asked:
        with pytest.raises(Rejected, match=r"refused \(403\): No entity$"):
            await asked.json("stats", "GET", address / "x", orjson.loads)
        assert asked.limiters["stats"].statistics().paused_seconds == 0


@pytest.mark.parametrize("status", [401, 429])
async def test_a_host_behind_a_redirect_cannot_end_the_run(status: int) -> None:
    async def storage(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "999999"})

    async with served(storage) as other:

        async def api(_: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(str(other / "x"))

        async with served(api) as address, client(address, attempts=2) as asked:
            with pytest.raises(Blocked if status == 401 else ConnectionFailed):
                await asked.touch(address / "file", authorised=False)
            assert asked.limiters["files"].statistics().paused_seconds == 0


async def test_a_401_is_about_the_token_only_if_the_token_was_sent() -> None:
    async def refusing(_: web.Request) -> web.StreamResponse:
        return web.Response(status=401)

    hours = Hours()
    async with (
        served(refusing) as address,
        client(address, token="s3cret", stats=address, limits=hours.limiters(), clock=hours.clock) as asked,
    ):
        with pytest.raises(Blocked):
            await asked.json("stats", "GET", address / "x", orjson.loads)
        with pytest.raises(TokenRejected):
            await asked.json("api", "GET", address / "x", orjson.loads, authorised=True)


async def test_a_429_in_an_odd_encoding_still_throttles() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=int(request.path[1:]), body=b"x", headers={"Content-Encoding": "br"})

    hours = Hours()
    async with (
        served(answer) as address,
        client(address, attempts=1, stats=address, limits=hours.limiters(), clock=hours.clock) as asked,
    ):
        for status, kind in ((429, RateLimited), (403, Blocked), (404, UnprovenNotFound)):
            with pytest.raises(kind):
                await asked.json("stats", "GET", address / str(status), orjson.loads)
        assert hours.now > 1, "it paused"


async def test_bytes_after_the_end_of_gzip_are_rejected() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        body = gzip.compress(b"{}") + bytes(1_000_000)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async with served(answer) as address, client(address) as asked:
        with pytest.raises(InvalidResponse, match="bytes after the end of the gzip stream"):
            await asked.json("api", "GET", address / "x", orjson.loads)


async def test_without_a_health_check_waiting_requests_are_tried_once_one_at_a_time() -> None:
    """Of files whose neighbours are blocked: the first that comes ends it."""
    hours, tried = Hours(), list[int]()

    async with client(URL("http://127.0.0.1:9"), attempts=3, clock=hours.clock, wait=hours.sleep) as asked:

        def file(number: int) -> Callable[[], Awaitable[str]]:
            async def attempt() -> str:
                tried.append(number)
                if number < 21:
                    raise Blocked(f"file {number}: blocked")
                return "here"

            return attempt

        for number in range(21):
            with pytest.raises(Blocked):
                await asked.retry("files", file(number))
        assert tried.count(0) == 3
        assert tried.count(12) == 1
        for number in range(21, 40):
            assert await asked.retry("files", file(number)) == "here"
        assert hours.now < 15 * 15


async def test_other_requests_wait_for_a_running_probe_and_do_not_fail() -> None:
    async with in_an_outage(1, 1e9) as (hours, ask, _):
        await ask()
        hours.now = 1
        await give_up(ask, 8)
        hours.now = 1000  # longer than patience: the next probe decides
        with pytest.raises(Unreachable):
            await ask()


@asynccontextmanager
async def in_an_outage(
    begins: float,
    ends: float,
    *,
    service: str = "api",
    failing: Callable[[], web.Response] = lambda: web.Response(status=503),
) -> AsyncIterator[tuple[Hours, Callable[[], Awaitable[object]], list[float]]]:
    """A service that answers 503 from `begins` to `ends`; the function asks it once, the list tells when."""
    hours, seen = Hours(), list[float]()

    async def answer(_: web.Request) -> web.StreamResponse:
        seen.append(hours.now)
        return failing() if begins <= hours.now < ends else web.json_response({})

    def decode(raw: bytes) -> object:
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            raise ConnectionFailed("no JSON") from exc

    async with (
        served(answer) as address,
        client(address, attempts=2, stats=address, clock=hours.clock, wait=hours.sleep) as asked,
    ):
        yield hours, lambda: asked.json(service, "GET", address / "x", decode), seen


async def give_up(ask: Callable[[], Awaitable[object]], times: int) -> None:
    for _ in range(times):
        with pytest.raises(ServerError):
            await ask()


async def test_an_outage_is_waited_out_by_one_request_at_a_time() -> None:
    async with in_an_outage(1, 600) as (hours, ask, seen):
        await ask()
        hours.now = 1
        await give_up(ask, 8)
        began = len(seen)
        assert hours.now < 10
        while hours.now < 600:
            with contextlib.suppress(ServerError):
                await ask()
        assert 600 <= hours.now <= 620
        assert len(seen) - began <= 600 / 4 + 2
        before = hours.now
        for _ in range(20):
            await ask()
        assert hours.now == before, "the service is back: no request waits any more"


async def test_an_api_that_is_silent_for_outage_timeout_ends_the_run() -> None:
    async with in_an_outage(1, 1e9) as (hours, ask, _):
        await ask()
        hours.now = 1
        with pytest.raises(Unreachable):
            await give_up(ask, 1000)
        assert 900 <= hours.now <= 940


async def test_requests_to_another_dead_service_fail_at_once_and_it_is_probed() -> None:
    async with in_an_outage(1, 5000, service="stats") as (hours, ask, seen):
        await ask()
        hours.now = 1
        await give_up(ask, 8)
        while hours.now < 901:
            with pytest.raises((ConnectionFailed, ServerError)):
                await ask()
        dead, asked = hours.now, len(seen)
        for _ in range(50):
            with pytest.raises((ConnectionFailed, ServerError)) as caught:
                await ask()
        assert caught.value.attempts == 0
        assert hours.now - dead < 20
        assert len(seen) - asked <= 4
        hours.now = 5000
        await ask()
        await ask()


async def test_a_service_that_does_not_answer_is_missing_until_it_does() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        answers = {0: web.json_response({}), 1: web.Response(status=500), 2: web.Response(status=429)}
        return answers[kind]

    kind, now = 1, 100.0
    async with served(answer) as address, client(address, attempts=1, clock=lambda: now) as asked:

        async def ask() -> None:
            with contextlib.suppress(ServerError, RateLimited, ConnectionFailed):
                await asked.json("stats", "GET", address / "x", orjson.loads)

        await ask()
        now += 40
        assert asked.missing_seconds() == {"stats": 40}
        kind = 2
        await ask()
        now += 40
        assert asked.missing_seconds() == {}, "a request for a pause is an answer"
        assert asked.traffic.answered()["stats"] == 2


async def test_a_refused_connection_is_no_answered_request() -> None:
    nowhere = URL("http://127.0.0.1:9")
    async with client(nowhere, attempts=1) as asked:
        with pytest.raises(ConnectionFailed):
            await asked.json("stats", "GET", nowhere / "x", orjson.loads)
        assert (asked.traffic.requests, asked.traffic.answered()) == ({"stats": 1}, {})


async def test_an_outage_of_hours_is_logged_when_it_begins_when_its_requests_fail_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "harvester.client.health")
    async with in_an_outage(1, 30_000, service="stats") as (hours, ask, seen):
        await ask()
        hours.now = 1
        await give_up(ask, 8)
        while hours.now < 30_000:
            with pytest.raises((ConnectionFailed, ServerError)) as caught:
                await ask()
            if caught.value.attempts == 0:  # at once, as the service is dead
                assert caught.value.common_cause == "stats is unavailable"
                hours.now += 30
        await ask()
        await ask()
        assert len(seen) > 200
    first, second, last = [record.getMessage() for record in caplog.records]
    assert re.fullmatch("stats is unavailable: .*; waiting for up to 15 min 00 s", first)
    assert re.fullmatch("stats is unavailable: .*; its requests fail now; checked again every 60 s", second)
    assert re.fullmatch(r"stats answers again after 8 h \d\d min", last)
    pauses = [(record.__dict__["event"], record.__dict__["fields"]["service"]) for record in caplog.records]
    assert pauses == [("pause", "stats"), ("pause", "stats"), ("resume", "stats")]


async def test_many_failed_requests_are_no_outage_if_the_health_check_succeeds() -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return web.json_response({}) if request.path == "/good" else web.Response(status=500)

    slept: list[float] = []
    async with served(answer) as address, client(address, attempts=2, slept=slept) as asked:
        await asked.json("api", "GET", address / "good", orjson.loads)
        for number in range(20):
            with pytest.raises(ServerError):
                await asked.json("api", "GET", address / f"bad{number}", orjson.loads)
    assert slept == [1.0] * 20  # between two tries, and never for the service
    assert seen.count("/good") == 1 + 20 // 8  # what it gave last is requested again


async def test_a_dead_service_is_probed_once_a_minute() -> None:
    async with in_an_outage(1, 1e9, service="stats") as (hours, ask, seen):
        await ask()
        hours.now = 1
        await give_up(ask, 8)
        while hours.now < 901:
            with pytest.raises((ConnectionFailed, ServerError)):
                await ask()
        began = len(seen)
        for _ in range(600):
            hours.now += 1
            with contextlib.suppress(ConnectionFailed, ServerError):
                await ask()
        assert 9 <= len(seen) - began <= 11


@pytest.mark.parametrize("good", [200, 404])
async def test_an_answer_resets_the_count_of_429s(good: int) -> None:
    answers = iter([429, good, 429])

    async def throttling(_: web.Request) -> web.StreamResponse:
        return web.json_response({"message": ""}, status=next(answers))

    limits = limiters()
    limiter = limits["stats"]
    async with (
        served(throttling) as address,
        client(address, attempts=1, stats=address, limits=limits) as asked,
    ):
        for _ in range(3):
            limiter.rate.paused_until = 0.0
            with contextlib.suppress(RateLimited, NotFound):
                await asked.json("stats", "GET", address / "x", orjson.loads)
        assert 0.5 < limiter.statistics().paused_seconds <= 1, "as after one 429, not two in a row"


async def test_failed_requests_are_no_outage_while_others_are_answered() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if request.path == "/bad" else web.json_response({})

    slept: list[float] = []
    async with served(answer) as address, client(address, attempts=2, slept=slept) as asked:
        await asked.json("api", "GET", address / "good", orjson.loads)
        for _ in range(20):
            with pytest.raises(ServerError):
                await asked.json("api", "GET", address / "bad", orjson.loads)
            await asked.json("api", "GET", address / "good", orjson.loads)
    assert slept == [1.0] * 20


async def test_many_429s_of_one_burst_count_once() -> None:
    async def throttling(_: web.Request) -> web.StreamResponse:
        await anyio.sleep(0.1)
        return web.Response(status=429)

    async with served(throttling) as address, client(address, attempts=1, stats=address) as asked:

        async def ask() -> None:
            with pytest.raises(RateLimited):
                await asked.json("stats", "GET", address / "x", orjson.loads)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask)
        assert 0.5 < asked.limiters["stats"].statistics().paused_seconds <= 1, "as after one 429, not ten"


async def test_a_trickling_body_times_out() -> None:
    async def trickling(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(100):
                await response.write(b" ")
                await anyio.sleep(0.05)
        except ConnectionError:
            pass
        return response

    async with served(trickling) as address, client(address, attempts=1, stats=address) as asked:
        with pytest.raises(ConnectionFailed, match=r"only \d+ bytes in 1 s"):
            await asked.json("stats", "GET", address / "x", orjson.loads)


async def test_trickling_headers_time_out() -> None:
    async def trickle(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            with contextlib.suppress(anyio.BrokenResourceError):
                for letter in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                    await stream.send(bytes((letter,)))
                    await anyio.sleep(0.05)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, trickle)
        address = URL(f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}")
        began = anyio.current_time()
        async with client(address, attempts=1, connect=0.2, idle=0.3) as asked:
            with pytest.raises(Unreachable, match="timed out"):
                await asked.json("api", "GET", address / "x", orjson.loads)
        assert 0.95 < anyio.current_time() - began < 4  # once, and once for the proof that it is dead
        group.cancel_scope.cancel()


async def test_a_failed_dns_lookup_is_retried() -> None:
    asked_for: list[str] = []

    async def lookup(host: str) -> None:
        asked_for.append(host)
        if len(asked_for) < 3:
            raise OSError(None, "no answer from the name server")

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"a": 1})

    async with served(answer) as address, client(address.with_host("localhost"), lookup=lookup) as asked:
        reply = await asked.json("api", "GET", address.with_host("localhost") / "x", orjson.loads)
    assert reply.value == {"a": 1}
    assert asked_for == ["localhost"] * 3
    assert asked.traffic.errors == {"api": 2}


def odd(kind: str) -> web.Response:
    """An answer that is none, in the place of ``{"id": 1}``."""
    if kind in {"br", "zstd", "deflate", "gzip, gzip"}:
        return web.Response(body=b'{"id": 1}', headers={"Content-Encoding": kind})
    if kind.isdecimal():
        return web.Response(status=int(kind), body=OURS if kind == "409" else None)
    return web.Response(body=kind.encode())


def number(raw: bytes) -> int:
    """Read what is promised."""
    contents = orjson.loads(raw)
    if not isinstance(contents, dict) or not isinstance(contents.get("id"), int):
        raise InvalidResponse("no id")
    return int(contents["id"])


ODD_ONCE = (
    *("br", "zstd", "deflate", "gzip, gzip", "null", "[]", "{}", "0", '""', '{"id": "x"}', "[1]"),
    *('{"message": "busy", "code": 9}', '{"error": "x"}'),
    *("204", "205", "206", "226", "300", "304", "305", "409", "416", "421", "423", "425", "431", "451"),
    *("400", "405", "499", "520", "999"),
)


@pytest.mark.parametrize("kind", ODD_ONCE)
async def test_an_odd_answer_is_final_only_if_it_comes_twice(kind: str) -> None:
    begins = iter([odd(kind)])

    async def once(_: web.Request) -> web.StreamResponse:
        return next(begins, web.json_response({"id": 1}))

    async with served(once) as address, client(address) as asked:
        assert (await asked.json("api", "GET", address / "x", number)).value == 1

    async def always(_: web.Request) -> web.StreamResponse:
        return odd(kind)

    async with served(always) as address, client(address, stats=address) as asked:
        with pytest.raises(InvalidResponse if kind in {'{"id": "x"}', "[1]"} else TransientError) as caught:
            await asked.json("stats", "GET", address / "x", number)
        assert caught.value.attempts == (2 if isinstance(caught.value, InvalidResponse) else 3)


async def test_a_byte_order_mark_before_json_is_ignored() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b'\xef\xbb\xbf{"id": 1}')

    async with served(answer) as address, client(address) as asked:
        assert (await asked.json("api", "GET", address / "x", bytes)).value == b'{"id": 1}'


@pytest.mark.parametrize(
    ("value", "is_believed"), [("", True), ('"a"', True), ('W/"a"', True), ('"b"', False)]
)
async def test_a_304_is_accepted_only_for_the_requested_etag(value: str, is_believed: bool) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=304, headers={"ETag": value} if value else {})

    async with served(answer) as address, client(address, stats=address) as asked:
        with pytest.raises(
            NotModified if is_believed else ConnectionFailed, match="not modified|another ETag"
        ):
            await asked.json("stats", "GET", address / "x", number, if_none_match='"a"')


@pytest.mark.parametrize("status", [202, 403, 404, 409, 410, 500, 502])
async def test_a_long_retry_after_for_one_item_does_not_end_the_run(status: int) -> None:
    begins = iter([web.Response(status=status, headers={"Retry-After": "86400"})])
    slept: list[float] = []

    async def answer(_: web.Request) -> web.StreamResponse:
        return next(begins, web.json_response({"id": 1}))

    hours = Hours()
    async with (
        served(answer) as address,
        client(address, slept=slept, stats=address, limits=hours.limiters(), clock=hours.clock) as asked,
    ):
        assert (await asked.json("stats", "GET", address / "x", number)).value == 1
    assert all(seconds <= 60 for seconds in slept)
    assert hours.now <= 60


async def test_cut_or_invalid_gzip_is_requested_again() -> None:
    squeezed = gzip.compress(b'{"a": 1}')
    answers = iter([squeezed[:-9], b"{}", squeezed])

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=next(answers), headers={"Content-Encoding": "gzip"})

    async with served(answer) as address, client(address) as asked:
        assert (await asked.json("api", "GET", address / "x", orjson.loads)).value == {"a": 1}


async def test_requests_use_the_proxy_of_their_host() -> None:
    asked_for: list[str] = []

    async def answer(stream: SocketStream) -> None:
        async with stream:
            asked_for.append((await stream.receive()).split(b"\r\n")[0].decode())
            await stream.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as proxy,
        anyio.create_task_group() as group,
    ):
        group.start_soon(proxy.serve, answer)
        port = proxy.extra(SocketAttribute.local_port)
        proxies = read_proxies({"HTTPS_PROXY": f"127.0.0.1:{port}", "NO_PROXY": "stats.example.org"})
        async with client(URL("https://api.example.org"), attempts=1, proxies=proxies) as asked:
            with pytest.raises(Unreachable):
                await asked.json("api", "GET", URL("https://api.example.org/x"), orjson.loads)
            with pytest.raises(ConnectionFailed, match="DNS lookup failed"):
                await asked.json("stats", "GET", URL("https://stats.example.org/x"), orjson.loads)
            with pytest.raises(ConnectionFailed, match="connection failed"):
                await asked.json("files", "GET", URL("https://127.0.0.1:9/x"), orjson.loads)
        group.cancel_scope.cancel()
    assert asked_for == ["CONNECT api.example.org:443 HTTP/1.1"] * 2  # once to prove that it is dead


async def test_a_host_name_with_a_private_address_is_not_requested() -> None:
    async with client(URL("https://api.example.org")) as asked:
        with pytest.raises(ConnectionFailed):
            await asked._sender.send("files", "GET", URL("http://localhost:9/x"), headers={})
