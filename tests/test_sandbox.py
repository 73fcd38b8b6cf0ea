"""The sandbox behaves as figshare is known to: paging, caps, redirects, traps and faults."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import socket
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
from yarl import URL

from harvester.sandbox import FAULTS, HOSTILE, REDIRECTS, Sandbox, Settings, World
from harvester.sandbox.faults import PASSING, PERMANENT
from tests.support.browsing import AUTHORISED, ask, browsing
from tests.support.waiting import side_by_side

pytestmark = pytest.mark.anyio


async def test_lists_have_ten_entries_unless_asked_and_a_thousand_at_most() -> None:
    async with browsing(items=1500) as (sandbox, session):
        for query, count in (
            ("", 10),
            ("?page_size=1000", 1000),
            ("?limit=7&offset=3", 7),
            ("?page=2&page_size=1000", 500),
        ):
            status, answer, _ = await ask(session, f"{sandbox.api}/articles{query}")
            assert (status, len(answer)) == (200, count)
        for query in ("?page_size=1001", "?page=1&limit=5", "?page_size=0", "?page=x"):
            status, answer, _ = await ask(session, f"{sandbox.api}/articles{query}")
            assert status == 422
            assert set(answer) == {"message", "code", "data"}


async def test_unreadable_requests_are_rejected() -> None:
    async with browsing(items=20) as (sandbox, session):
        assert (await ask(session, f"{sandbox.api}/articles?item_type=x"))[0] == 422
        assert (await ask(session, f"{sandbox.api}/articles?group=x"))[0] == 422
        async with session.post(f"{sandbox.api}/articles/search", data=b'{"half') as response:
            assert response.status == 400


async def test_past_the_cap_only_a_cursor_continues() -> None:
    assert Settings().cap == 9000
    async with browsing(items=1_050, cap=900) as (sandbox, session):
        status, _, _ = await ask(session, f"{sandbox.api}/articles?page=9&page_size=100")
        assert status == 200
        status, _, _ = await ask(session, f"{sandbox.api}/articles?page=10&page_size=100")
        assert status == 422
        found: list[int] = []
        headers: dict[str, str] = {}
        while True:
            _, answer, answered = await ask(
                session, f"{sandbox.api}/articles?page_size=100&order_direction=asc", headers=headers
            )
            found += [entry["id"] for entry in answer]
            if "X-Cursor" not in answered:
                break
            headers = {"X-Cursor": answered["X-Cursor"]}
        assert found == list(sandbox.world.public_ids)
        headers = {"X-Cursor": "nonsense"}
        assert (await ask(session, f"{sandbox.api}/articles", headers=headers))[0] == 422


async def test_a_search_takes_its_parameters_from_the_body_or_the_query() -> None:
    async with browsing(items=200) as (sandbox, session):
        query = ":category: 'Digital Humanities' AND NOT :item_type: dataset"
        expected = list(sandbox.world.search(query))
        assert 10 < len(expected) < 40
        url = f"{sandbox.api}/articles/search"
        body = {"search_for": query, "page_size": 1000, "order_direction": "asc", "no_such_filter": 5}
        async with session.post(url, json=body) as response:
            assert [entry["id"] for entry in await response.json()] == expected
        async with session.post(f"{url}?page_size=1000&page=1", params={"search_for": query}) as response:
            assert [entry["id"] for entry in await response.json()] == expected[::-1]


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        (':category: "Digital Humanities"', lambda item: item["category"] == "Digital Humanities"),
        (":tag: tag3 OR :tag: tag4", lambda item: item["tag"] in {"tag3", "tag4"}),
        (
            ":tag: tag3 AND (:item_type: thesis OR :item_type: figure)",
            lambda item: item["tag"] == "tag3" and item["item_type"] in {"thesis", "figure"},
        ),
        ("survey NOT :tag: tag3", lambda item: "survey" in item["title"] and item["tag"] != "tag3"),
        (
            ":published_after: 2015-01-01T05:00:00Z",
            lambda item: item["published_date"] > "2015-01-01T05:00:00Z",
        ),
        (
            ":published_before: 2015-01-01t05:00:00z",
            lambda item: item["published_date"] < "2015-01-01T05:00:00Z",
        ),
        (":group: 11962", lambda item: item["group"] == "11962"),
    ],
)
def test_the_query_language(query: str, holds: Any) -> None:
    world = World(Settings(items=200))
    expected = [item_id for item_id in world.public_ids if holds(world.attributes(item_id))]
    assert 0 < len(expected) < 200
    assert list(world.search(query)) == expected


async def test_the_account_needs_its_token() -> None:
    async with browsing(items=50, private_items=5) as (sandbox, session):
        url = f"{sandbox.api}/account/articles?page_size=100"
        assert (await ask(session, url))[0] == 403
        assert (await ask(session, url, headers={"Authorization": "token wrong"}))[0] == 403
        status, answer, headers = await ask(session, url, headers=AUTHORISED)
        assert status == 200
        assert "X-Cursor" not in headers
        assert [entry["id"] for entry in answer] == sandbox.world.account_ids
        draft = sandbox.world.account_ids[0]
        assert (await ask(session, f"{sandbox.api}/articles/{draft}"))[0] == 404
        status, answer, _ = await ask(session, f"{sandbox.api}/account/articles/{draft}", headers=AUTHORISED)
        assert (status, answer["doi"], answer["published_date"]) == (200, "", None)
        assert answer["account_id"]


async def test_a_record_shows_ten_files_and_the_list_the_rest() -> None:
    async with browsing(items=100) as (sandbox, session):
        (many, *_) = sandbox.world.with_trait("many files in folders")
        _, record, _ = await ask(session, f"{sandbox.api}/articles/{many}")
        files = sandbox.world.files(many)
        assert record["files"] == files[:10]
        assert record["size"] == sum(file["size"] for file in files)
        assert set(record["folder_structure"].values()) == {"raw", "raw/2024", "../up"}
        _, first, _ = await ask(session, f"{sandbox.api}/articles/{many}/files")
        _, all_of_them, _ = await ask(session, f"{sandbox.api}/articles/{many}/files?page_size=1000")
        assert (first, all_of_them) == (files[:10], files)


async def test_an_unchanged_record_need_not_be_sent() -> None:
    async with browsing(items=10) as (sandbox, session):
        url = f"{sandbox.api}/articles/{sandbox.world.public_ids[0]}"
        _, _, headers = await ask(session, url)
        status, _, _ = await ask(session, url, headers={"If-None-Match": headers["ETag"]})
        assert status == 304
        sandbox.world.edit(sandbox.world.public_ids[0])
        status, record, _ = await ask(session, url, headers={"If-None-Match": headers["ETag"]})
        assert (status, record["version"]) == (200, 2)


async def test_unknown_to_the_statistics_is_not_zero() -> None:
    async with browsing(items=100) as (sandbox, session):
        (unknown, *_) = sandbox.world.with_trait("unknown to stats")
        for item_id, each in ((unknown, {}), (123, {}), (sandbox.world.public_ids[1], {"totals": 7})):
            assert (await ask(session, f"{sandbox.stats}/total/views/article/{item_id}"))[:2] == (200, each)
        async with session.post(
            f"{sandbox.stats}/count/articles", json={"groups": [{"id": 11962}]}
        ) as response:
            assert await response.json() == {"11962": 20}


async def test_a_download_redirects_to_a_signed_address_that_expires() -> None:
    async with browsing(items=60, signed_seconds=0.3) as (sandbox, session):
        (heavy,) = sandbox.world.with_trait("heavy")
        (file,) = sandbox.world.files(heavy)
        content = sandbox.world.content(file["id"])
        assert len(content) == file["size"] == 3_000_000
        for url in (file["download_url"], f"{sandbox.api}/file/download/{file['id']}"):
            status, _, headers = await ask(session, url, allow_redirects=False)
            assert status == 302
            signed = headers["Location"]
            assert signed.startswith(sandbox.storage)
            assert (await ask(session, signed))[1] == content
            status, part, headers = await ask(session, signed, headers={"Range": "bytes=2500000-"})
            assert (status, part) == (206, content[2_500_000:])
            assert headers["Content-Range"] == "bytes 2500000-2999999/3000000"
            status, part, headers = await ask(session, signed, headers={"Range": "bytes=5-1500000"})
            assert (status, part) == (206, content[5:1_500_001])
            assert headers["Content-Range"] == "bytes 5-1500000/3000000"
            assert (await ask(session, signed, headers={"Range": "bytes=3000000-"}))[0] == 416
            assert (await ask(session, signed, headers={"Range": "bytes=5-", "If-Range": '"other"'}))[
                0
            ] == 200
            assert (await ask(session, signed, headers=AUTHORISED))[0] == 400
            assert (await ask(session, signed.replace("signature=", "signature=0")))[0] == 403
        await anyio.sleep(0.4)
        assert (await ask(session, signed))[0] == 403


async def test_private_and_withheld_files() -> None:
    async with browsing(items=60) as (sandbox, session):
        private = sandbox.world.files(sandbox.world.account_ids[0])[0]["id"]
        url = f"{sandbox.api}/file/download/{private}"
        assert (await ask(session, url, allow_redirects=False))[0] == 404
        assert (await ask(session, url, allow_redirects=False, headers=AUTHORISED))[0] == 302
        for trait in ("embargo", "confidential", "downloads disabled"):
            (item_id, *_) = sandbox.world.with_trait(trait)
            file_id = sandbox.world.files(item_id)[0]["id"]
            assert (await ask(session, f"{sandbox.files}/files/{file_id}"))[0] == 403
        status, body, headers = await ask(session, f"{sandbox.files}/ndownloader/files/{private}")
        assert (status, body, headers["x-amzn-waf-action"]) == (202, b"", "challenge")


def test_the_same_seed_gives_the_same_world_and_another_one_another() -> None:
    one, same, other = (World(Settings(items=100, seed=seed)) for seed in (1, 1, 2))
    for item_id in one.public_ids:
        assert one.record(item_id, whole=True) == same.record(item_id, whole=True)
    item_id = one.public_ids[0]
    assert one.record(item_id, whole=True) != other.record(item_id, whole=True)
    file_id = one.files(item_id)[0]["id"]
    assert one.content(file_id) == same.content(file_id) != other.content(file_id)


def test_a_small_world_has_the_oddities_of_real_records() -> None:
    world = World(Settings(items=200))
    records = [world.record(item_id, whole=True) for item_id in world.public_ids]
    files = [file for record in records for file in record["files"] or ()]
    assert any(file["is_link_only"] and file["size"] == 0 for file in files)
    assert any(file["size"] == 0 and not file["is_link_only"] for file in files)
    assert any(not file["computed_md5"] and file["supplied_md5"] for file in files)
    assert any(not file["computed_md5"] and not file["supplied_md5"] and file["size"] for file in files)
    assert any("folder_structure" not in record for record in records)
    assert any("keywords" not in record for record in records)
    assert any(
        world.entry(record["id"])["group_id"] == 0 and record["group_id"] is None for record in records
    )
    assert any(len(record["timeline"]["firstOnline"]) == 10 for record in records)
    assert {"../../etc/passwd", ".."} <= {file["name"] for file in files}
    assert any(world.record(item_id)["files"] is None for item_id in world.public_ids)


def test_a_million_items_take_no_time_until_they_are_requested() -> None:
    world = World(Settings(items=1_000_000))
    assert len(world.public_ids) == 1_000_000
    last = world.public_ids[-1]
    assert world.record(last)["id"] == last
    assert len(world.group_items(11962)) == 200_000


def test_every_fault_has_a_place_and_a_description() -> None:
    assert FAULTS.keys() == PASSING.keys() | PERMANENT.keys()


async def test_faults_come_at_their_share_and_not_too_often_at_one_address() -> None:
    async with browsing(items=10, faults={"500": 0.3}, max_per_address=2) as (sandbox, session):
        for number in range(200):
            await ask(session, f"{sandbox.api}/articles?page_size=1&nonce={number}")
        share = sum(seen.fault == "500" for seen in sandbox.requests) / 200
        assert 0.2 < share < 0.4
        for _ in range(40):
            await ask(session, f"{sandbox.api}/articles/{sandbox.world.public_ids[0]}")
        met = Counter(f"{seen.path}?{seen.query}" for seen in sandbox.requests if seen.fault)
        assert max(met.values()) == 2


async def test_requests_beyond_the_cap_of_a_service_get_429() -> None:
    async with browsing(items=10, rate_cap=5) as (sandbox, session):
        statuses = [(await ask(session, f"{sandbox.api}/articles"))[0] for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        assert (await ask(session, f"{sandbox.stats}/total/views/article/1"))[0] == 200


# -- faults on the way ----------------------------------------------------------------------------------

SERVICES = ("api", "stats", "files", "storage")
CUT = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


@asynccontextmanager
async def spoilt(fault: str, **settings: Any) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    """A sandbox in which the first request to every address meets the fault, and no other does."""
    async with browsing(
        **{"items": 50, "heavy": 0, "faults": {fault: 1.0}, "max_per_address": 1, **settings}
    ) as browser:
        yield browser


def address(sandbox: Sandbox, service: str) -> str:
    """Something that a service answers with a body, or with a redirect: files."""
    item_id = sandbox.world.public_ids[0]
    file_id = sandbox.world.files(item_id)[0]["id"]
    return {
        "api": f"{sandbox.api}/articles/{item_id}",
        "stats": f"{sandbox.stats}/total/views/article/{item_id}",
        "files": f"{sandbox.files}/files/{file_id}",
        "storage": sandbox.signed(file_id),
    }[service]


async def is_refused(url: str) -> bool:
    """Return whether no server listens there."""
    try:
        _, writer = await asyncio.open_connection(URL(url).host, URL(url).port)
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False


async def send_raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(URL(url).host, URL(url).port)
    head = f"GET {URL(url).raw_path_qs} HTTP/1.1\r\nHost: {URL(url).host}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    return reader, writer


async def receive_raw(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return every byte that comes before the connection ends, however it ends."""
    received = bytearray()
    try:
        while piece := await reader.read(65536):
            received += piece
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return bytes(received)


async def raw_answer(url: str) -> tuple[bytes, bytes]:
    """Ask for an answer without help, and return what is in its head and what behind it."""
    head, _, body = (await receive_raw(*await send_raw(url))).partition(b"\r\n\r\n")
    return head, body


async def test_a_refused_service_listens_again_on_the_same_port() -> None:
    await side_by_side(SERVICES, refuses_and_listens_again)


async def refuses_and_listens_again(service: str) -> None:
    async with spoilt("refused", refused_seconds=0.5) as (sandbox, session):
        url = address(sandbox, service)
        with pytest.raises(CUT):
            await ask(session, url)
        assert [(seen.service, seen.fault, seen.status) for seen in sandbox.requests] == [
            (service, "refused", 0)
        ]
        for other in SERVICES:
            assert await is_refused(address(sandbox, other)) == (other == service)
        while await is_refused(url):
            await anyio.sleep(0.01)
        status, _, _ = await ask(session, url, allow_redirects=False)
        assert status == (302 if service == "files" else 200)


async def test_refusals_that_overlap_end_once() -> None:
    async with spoilt("refused", refused_seconds=0.3) as (sandbox, _):
        urls = [f"{sandbox.api}/articles/{item_id}" for item_id in sandbox.world.public_ids]
        opened = [await asyncio.open_connection(URL(url).host, URL(url).port) for url in urls]
        began = time.monotonic()
        for url, (_, writer) in zip(urls, opened, strict=True):
            writer.write(f"GET {URL(url).raw_path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert {await receive_raw(*connection) for connection in opened} == {b""}
        assert [seen.fault for seen in sandbox.requests] == ["refused"] * 50
        while await is_refused(sandbox.api):
            await anyio.sleep(0.01)
        assert 0.3 <= time.monotonic() - began < 0.7
        await anyio.sleep(0.35)
        assert not await is_refused(sandbox.api)


async def test_a_port_stays_reserved_while_it_refuses_and_is_free_at_the_end() -> None:
    async with spoilt("refused", refused_seconds=30) as (sandbox, _):
        port = URL(sandbox.api).port
        assert await raw_answer(address(sandbox, "api")) == (b"", b"")
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    async with Sandbox(Settings(items=1, ports=(port or 0, 0, 0, 0))) as again:
        assert again.api == sandbox.api


async def test_a_taken_port_is_reported_and_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(OSError, match="in use"):
            async with Sandbox(Settings(ports=(0, 0, other.getsockname()[1], 0))):
                pass


async def test_a_burst_blocks_every_request_to_that_service_for_a_while() -> None:
    async with spoilt("403-burst", burst_seconds=0.6) as (sandbox, session):
        first, second = (f"{sandbox.api}/articles/{item_id}" for item_id in sandbox.world.public_ids[:2])
        for url in (first, second, second, f"{sandbox.api}/nothing"):
            status, body, headers = await ask(session, url)
            assert (status, headers["Content-Type"]) == (403, "text/html")
            assert body.startswith(b"<!DOCTYPE html>")
        assert [(seen.fault, seen.status) for seen in sandbox.requests] == [("403-burst", 403)] * 4
        assert (await ask(session, address(sandbox, "storage")))[0] == 200
        await anyio.sleep(0.7)
        assert (await ask(session, first))[0] == 200
        assert (await ask(session, address(sandbox, "stats")))[0] == 403  # one of its own
        assert (await ask(session, first))[0] == 200


async def test_a_drip_ends_and_a_trickle_does_not() -> None:
    await side_by_side(["api", "stats", "storage"], drips_and_trickles)


async def drips_and_trickles(service: str) -> None:
    async with spoilt("drip") as (sandbox, session):
        began = time.monotonic()
        slow = await ask(session, address(sandbox, service))
        assert 0.9 < time.monotonic() - began < 3
        assert slow[:2] == (await ask(session, address(sandbox, service)))[:2]
    async with spoilt("trickle", trickle_seconds=0.02, stall_seconds=0.4) as (sandbox, session):
        url = address(sandbox, service)
        began = time.monotonic()
        head, received = await raw_answer(url)
        assert 0.4 <= time.monotonic() - began < 3
        assert head.startswith(b"HTTP/1.1 200")
        async with session.get(url) as response:
            whole = await response.read()
        if service != "storage":
            received, whole = received.replace(b"1\r\n \r\n", b" "), b" " * 100
        assert whole.startswith(received)
        assert 2 < len(received) <= 20


async def test_the_last_byte_of_a_file_that_trickles_never_comes() -> None:
    async with spoilt("trickle", trickle_seconds=0.0, stall_seconds=0.5) as (sandbox, _):
        small = min(files_to_have(sandbox.world), key=lambda file: (file["size"] < 2, file["size"]))
        _, received = await raw_answer(sandbox.signed(small["id"]))
        assert received == sandbox.world.content(small["id"])[:-1]


@pytest.mark.parametrize("service", ["api", "stats"])
async def test_a_chunked_body_is_cut_in_the_middle(service: str) -> None:
    async with spoilt("cut-chunked") as (sandbox, session):
        url = address(sandbox, service)
        head, chunks = await raw_answer(url)
        assert b"Transfer-Encoding: chunked" in head
        assert b"Content-Length" not in head
        async with session.get(url) as response:
            whole = await response.read()
        half = whole[: len(whole) // 2]
        assert chunks == b"%x\r\n%b\r\n" % (len(half), half)


@pytest.mark.parametrize("service", ["api", "stats"])
async def test_a_compressed_body_ends_in_the_middle(service: str) -> None:
    async with spoilt("gzip-cut") as (sandbox, session):
        url = address(sandbox, service)
        async with session.get(url, headers={"Connection": "close"}, auto_decompress=False) as response:
            body = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.content_length == len(body)
        async with session.get(url) as response:
            whole = await response.read()
        unpacking = zlib.decompressobj(31)
        assert whole.startswith(unpacking.decompress(body))
        assert not unpacking.eof


@pytest.mark.parametrize("service", SERVICES)
async def test_headers_are_cut_in_the_middle(service: str) -> None:
    async with spoilt("reset-headers") as (sandbox, session):
        url = address(sandbox, service)
        received = await receive_raw(*await send_raw(url))
        expected = b"HTTP/1.1 302 OK" if service == "files" else b"HTTP/1.1 200 OK"
        assert received
        assert b"\r\n\r\n" not in received
        assert received[:15] == expected[: len(received)]
        assert [(seen.fault, seen.status) for seen in sandbox.requests] == [("reset-headers", 0)]
        assert (await ask(session, url, allow_redirects=False))[0] in {200, 302}


# -- faults that stay -----------------------------------------------------------------------------------


async def statuses(session: aiohttp.ClientSession, urls: dict[int, str], **more: Any) -> dict[int, int]:
    return {key: (await ask(session, url, allow_redirects=False, **more))[0] for key, url in urls.items()}


def files_to_have(world: World) -> list[dict[str, Any]]:
    """Every file of the public items that has bytes for everybody."""
    return [
        file
        for item_id in world.public_ids
        if not world.is_withheld(item_id)
        for file in world.files(item_id)
        if not file["is_link_only"]
    ]


@pytest.mark.parametrize(
    ("fault", "status"), [("always-404", 404), ("always-403-json", 403), ("always-500", 500)]
)
async def test_a_permanently_failing_item_always_fails_and_others_never(fault: str, status: int) -> None:
    async with browsing(items=45, private_items=6, faults={fault: 0.2}) as (sandbox, session):
        failing = sandbox.permanently_failing_items()
        assert sandbox.permanently_failing_items(fault) == failing
        assert sandbox.permanently_failing_items("always-none") == set()
        public, own = set(sandbox.world.public_ids), set(sandbox.world.account_ids)
        assert 5 < len(failing & public) < 40
        for _ in range(2):
            answered = await statuses(session, {i: f"{sandbox.api}/articles/{i}?x={_}" for i in public})
            assert {item_id for item_id in public if answered[item_id] == status} == failing & public
            urls = {i: f"{sandbox.api}/account/articles/{i}" for i in own}
            answered = await statuses(session, urls, headers=AUTHORISED)
            assert {item_id for item_id in own if answered[item_id] == status} == failing & own
        answered = await statuses(session, {i: f"{sandbox.api}/articles/{i}/files?page=1" for i in public})
        is_list_too = fault == "always-500"
        assert {i for i in public if answered[i] == status} == (failing & public if is_list_too else set())


async def test_permanently_failing_statistics_lack_a_counter() -> None:
    async with browsing(items=60, faults={"always-500": 0.1}) as (sandbox, session):
        lacking = set()
        for counter in ("views", "downloads"):
            urls = {i: f"{sandbox.stats}/total/{counter}/article/{i}" for i in sandbox.world.public_ids}
            lacking |= {i for i, status in (await statuses(session, urls)).items() if status == 500}
        assert 5 < len(lacking) < 30
        assert sandbox.permanently_failing_stats() & set(sandbox.world.public_ids) == lacking


async def test_a_file_that_is_gone_is_gone_on_both_routes() -> None:
    async with browsing(items=60, heavy=0, faults={"always-gone-file": 0.1}) as (sandbox, session):
        ids = [file["id"] for file in files_to_have(sandbox.world)]
        gone = sandbox.permanently_failing_files() & set(ids)
        assert 5 < len(gone) < len(ids) / 5
        for route in (f"{sandbox.files}/files", f"{sandbox.api}/file/download"):
            answered = await statuses(session, {file_id: f"{route}/{file_id}" for file_id in ids})
            assert answered == {file_id: 404 if file_id in gone else 302 for file_id in ids}
        private = [*sandbox.world.private_ids, *sandbox.world.colleague_ids]
        urls = {
            file["id"]: f"{sandbox.api}/file/download/{file['id']}"
            for item_id in private
            for file in sandbox.world.files(item_id)
        }
        answered = await statuses(session, urls, headers=AUTHORISED)
        assert {
            file_id for file_id in urls if answered[file_id] == 404
        } == sandbox.permanently_failing_files() - gone


async def test_a_file_of_another_length_stays_so_unless_it_is_empty() -> None:
    async with browsing(items=60, heavy=0, faults={"always-wrong-length": 0.3}) as (sandbox, session):
        files = files_to_have(sandbox.world)
        short = set()
        for file in files:
            _, body, headers = await ask(session, sandbox.signed(file["id"]))
            assert int(headers["Content-Length"]) == len(body)
            if len(body) != file["size"]:
                assert body == sandbox.world.content(file["id"])[: file["size"] // 2]
                short.add(file["id"])
        assert short == sandbox.permanently_failing_files() & {file["id"] for file in files}
        assert len(short) > 20


async def test_wrong_bytes_fail_a_file_only_if_they_can_be_noticed() -> None:
    async with browsing(items=100, heavy=0, faults={"always-wrong-md5": 1.0}) as (sandbox, _):
        files = files_to_have(sandbox.world)
        assert sandbox.permanently_failing_files("always-wrong-md5") & {file["id"] for file in files} == {
            file["id"] for file in files if file["supplied_md5"] and file["size"]
        }
        assert sum(not file["supplied_md5"] for file in files) > 0
        assert sum(not file["size"] for file in files) > 0


async def test_a_file_with_one_good_route_is_not_permanently_failing() -> None:
    async with browsing(items=40, heavy=0, faults={"always-challenge": 1.0}) as (sandbox, _):
        assert sandbox.permanently_failing_files() == set()
    async with browsing(items=40, heavy=0, faults={"always-challenge": 1.0, "always-500": 0.3}) as (
        sandbox,
        session,
    ):
        files = [
            file["id"]
            for file in files_to_have(sandbox.world)
            if file["id"] // 100 not in sandbox.permanently_failing_items()
        ]
        answered = await statuses(session, {f: f"{sandbox.api}/file/download/{f}" for f in files})
        failing = sandbox.permanently_failing_files()
        assert {f for f in files if answered[f] == 500} == failing & set(files) != set()
        assert not {file_id for file_id in failing if file_id // 100 in sandbox.permanently_failing_items()}


async def test_temporary_faults_affect_everything_else() -> None:
    async with browsing(items=30, faults={"always-404": 0.2, "503": 0.5}, max_per_address=2) as (
        sandbox,
        session,
    ):
        urls = {i: f"{sandbox.api}/articles/{i}" for i in sandbox.world.public_ids}
        answered = [await statuses(session, urls) for _ in range(8)]
        for item_id in urls:
            seen = [answers[item_id] for answers in answered]
            if item_id in sandbox.permanently_failing_items():
                assert seen == [404] * 8
            else:
                assert set(seen) <= {200, 503}
                assert seen.count(503) <= 2
        assert 503 in answered[0].values()


# -- listings that misbehave ----------------------------------------------------------------------------


async def listed(
    session: aiohttp.ClientSession, url: str, pages: int, size: int, **criteria: Any
) -> list[tuple[int, list[Any]]]:
    """Ask for the first pages of a public search, oldest first."""
    found = []
    for page in range(1, pages + 1):
        body = {"page": page, "page_size": size, "order_direction": "asc", **criteria}
        async with session.post(f"{url}/articles/search", json=body) as response:
            answer = await response.json()
            found.append((response.status, [entry["id"] for entry in answer] if response.ok else []))
    return found


async def test_malformed_entries_are_among_the_good_ones_of_a_first_page() -> None:
    async with browsing(items=30, odd_entries=True) as (sandbox, session):
        ids = list(sandbox.world.public_ids)
        url = f"{sandbox.api}/articles?page_size=20&order_direction=asc&page="
        _, first, _ = await ask(session, f"{url}1")
        _, second, _ = await ask(session, f"{url}2")
        assert [entry["id"] for entry in second] == ids[20:]
        good = [entry for entry in first if entry and isinstance(entry["title"], str)]
        assert [entry.get("id") for entry in good] == [None, *ids[:10], f"item {ids[19]}", *ids[10:20]]
        (wrong,) = (entry for entry in first if entry and not isinstance(entry["title"], str))
        right = sandbox.world.entry(ids[19])
        assert wrong["id"] == ids[19]
        assert wrong.keys() == right.keys()
        assert not [key for key in wrong if key != "id" and type(wrong[key]) is type(right[key])]
        assert (first.count(None), len(first)) == (1, 24)
        async with session.post(f"{sandbox.api}/articles/search", json={"doi": "none"}) as response:
            assert await response.json() == [{}, None, {"id": "item 1"}]
        url = f"{sandbox.api}/account/articles"
        assert None not in (await ask(session, url, headers=AUTHORISED))[1]


@pytest.mark.parametrize(
    "criteria",
    [{"item_type": 3}, {"published_since": "2015-01-01T01"}, {"modified_since": "2015-01-02"}, {"group": 1}],
)
async def test_a_filter_can_be_ignored(criteria: dict[str, Any]) -> None:
    (name,) = criteria
    async with browsing(items=50, ignores=(name,)) as (sandbox, session):
        assert await listed(session, sandbox.api, 1, 50, **criteria) == [
            (200, list(sandbox.world.public_ids))
        ]
        narrowed = await listed(session, sandbox.api, 1, 50, **criteria, search_for=":tag: tag3")
        assert narrowed == [(200, list(sandbox.world.search(":tag: tag3")))]
    async with browsing(items=50) as (sandbox, session):
        ((_, found),) = await listed(session, sandbox.api, 1, 50, **criteria)
        assert len(found) < 50


async def test_entries_of_a_group_s_listing_show_that_group() -> None:
    for ignores, groups in (((), {11962}), (("group",), {0, 11960, 11962, 11963, 11964, 11970})):
        async with browsing(items=50, ignores=ignores) as (sandbox, session):
            _, answer, _ = await ask(session, f"{sandbox.api}/articles?group=11962&page_size=50")
            assert {entry["group_id"] for entry in answer} == groups


@pytest.mark.parametrize("cursors", [True, False])
async def test_a_listing_can_ignore_the_page_number(cursors: bool) -> None:
    async with browsing(items=50, ignores_page=True, cursors=cursors) as (sandbox, session):
        first = list(sandbox.world.public_ids[:20])
        assert await listed(session, sandbox.api, 4, 20) == [(200, first)] * 4
        assert await listed(session, sandbox.api, 1, 20, page=10**6) == [(200, first)]
        url = f"{sandbox.api}/articles?page_size=20&order_direction=asc"
        _, _, headers = await ask(session, url)
        assert ("X-Cursor" in headers) == cursors
        if cursors:
            again = await ask(session, url, headers={"X-Cursor": headers["X-Cursor"]})
            assert [entry["id"] for entry in again[1]] == first
            assert again[2]["X-Cursor"] == headers["X-Cursor"]
        account = f"{sandbox.api}/account/articles?page_size=5&page=3"
        _, answer, _ = await ask(session, account, headers=AUTHORISED)
        assert [entry["id"] for entry in answer] == sandbox.world.account_ids[:5]


async def test_a_listing_can_be_endless() -> None:
    async with browsing(items=25, cycle=True) as (sandbox, session):
        ids = list(sandbox.world.public_ids)
        pages = await listed(session, sandbox.api, 3, 20)
        assert pages == [(200, ids[:20]), (200, ids[20:] + ids[:15]), (200, (ids * 3)[40:60])]
        assert [len(answer) for _, answer in await listed(session, sandbox.api, 1, 1000, page=500)] == [1000]
        cursors = set()
        headers: dict[str, str] = {}
        for _ in range(5):
            _, answer, answered = await ask(session, f"{sandbox.api}/articles?page_size=20", headers=headers)
            headers = {"X-Cursor": answered["X-Cursor"]}
            cursors.add(headers["X-Cursor"])
            assert len(answer) == 20
        assert len(cursors) == 5


async def test_a_count_can_be_too_high() -> None:
    async with browsing(items=100, miscount=3) as (sandbox, session):
        asked = {"groups": [{"id": 11962}, {"id": 5}]}
        async with session.post(f"{sandbox.stats}/count/articles", json=asked) as response:
            assert await response.json() == {"11962": 23, "5": 3}


async def test_a_listing_can_shift_while_it_is_read() -> None:
    async with browsing(items=50, shift_every=2) as (sandbox, session):
        urls = [f"{sandbox.api}/articles?page_size=10&page={page}" for page in (1, 2, 3, 4)]
        pages = [[entry["id"] for entry in (await ask(session, url))[1]] for url in urls]
        ids = list(sandbox.world.public_ids)[::-1]
        assert len(ids) == 52
        assert pages == [ids[2:12], ids[12:22], ids[21:31], ids[31:41]]
        assert pages[1][-1] == pages[2][0]


async def test_a_connection_to_the_storage_can_be_slow() -> None:
    async with browsing(items=30, heavy=1, heavy_size=400_000, connection_rate=1e6) as (sandbox, session):
        (item,) = sandbox.world.with_trait("heavy")
        file = sandbox.world.files(item)[0]
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            for _ in range(2):  # each by itself
                group.start_soon(ask, session, file["download_url"])
        assert 0.35 < time.monotonic() - began < 0.75


async def test_one_page_of_a_listing_can_fail() -> None:
    async with browsing(items=50, fail_page=2, fail_page_times=2) as (sandbox, session):
        ids = list(sandbox.world.public_ids)
        for _ in range(2):
            assert await listed(session, sandbox.api, 2, 20) == [(200, ids[:20]), (500, [])]
        tagged = [(200, list(sandbox.world.search(":tag: tag3"))[:2]), (500, [])]
        assert await listed(session, sandbox.api, 2, 2, search_for=":tag: tag3") == tagged
        assert await listed(session, sandbox.api, 2, 20) == [(200, ids[:20]), (200, ids[20:40])]
    async with browsing(items=50, fail_page=2) as (sandbox, session):
        url = f"{sandbox.api}/articles?page_size=20&order_direction=asc"
        _, _, headers = await ask(session, url)
        for _ in range(5):
            assert (await ask(session, url, headers={"X-Cursor": headers["X-Cursor"]}))[0] == 500
            assert (await ask(session, f"{url}&page=2"))[0] == 500


# -- hostile records ------------------------------------------------------------------------------------


@asynccontextmanager
async def hostile_item(
    kind: str, **settings: Any
) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession, int]]:
    async with (
        Sandbox(Settings(items=20, heavy=0, hostile=(kind,), **settings)) as sandbox,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield sandbox, session, sandbox.world.hostile_items[kind]


async def raw_record(sandbox: Sandbox, session: aiohttp.ClientSession, item_id: int) -> bytes:
    async with session.get(f"{sandbox.api}/articles/{item_id}") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.read()


def test_each_hostile_kind_adds_one_item_after_the_ordinary_ones() -> None:
    plain, world = World(Settings(items=40)), World(Settings(items=40, hostile=frozenset(HOSTILE)))
    assert list(world.hostile_items) == list(HOSTILE)
    assert list(world.public_ids) == [*plain.public_ids, *world.hostile_items.values()]
    assert world.account_ids == plain.account_ids
    for item_id in plain.public_ids:
        assert world.record(item_id, whole=True) == plain.record(item_id, whole=True)
    world.publish(2)
    assert len(world.public_ids) == 42 + len(HOSTILE)
    assert {world.trait(item_id) for item_id in world.hostile_items.values()} == {""}
    with pytest.raises(ValueError, match="hostile: unknown bombs"):
        Settings(hostile=("bombs",))


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_item_is_listed_and_counted_as_any_other(kind: str) -> None:
    async with hostile_item(kind) as (sandbox, session, item_id):
        ordinary = World(Settings(items=30))
        ordinary.at = sandbox.world.at
        assert (await listed(session, sandbox.api, 1, 100))[0][1][-1] == item_id
        _, answer, _ = await ask(session, f"{sandbox.api}/articles?page_size=1")
        assert answer == [ordinary.entry(item_id)]
        views = ordinary.totals(item_id)["views"]
        assert (await ask(session, f"{sandbox.stats}/total/views/article/{item_id}"))[1] == {"totals": views}


@pytest.mark.parametrize(
    "kind",
    [
        "surrogates", "nul", "escape-title", "formula", "huge-numbers", "link-elsewhere", "long-texts",
        "endless-files", "repeating-files",
    ],
)  # fmt: skip
async def test_the_world_has_the_json_that_is_sent(kind: str) -> None:
    async with hostile_item(kind) as (sandbox, session, item_id):
        record = json.loads(await raw_record(sandbox, session, item_id))
        assert record == sandbox.world.record(item_id)
        _, files, _ = await ask(session, f"{sandbox.api}/articles/{item_id}/files")
        assert files[: len(record["files"])] == record["files"] == sandbox.world.files(item_id)
        for file in record["files"]:
            async with session.get(f"{sandbox.files}/files/{file['id']}") as response:
                assert await response.read() == sandbox.world.content(file["id"]) != b""


async def test_a_record_can_have_another_shape_or_another_id() -> None:
    async with hostile_item("wrong-shape") as (sandbox, session, item_id):
        assert json.loads(await raw_record(sandbox, session, item_id)) == [sandbox.world.record(item_id)]
    async with hostile_item("wrong-files") as (sandbox, session, item_id):
        answer = json.loads(await raw_record(sandbox, session, item_id))
        assert answer == {**sandbox.world.record(item_id), "files": "none"}
    async with hostile_item("wrong-id") as (sandbox, session, item_id):
        answer = json.loads(await raw_record(sandbox, session, item_id))
        assert answer == sandbox.world.record(sandbox.world.public_ids[0])


async def test_a_record_can_be_huge() -> None:
    async with hostile_item("huge") as (sandbox, session, item_id):
        size, letters = 0, 0
        async with session.get(f"{sandbox.api}/articles/{item_id}") as response:
            async for piece in response.content.iter_any():
                size += len(piece)
                letters += piece.count(b"a")
            assert response.content_length == size > letters > 100_000_000
        assert not sandbox.world.record(item_id).get("appendix")


@pytest.mark.parametrize(("kind", "key"), [("deep-unread", "appendix"), ("deep-read", "authors")])
async def test_a_record_can_be_deep(kind: str, key: str) -> None:
    async with hostile_item(kind) as (sandbox, session, item_id):
        body = await raw_record(sandbox, session, item_id)
        nested = b"[" * 10_000 + b"]" * 10_000
        assert body.count(nested) == 1
        contents = json.loads(body.replace(nested, b"[]"))
        assert contents == {**sandbox.world.record(item_id), key: []}
        with pytest.raises(RecursionError):
            json.loads(body)


async def test_a_small_bomb_decompresses_to_its_record_and_ninety_megabytes_of_blanks() -> None:
    async with hostile_item("bomb-small") as (sandbox, session, item_id):
        body = await raw_record(sandbox, session, item_id)
        assert len(body) < 100_000
        unpacked = gzip.decompress(body)
        record = unpacked.rstrip(b" ")
        assert len(unpacked) - len(record) == 90_000_000
        assert json.loads(record) == sandbox.world.record(item_id)


async def test_a_bomb_is_a_few_megabytes_and_decompresses_to_gigabytes() -> None:
    async with hostile_item("bomb") as (sandbox, session, item_id):
        async with session.get(f"{sandbox.api}/articles/{item_id}") as response:
            body = await response.read()
            assert response.headers["Content-Encoding"] == "gzip"
        assert 3_000_000 < len(body) < 5_000_000
        unpacking = zlib.decompressobj(31)
        begin = unpacking.decompress(body[:60_000])
        record = begin.rstrip(b" ")
        assert json.loads(record) == sandbox.world.record(item_id)
        assert len(begin) > 45_000_000
        assert int.from_bytes(body[-4:], "little") == (4_000_000_000 + len(record)) % 2**32


async def test_a_record_can_hold_bytes_that_are_no_utf8() -> None:
    async with hostile_item("bad-utf8") as (sandbox, session, item_id):
        body = await raw_record(sandbox, session, item_id)
        with pytest.raises(UnicodeDecodeError):
            body.decode()
        contents = json.loads(body.decode(errors="replace"))
        assert "\ufffd" in contents.pop("appendix")
        assert contents == sandbox.world.record(item_id)


async def test_titles_and_names_can_break_texts_terminals_and_tables() -> None:
    for kind, marks in (
        ("surrogates", ("\ud800",)),
        ("nul", ("\0",)),
        ("escape-title", ("\x1b[31m", "\x1b]0;", "\x1b]8;;", "\x9b", "\x90")),
    ):
        async with hostile_item(kind) as (sandbox, _, item_id):
            record = sandbox.world.record(item_id)
            for mark in marks:
                assert mark in record["title"]
                assert mark in record["files"][0]["name"]
    async with hostile_item("formula") as (sandbox, session, item_id):
        body = await raw_record(sandbox, session, item_id)
        record = json.loads(body)
        authors = [author["full_name"] for author in record["authors"]]
        categories = [category["title"] for category in record["categories"]]
        names = [file["name"] for file in record["files"]]
        assert record["title"][0] == "="
        for texts in (authors, categories, names):
            assert {text[0] for text in texts} == set("=+-@\t\r\n＝＋＠")


async def test_the_corrupt_file_of_an_escape_title_is_permanently_failing() -> None:
    async with hostile_item("escape-title") as (sandbox, _, item_id):
        broken, whole = sandbox.world.files(item_id)
        assert hashlib.md5(sandbox.world.content(broken["id"])).hexdigest() != broken["computed_md5"]
        assert hashlib.md5(sandbox.world.content(whole["id"])).hexdigest() == whole["computed_md5"]
        assert sandbox.permanently_failing_files() == {broken["id"]}


async def test_a_size_can_have_hundreds_of_digits() -> None:
    async with hostile_item("huge-numbers") as (sandbox, session, item_id):
        body = await raw_record(sandbox, session, item_id)
        assert body.count(b'"size":1' + b"0" * 400) == 2
        assert json.loads(body)["id"] == item_id


async def test_a_file_list_can_be_endless_or_repeat_itself() -> None:
    pages: dict[str, list[list[int]]] = {}
    for kind in ("endless-files", "repeating-files"):
        async with hostile_item(kind) as (sandbox, session, item_id):
            url = f"{sandbox.api}/articles/{item_id}/files?page_size=1000&page="
            answer = [(await ask(session, f"{url}{page}"))[1] for page in (1, 2, 3, 500)]
            pages[kind] = [[file["id"] for file in page] for page in answer]
            assert pages[kind][0][:10] == [file["id"] for file in sandbox.world.files(item_id)]
            assert [len(page) for page in answer] == [1000] * 4
    assert len({file_id for page in pages["endless-files"] for file_id in page}) == 4000
    assert len({file_id for page in pages["repeating-files"] for file_id in page}) == 1000
    assert pages["repeating-files"] == [pages["repeating-files"][0]] * 4


async def test_download_addresses_can_be_forbidden() -> None:
    async with hostile_item("link-elsewhere") as (sandbox, session, item_id):
        addresses = [file["download_url"] for file in sandbox.world.files(item_id)]
        assert addresses[:2] == ["http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"]
        assert addresses[2].startswith(sandbox.elsewhere)
        assert sandbox.requests_to("elsewhere") == []
        assert (await ask(session, addresses[2]))[0] == 404
        (seen,) = sandbox.requests_to("elsewhere")
        assert seen.path == "/files/1"


async def test_a_record_can_have_an_encoding_that_was_not_requested() -> None:
    async with hostile_item("brotli") as (sandbox, session, item_id):
        url = f"{sandbox.api}/articles/{item_id}"
        async with session.get(url, headers={"Accept-Encoding": "gzip"}) as response:
            assert response.headers["Content-Encoding"] == "br"
            body = await response.read()
        assert json.loads(body[3:-1]) == sandbox.world.record(
            item_id
        )  # a stored block: its bytes as they are
        assert int.from_bytes(body[:3], "little") == 1 << 20 | (len(body) - 5) << 4


# -- redirects ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REDIRECTS)
async def test_the_redirect_targets_of_downloads(kind: str) -> None:
    async with browsing(items=5, redirects=kind) as (sandbox, session):
        file_id = sandbox.world.files(sandbox.world.public_ids[0])[0]["id"]
        for path in (f"{sandbox.api}/file/download/{file_id}", f"{sandbox.files}/files/{file_id}"):
            status, _, headers = await ask(session, path, allow_redirects=False)
            assert status == 302
            found = headers["Location"]
            if kind == "loop":
                assert found == f"{path}?hop=1"
                assert (await ask(session, found, allow_redirects=False))[2]["Location"] == f"{path}?hop=2"
                with pytest.raises(aiohttp.TooManyRedirects):
                    await ask(session, path)
            elif kind == "http":
                assert (URL(found).scheme, URL(found).host) == ("http", "storage.invalid")
            elif kind == "file-scheme":
                assert found == "file:///etc/passwd"
            else:
                host = "localhost" if kind == "other-host" else "127.0.0.1"
                assert URL(found).origin() == URL(sandbox.storage).with_host(host)
                assert (await ask(session, found))[1] == sandbox.world.content(file_id)
                assert (await ask(session, found, headers=AUTHORISED))[0] == 400
    with pytest.raises(ValueError, match="redirects: unknown"):
        Settings(redirects="nowhere")


async def test_records_can_redirect_to_another_origin_that_has_them() -> None:
    async with browsing(items=5, redirects="api-elsewhere") as (sandbox, session):
        public, private = sandbox.world.public_ids[0], sandbox.world.account_ids[0]
        for path, more in ((f"articles/{public}", {}), (f"account/articles/{private}", AUTHORISED)):
            url = f"{sandbox.api}/{path}"
            status, _, headers = await ask(session, url, headers=more, allow_redirects=False)
            assert (status, headers["Location"]) == (302, f"{sandbox.elsewhere}/v2/{path}")
            _, answer, _ = await ask(session, url, headers=more)
            assert answer == sandbox.world.record(answer["id"], private=bool(more))
        seen = sandbox.requests_to("elsewhere")
        assert [request.path for request in seen] == [
            f"/v2/articles/{public}",
            f"/v2/account/articles/{private}",
        ]
        assert not [request for request in seen if "Authorization" in request.headers]
        await ask(session, f"{sandbox.elsewhere}/v2/articles/{public}", headers=AUTHORISED)
        assert sandbox.requests_to("elsewhere")[-1].headers["Authorization"] == "token sandbox-token"
    async with browsing(items=5) as (sandbox, _):
        assert sandbox.elsewhere == ""
