"""Where a harvest lives: nearly full disks, folders that may only be read, odd locks, other locales."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from harvester import harvest, load_config
from harvester.config import Config
from harvester.connecting import Surroundings
from harvester.errors import DiskTrouble, NoRoom
from harvester.models import RemoteFile
from harvester.sandbox import Sandbox, Settings
from harvester.store import BUFFER_SIZE, Store
from tests.truth import assert_complete, rows

pytestmark = pytest.mark.anyio


def config(sandbox: Sandbox, folder: Path, **more: object) -> Config:
    options = {
        "output": str(folder),
        "services.api": sandbox.api,
        "services.stats": sandbox.stats,
        "rate.api": float("inf"),
        "rate.stats": float("inf"),
        "rate.files": float("inf"),
        "sources": [{"kind": "search", "query": "survey"}],
        **more,
    }
    return load_config(options=options, environ={})


# -- room ---------------------------------------------------------------------------------------------


def of_size(file_id: int, size: int) -> RemoteFile:
    md5 = hashlib.md5(bytes(size), usedforsecurity=False).hexdigest()
    return RemoteFile(file_id, "x.bin", "", size, md5, "", is_link=False)


async def test_what_is_set_aside_for_a_file_shrinks_as_it_is_written(tmp_path: Path) -> None:
    size = 4 * BUFFER_SIZE
    free = size + 10
    store = Store(tmp_path, free_bytes=lambda _: free)
    partial = await store.partial(1, of_size(10, size))
    with partial.reserve():
        with pytest.raises(NoRoom, match="11 bytes are needed and 10 are free"), store.reserve(11):
            pass
        for _ in range(3):
            await partial.write(bytes(BUFFER_SIZE))
            free -= BUFFER_SIZE  # as the disk tells
        with store.reserve(10):
            pass
        await partial.start_over()
        free += 3 * BUFFER_SIZE
        with pytest.raises(NoRoom), store.reserve(11):
            pass
    with store.reserve(size):
        pass
    await partial.close()


async def test_a_file_that_goes_on_needs_room_only_for_the_rest(tmp_path: Path) -> None:
    size = 4 * BUFFER_SIZE
    first = await Store(tmp_path).partial(1, of_size(10, size))
    for _ in range(3):
        await first.write(bytes(BUFFER_SIZE))
    await first.close()
    partial = await Store(tmp_path, free_bytes=lambda _: BUFFER_SIZE).partial(1, of_size(10, size))
    with partial.reserve():
        await partial.write(bytes(BUFFER_SIZE))
        await partial.publish("files/1/x.bin")
    await partial.close()
    assert (tmp_path / "files/1/x.bin").stat().st_size == size


async def test_nobody_is_told_of_less_than_no_room(tmp_path: Path) -> None:
    free = 100
    store = Store(tmp_path, free_bytes=lambda _: free)
    with store.reserve(100):
        free = 20  # somebody else has written
        with pytest.raises(NoRoom, match="5 bytes are needed and 0 are free"), store.reserve(5):
            pass


async def test_a_shortage_that_passed_does_not_end_the_run(tmp_path: Path) -> None:
    asked = 0

    def free(_: Path) -> int:
        nonlocal asked
        asked += 1
        return 0 if asked <= 3 else 10**12

    async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
        told = config(sandbox, tmp_path)
        summary = await harvest(told, surroundings=Surroundings(free_bytes=free))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        with pytest.raises(DiskTrouble, match="bytes are needed and 0 are free"):
            await harvest(
                config(sandbox, tmp_path / "other"), surroundings=Surroundings(free_bytes=lambda _: 0)
            )
        assert rows(tmp_path / "other" / "failures.csv")
