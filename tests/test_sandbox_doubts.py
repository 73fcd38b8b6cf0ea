"""The sandbox's doubts: whole answers that are wrong, some for each address, of one item or of all."""

from __future__ import annotations

import orjson
import pytest

from harvester.sandbox.doubts import DOUBTS
from tests.support.browsing import AUTHORISED, browsing

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", DOUBTS)
async def test_a_doubtful_answer_is_given_once_to_each_address(name: str) -> None:
    async with browsing(items=10, heavy=0, page_cap=4) as (sandbox, session):
        world = sandbox.world
        for item_id in world.public_ids:
            world.edit(item_id)
        item_id = world.public_ids[7]
        file_id = world.files(item_id)[0]["id"]
        addresses = {
            "api .*": f"{sandbox.api}/articles/{item_id}",
            "stats": f"{sandbox.stats}/total/views/article/{item_id}",
            "storage": sandbox.signed(file_id),
            "files": f"{sandbox.api}/articles/{item_id}/files",
            "versions": f"{sandbox.api}/articles/{item_id}/versions",
            "listing": f"{sandbox.api}/articles?page_size=4",
            "cursor": f"{sandbox.api}/articles?page_size=4",
            "owner": f"{sandbox.api}/account/articles/{item_id}",
            "account": f"{sandbox.api}/account",
            "bytes": sandbox.signed(file_id),
        }
        address = addresses.get(name.partition("-")[0], addresses["api .*"])
        is_part = name == "bytes-other-etag"
        headers = {
            **(AUTHORISED if "owner" in name or "account" in name else {}),
            **({"Range": "bytes=1-"} if is_part else {}),
        }

        async def ask() -> tuple[int, str, bytes]:
            async with session.get(address, headers=headers, auto_decompress=False) as response:
                said = f"{response.headers.get('X-Cursor')} {response.headers.get('ETag')}"
                return response.status, said, await response.read()

        if name == "cursor-dead":
            async with session.get(address, headers=headers) as response:
                headers["X-Cursor"] = response.headers["X-Cursor"]
        right = await ask()
        sandbox.doubts.begin(name, 1, item_id=item_id if "item" in name else 0)
        assert await ask() != right
        assert await ask() == right
        assert [seen.fault for seen in sandbox.requests[-3:]] == [None, name, None]
        sandbox.doubts.begin(name)
        assert await ask() == await ask() != right
        sandbox.doubts.end()
        assert await ask() == right


async def test_a_doubtful_answer_for_one_item_affects_no_other() -> None:
    async with browsing(items=10, heavy=0) as (sandbox, session):
        first, second = sandbox.world.public_ids[:2]
        sandbox.doubts.begin("item-gone", item_id=second)
        for item_id, status in ((first, 200), (second, 404)):
            async with session.get(f"{sandbox.api}/articles/{item_id}") as response:
                assert response.status == status
                assert orjson.loads(await response.read())
        file_ids = [sandbox.world.files(item_id)[-1]["id"] for item_id in (first, second)]
        sandbox.doubts.begin("storage-451", item_id=second)
        for file_id, status in zip(file_ids, (200, 451), strict=True):
            async with session.get(sandbox.signed(file_id)) as response:
                assert response.status == status


async def test_a_sandbox_can_start_with_doubtful_answers() -> None:
    async with browsing(items=2, doubts={"record-null": 1}) as (sandbox, session):
        address = f"{sandbox.api}/articles/{sandbox.world.public_ids[0]}"
        async with session.get(address) as response:
            assert await response.read() == b"null"
        async with session.get(address) as response:
            assert orjson.loads(await response.read())["id"] == sandbox.world.public_ids[0]


async def test_faults_can_be_changed_while_the_sandbox_serves() -> None:
    async with browsing(items=2) as (sandbox, session):
        address = f"{sandbox.api}/articles/{sandbox.world.public_ids[0]}"
        statuses = []
        for faults in ({}, {"503": 1.0}, {}):
            sandbox.meet(faults)
            async with session.get(address) as response:
                statuses.append(response.status)
        assert statuses == [200, 503, 200]
