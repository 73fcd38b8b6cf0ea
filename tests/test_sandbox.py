"""The sandbox behaves as figshare is known to: paging, caps, redirects, traps and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio
import pytest
from multidict import CIMultiDictProxy

from harvester.sandbox import FAULTS, Sandbox, Settings, World
from harvester.sandbox.faults import PASSING, PERMANENT

pytestmark = pytest.mark.anyio

AUTHORISED = {"Authorization": "token sandbox-token"}


@asynccontextmanager
async def browsing(**settings: Any) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    async with Sandbox(Settings(**settings)) as sandbox, aiohttp.ClientSession() as session:
        yield sandbox, session


async def ask(
    session: aiohttp.ClientSession, url: str, **more: Any
) -> tuple[int, Any, CIMultiDictProxy[str]]:
    async with session.get(url, **more) as response:
        told = await response.json() if response.content_type == "application/json" else await response.read()
        return response.status, told, response.headers


async def test_lists_have_ten_entries_unless_asked_and_a_thousand_at_most() -> None:
    async with browsing(items=1500) as (sandbox, session):
        for query, count in (
            ("", 10),
            ("?page_size=1000", 1000),
            ("?limit=7&offset=3", 7),
            ("?page=2&page_size=1000", 500),
        ):
            status, told, _ = await ask(session, f"{sandbox.api}/articles{query}")
            assert (status, len(told)) == (200, count)
        for query in ("?page_size=1001", "?page=1&limit=5", "?page_size=0", "?page=x"):
            status, told, _ = await ask(session, f"{sandbox.api}/articles{query}")
            assert status == 422
            assert set(told) == {"message", "code", "data"}


async def test_what_cannot_be_read_is_the_caller_s_fault() -> None:
    async with browsing(items=20) as (sandbox, session):
        assert (await ask(session, f"{sandbox.api}/articles?item_type=x"))[0] == 422
        assert (await ask(session, f"{sandbox.api}/articles?group=x"))[0] == 422
        async with session.post(f"{sandbox.api}/articles/search", data=b'{"half') as response:
            assert response.status == 400


async def test_past_the_cap_only_a_cursor_leads_on() -> None:
    async with browsing(items=10_500) as (sandbox, session):
        status, _, _ = await ask(session, f"{sandbox.api}/articles?page=10&page_size=1000")
        assert status == 422
        found: list[int] = []
        headers: dict[str, str] = {}
        while True:
            _, told, answered = await ask(
                session, f"{sandbox.api}/articles?page_size=1000&order_direction=asc", headers=headers
            )
            found += [entry["id"] for entry in told]
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
        assert (await ask(session, url, headers={"Authorization": "token wrong"}))[0] == 401
        status, told, headers = await ask(session, url, headers=AUTHORISED)
        assert status == 200
        assert "X-Cursor" not in headers
        assert [entry["id"] for entry in told] == sandbox.world.account_ids
        draft = sandbox.world.account_ids[0]
        assert (await ask(session, f"{sandbox.api}/articles/{draft}"))[0] == 404
        status, told, _ = await ask(session, f"{sandbox.api}/account/articles/{draft}", headers=AUTHORISED)
        assert (status, told["doi"], told["published_date"]) == (200, "", None)
        assert told["account_id"]


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
        for item_id, told in ((unknown, {}), (123, {}), (sandbox.world.public_ids[1], {"totals": 7})):
            assert (await ask(session, f"{sandbox.stats}/total/views/article/{item_id}"))[:2] == (200, told)
        async with session.post(
            f"{sandbox.stats}/count/articles", json={"groups": [{"id": 11962}]}
        ) as response:
            assert await response.json() == {"11962": 20}


async def test_a_download_is_a_redirect_to_a_signed_address_that_dies() -> None:
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


def test_the_oddities_of_the_wild_are_in_a_small_world() -> None:
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


def test_a_million_items_cost_nothing_until_they_are_asked_for() -> None:
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
