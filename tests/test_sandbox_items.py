"""The sandbox's items have versions, are corrected, withdrawn and restored, and have licences and handles."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from typing import Any

import aiohttp
import pytest

from harvester.sandbox import Settings, World, serve
from harvester.sandbox.catalogue import COLLEAGUE_ACCOUNT, OWN_ACCOUNT, UNLISTED
from harvester.sandbox.item import EDITS
from harvester.sandbox.items import MOST_MADE
from tests.support.browsing import AUTHORISED, ask, browsing

pytestmark = pytest.mark.anyio

LICENCES = ("CC BY 4.0", "CC0", "MIT")


def three_versions(world: World) -> int:
    (item_id, *_) = world.with_trait("three versions")
    return item_id


async def test_an_item_of_another_repository_is_there_and_in_no_listing() -> None:
    async with browsing(items=30) as (sandbox, session):
        world = sandbox.world
        for item_id in UNLISTED:
            status, record, _ = await ask(session, f"{sandbox.api}/articles/{item_id}")
            assert (status, record["id"], record) == (200, item_id, world.record(item_id))
            assert record["doi"] == f"10.6084/m9.figshare.{item_id}.v1"
            (file, *_) = world.files(item_id)
            async with session.get(file["download_url"]) as answer:
                assert hashlib.md5(await answer.read()).hexdigest() == file["computed_md5"]
        assert not set(UNLISTED) & {*world.public_ids, *world.institution_items(), *world.account_items()}
        world.withdraw(5616409)
        assert (await ask(session, f"{sandbox.api}/articles/5616409"))[0] == 404


# -- versions -------------------------------------------------------------------------------------------


async def test_an_item_lists_its_versions_and_each_has_a_record_of_its_own() -> None:
    async with browsing(items=60) as (sandbox, session):
        item_id = three_versions(sandbox.world)
        url = f"{sandbox.api}/articles/{item_id}"
        assert (await ask(session, f"{url}/versions"))[1] == [
            {"version": number, "url": f"{url}/versions/{number}"} for number in (1, 2, 3)
        ]
        records = [(await ask(session, f"{url}/versions/{number}"))[1] for number in (1, 2, 3)]
        assert records == [sandbox.world.record(item_id, number) for number in (1, 2, 3)]
        assert [record["version"] for record in records] == [1, 2, 3]
        assert [record["doi"][-3:] for record in records] == [".v1", ".v2", ".v3"]
        titles = [record["title"] for record in records]
        assert titles == [titles[0], f"{titles[0]} (version 2)", f"{titles[0]} (version 3)"]
        assert (await ask(session, url))[1] == records[2] == sandbox.world.record(item_id)
        plain = sandbox.world.public_ids[0]
        address = f"{sandbox.api}/articles/{plain}/versions"
        assert (await ask(session, address))[1] == [{"version": 1, "url": f"{address}/1"}]


def test_a_file_id_belongs_to_one_file_in_all_versions() -> None:
    chance = random.Random(7)
    world = World(Settings(items=26, heavy=0))
    for _ in range(150):
        world.edit(chance.choice(world.public_ids), chance.choice(list(EDITS)))
    known: dict[int, tuple[int, str]] = {}
    for item_id in world.public_ids:
        for version in world.versions(item_id):
            files = [file for file in world.files(item_id, version) if not file["is_link_only"]]
            assert len({file["id"] for file in files}) == len(files)
            for file in files:
                found = file["size"], file["computed_md5"] or file["supplied_md5"]
                assert known.setdefault(file["id"], found) == found
    for file_id, (size, md5) in known.items():
        content = world.content(file_id)
        assert len(content) == size
        assert not md5 or hashlib.md5(content).hexdigest() == md5
    with pytest.raises(ValueError, match="how: one of replace, add"):
        world.edit(world.public_ids[0], "turn")


async def test_only_the_first_file_changes_with_versions_and_old_ones_can_be_downloaded() -> None:
    async with browsing(items=100) as (sandbox, session):
        world = sandbox.world
        item_id = world.public_ids[0]
        before = world.files(item_id)
        assert len(before) > 1
        world.edit(item_id)
        assert world.files(item_id, 1) == before
        assert world.files(item_id)[1:] == before[1:]
        ids = [world.files(item_id, number)[0]["id"] for number in (1, 2)]
        assert ids == [item_id * 100, item_id * 100 + 98]
        assert world.content(ids[0]) != world.content(ids[1])
        for number in (1, 2):
            url = f"{sandbox.api}/articles/{item_id}/versions/{number}/files"
            assert (await ask(session, url))[1] == world.files(item_id, number)
            assert (await ask(session, f"{url}?page_size=1&page=2"))[1] == world.files(item_id, number)[1:2]
            file = world.files(item_id, number)[0]
            for address in (file["download_url"], f"{sandbox.api}/file/download/{file['id']}"):
                body = (await ask(session, address))[1]
                assert (len(body), hashlib.md5(body).hexdigest()) == (file["size"], file["computed_md5"])
        old = world.files(item_id, 1)[0]
        world.withdraw(item_id)
        assert (await ask(session, old["download_url"]))[0] == 404


async def test_versions_that_do_not_exist_are_not_found() -> None:
    async with browsing(items=60) as (sandbox, session):
        item_id, draft = three_versions(sandbox.world), sandbox.world.account_ids[0]
        for path in (
            f"{item_id}/versions/0",
            f"{item_id}/versions/4",
            f"{item_id}/versions/4/files",
            f"{item_id}/versions/files",
            f"{draft}/versions",
            f"{draft}/versions/1",
            "123/versions",
        ):
            assert (await ask(session, f"{sandbox.api}/articles/{path}", headers=AUTHORISED))[0] == 404
        sandbox.world.withdraw(item_id)
        assert (await ask(session, f"{sandbox.api}/articles/{item_id}/versions"))[0] == 404
        assert list(sandbox.world.versions(item_id)) == []


def test_a_past_version_stays_as_it_was() -> None:
    world = World(Settings(items=5))
    item_id = world.public_ids[0]
    world.correct(item_id)
    before = world.record(item_id, whole=True)
    world.edit(item_id)
    world.correct(item_id)
    assert world.record(item_id, 1, whole=True) == before
    assert world.record(item_id, 1)["modified_date"] < world.record(item_id)["modified_date"]
    assert world.record(item_id, 2) == world.record(item_id)


async def test_a_permanently_failing_item_fails_in_all_versions() -> None:
    async with browsing(items=60, faults={"always-404": 0.3}) as (sandbox, session):
        failing = sandbox.permanently_failing_items()
        assert 5 < len(failing) < 40
        for item_id in sandbox.world.public_ids:
            url = f"{sandbox.api}/articles/{item_id}/versions"
            assert (await ask(session, f"{url}/1"))[0] == (404 if item_id in failing else 200)
            assert (await ask(session, url))[0] == (await ask(session, f"{url}/1/files"))[0] == 200


async def test_faults_affect_version_routes_too() -> None:
    async with browsing(items=60, faults={"503": 1.0}, max_per_address=1) as (sandbox, session):
        item_id = three_versions(sandbox.world)
        for url in (
            f"{sandbox.api}/articles/{item_id}/versions",
            f"{sandbox.api}/articles/{item_id}/versions/2",
            f"{sandbox.api}/collections/4000001/articles",
            f"{sandbox.api}/projects/113001/articles",
            f"{sandbox.api}/account/institution/articles",
            f"{sandbox.stats}/timeline/day/views/article/{item_id}",
            f"{sandbox.stats}/breakdown/day/views/article/{item_id}",
        ):
            answer = [(await ask(session, url, headers=AUTHORISED))[0] for _ in range(2)]
            assert answer == [503, 200]


# -- edits, corrections, withdrawals --------------------------------------------------------------------


async def state(session: aiohttp.ClientSession, url: str, etag: str = "", **headers: str) -> tuple[int, str]:
    """Ask unless the state is the one that is known."""
    answer = await ask(session, url, headers={**({"If-None-Match": etag} if etag else {}), **headers})
    return answer[0], answer[2]["ETag"]


async def test_a_correction_changes_the_description_and_the_date_and_nothing_else() -> None:
    async with browsing(items=60) as (sandbox, session):
        item_id = sandbox.world.public_ids[2]
        url = f"{sandbox.api}/articles/{item_id}"
        before = (await ask(session, url))[1]
        sandbox.world.correct(item_id)
        after = (await ask(session, url))[1]
        assert {key for key in before if before[key] != after[key]} == {"description", "modified_date"}
        assert after["modified_date"] > before["modified_date"]
        assert sandbox.world.entry(item_id)["modified_date"] == after["modified_date"]
        sandbox.world.correct(item_id)
        assert sandbox.world.record(item_id)["description"] != after["description"]


async def test_every_edit_and_correction_changes_the_etag() -> None:
    async with browsing(items=60) as (sandbox, session):
        world = sandbox.world
        item_id = world.public_ids[0]
        public, own = f"{sandbox.api}/articles/{item_id}", f"{sandbox.api}/account/articles/{item_id}"
        etags = {(await state(session, public))[1]}
        own_etags = {(await state(session, own, **AUTHORISED))[1]}
        for change in (world.edit, world.correct, world.correct, world.edit):
            old = max(etags)
            change(item_id)
            status, etag = await state(session, public, old)
            assert status == 200
            assert await state(session, public, etag) == (304, etag)
            assert await state(session, f"{public}/versions/{world.version(item_id)}", etag) == (304, etag)
            etags.add(etag)
            _, own_etag = await state(session, own, **AUTHORISED)
            assert await state(session, own, own_etag, **AUTHORISED) == (304, own_etag)
            own_etags.add(own_etag)
        assert (len(etags), len(own_etags), etags & own_etags) == (5, 5, set())
        first = (await state(session, f"{public}/versions/1"))[1]
        assert first in etags
        world.edit(item_id)
        assert await state(session, f"{public}/versions/1", first) == (304, first)


async def test_a_withdrawn_item_can_be_restored_unchanged() -> None:
    async with browsing(items=20) as (sandbox, session):
        world = sandbox.world
        item_id, before = world.public_ids[4], list(world.public_ids)
        url = f"{sandbox.api}/articles/{item_id}"
        answer = await ask(session, url)
        world.withdraw(item_id)
        assert (await ask(session, url))[0] == 404
        assert list(world.public_ids) == [other for other in before if other != item_id]
        world.restore(item_id)
        assert (await ask(session, url))[:2] == answer[:2]
        assert list(world.public_ids) == before


# -- what is announced ----------------------------------------------------------------------------------


async def test_a_serving_sandbox_prints_all_that_a_harvest_needs() -> None:
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(Settings(items=5), announce=found.set_result))
    exports = dict(re.findall(r"^export (\w+)=(\S+)$", await found, re.MULTILINE))
    serving.cancel()
    await asyncio.wait([serving])
    assert exports.keys() == {
        "HARVESTER_SERVICES_API",
        "HARVESTER_SERVICES_STATS",
        "FIGSHARE_TOKEN",
        "FIGSHARE_STATS",
    }
    assert exports["FIGSHARE_TOKEN"] == "sandbox-token"
    assert exports["FIGSHARE_STATS"] == "sandbox:sandbox-password"


# -- licences and handles -------------------------------------------------------------------------------


async def test_there_are_three_licences_in_turn() -> None:
    async with browsing(items=60) as (sandbox, session):
        for path, headers in (("licenses", {}), ("account/licenses", AUTHORISED)):
            _, answer, _ = await ask(session, f"{sandbox.api}/{path}", headers=headers)
            assert [(one["value"], one["name"]) for one in answer] == list(enumerate(LICENCES, 1))
            assert all(one["url"].startswith("https://") for one in answer)
        for number, item_id in enumerate(sandbox.world.public_ids[:12]):
            licence = (await ask(session, f"{sandbox.api}/articles/{item_id}"))[1]["license"]
            assert licence["name"] == LICENCES[number % 3]


@pytest.mark.parametrize("field", ["licence", "license"])
@pytest.mark.parametrize("name", LICENCES)
def test_a_search_for_a_licence_takes_its_whole_name(field: str, name: str) -> None:
    world = World(Settings(items=60))
    found = world.search(f':{field}: "{name}"')
    assert list(found) == [
        item_id
        for item_id in world.public_ids
        if (world.record(item_id)["license"] or {}).get("name") == name
    ]
    assert 15 < len(found) <= 20
    assert list(world.search(f':{field}: "{name.lower()}"')) == list(found)
    assert list(world.search(f':{field}: "{name[:2]}"')) == []


async def test_every_sixth_item_has_a_handle_by_which_it_is_found() -> None:
    async with browsing(items=60) as (sandbox, session):
        ids = sandbox.world.public_ids
        expected: dict[int, Any] = {item_id: f"2134/{item_id}" for item_id in ids[1::6]}
        for item_id in ids:
            handle = expected.get(item_id, "")
            assert sandbox.world.entry(item_id)["handle"] == sandbox.world.record(item_id)["handle"] == handle
        for handle, found in ((f"2134/{ids[7]}", [ids[7]]), (f"2134/{ids[8]}", []), ("x/1", [])):
            _, answer, _ = await ask(session, f"{sandbox.api}/articles", params={"handle": handle})
            assert [entry["id"] for entry in answer] == found
            async with session.post(f"{sandbox.api}/articles/search", json={"handle": handle}) as response:
                assert [entry["id"] for entry in await response.json()] == found
        assert {sandbox.world.entry(item_id)["handle"] for item_id in sandbox.world.private_ids} == {""}


# -- in memory ------------------------------------------------------------------------------------------


def test_a_change_in_one_world_changes_no_other_one() -> None:
    settings = Settings(items=60, private_items=3)
    world, other = World(settings), World(settings)
    ids = [*world.public_ids, *world.private_ids, *world.colleague_ids]
    before = [other.record(item_id, private=other.is_private(item_id)) for item_id in ids]
    for change in (world.edit, world.correct, world.prove, world.draft, world.end_embargo):
        for item_id in world.public_ids:
            change(item_id)
        assert [other.record(item_id, private=other.is_private(item_id)) for item_id in ids] == before
    assert world.record(ids[0])["title"] != before[0]["title"]


def test_accounts_of_different_sizes_keep_their_items_apart() -> None:
    """The ids of the colleague's items follow those of the account's."""
    small, large = (World(Settings(items=1, private_items=size)) for size in (2, 5))
    (first, *_) = small.colleague_ids
    assert first in large.private_ids
    for _ in range(2):
        assert [world.item(first).account for world in (small, large)] == [COLLEAGUE_ACCOUNT, OWN_ACCOUNT]


def test_of_more_items_than_are_kept_in_memory_all_stay_the_same() -> None:
    world = World(Settings(items=MOST_MADE + 2, together=7))
    first = world.item(world.public_ids[0])
    entries = [world.item(item_id).number for item_id in world.public_ids]
    assert entries == list(range(MOST_MADE + 2))
    again = world.item(world.public_ids[0])
    assert again == first
    assert again is not first
