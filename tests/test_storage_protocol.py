"""The storage seam: a whole harvest into a second storage, which only implements the protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from harvester import harvest
from harvester.config import Config
from harvester.errors import CorruptBody
from harvester.jobs.services import RunHooks
from harvester.sandbox import Sandbox, Settings
from harvester.storage.protocol import Confirm, Expected, PartialUpload, renames_of
from tests.support.program import config
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


class MemoryUpload:
    """Bytes in memory; a failed upload leaves nothing behind."""

    def __init__(self, files: dict[str, bytes], expected: Expected) -> None:
        self.received = 0
        self.validator: str | None = None
        self._files = files
        self._expected = expected
        self._data = bytearray()

    async def write(self, data: bytes) -> None:
        self._data += data
        self.received = len(self._data)

    async def start_over(self) -> None:
        self._data.clear()
        self.received, self.validator = 0, None

    async def commit(self, key: str) -> None:
        md5 = hashlib.md5(self._data).hexdigest()
        if self.received != self._expected.size or self._expected.md5 not in {None, md5}:
            await self.start_over()
            raise CorruptBody(f"received md5 {md5}", md5=md5)
        self._files[key] = bytes(self._data)

    async def abort(self) -> None:
        self._data.clear()

    def segments(self) -> None:
        return None


class MemoryStorage:
    """Files in memory, by their keys."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def open(self, key: str, expected: Expected) -> MemoryUpload:
        assert key.startswith("files/")
        return MemoryUpload(self.files, expected)

    async def is_intact(self, key: str, size: int, md5: str | None) -> bool:
        data = self.files.get(key)
        return data is not None and len(data) == size and md5 in {None, hashlib.md5(data).hexdigest()}

    async def duplicate(self, source: str, key: str) -> bool:
        if source in self.files:
            self.files[key] = self.files[source]
        return source in self.files

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.files.pop(key, None)

    def free_bytes(self) -> int | None:
        return None

    async def partials(self) -> Sequence[PartialUpload]:
        return ()

    def hooks(self) -> RunHooks:
        def storage(_: Config, __: Confirm) -> MemoryStorage:
            return self

        return RunHooks(storage=storage)


def assert_true(storage: MemoryStorage, folder: Path, sandbox: Sandbox) -> int:
    """Every file that is done is in the storage with the sandbox's bytes, and nothing is on the disk."""
    done = [row for row in rows(folder / "files.csv") if row["status"] == "done"]
    assert storage.files == {row["path"]: sandbox.world.content(int(row["file_id"])) for row in done}
    assert not (folder / "files").exists()
    assert not (folder / ".partial").exists()
    return len(done)


async def test_a_complete_harvest_works_with_another_storage(tmp_path: Path) -> None:
    storage = MemoryStorage()
    faults = {"reset-body": 0.1, "wrong-md5": 0.1, "range-ignored": 0.1}
    async with Sandbox(Settings(items=34, heavy=1, heavy_size=200_000, faults=faults)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path), hooks=storage.hooks())
        assert summary.exit_status == 0
        assert assert_true(storage, tmp_path, sandbox) > 5
        asked = len(sandbox.requests_to("storage"))
        assert {seen.fault for seen in sandbox.requests} >= faults.keys() - {"range-ignored"}
        await harvest(config(sandbox, tmp_path), hooks=storage.hooks())
        assert len(sandbox.requests_to("storage")) == asked, "what is there is not fetched again"


async def test_versions_of_an_item_share_bytes_there_too(tmp_path: Path) -> None:
    storage = MemoryStorage()
    async with Sandbox(Settings(items=34, heavy=0)) as sandbox:
        sources = [{"kind": "items", "ids": [sandbox.world.with_trait("three versions")[0]]}]
        job = config(sandbox, tmp_path, sources=sources, versions="all", tasks=["metadata", "files"])
        assert (await harvest(job, hooks=storage.hooks())).exit_status == 0
        assert len(sandbox.requests_to("storage")) < assert_true(storage, tmp_path, sandbox)


async def test_without_renames_of_its_own_files_change_names_by_copy() -> None:
    storage = MemoryStorage()
    storage.files = {"files/1/a": b"a", "files/1/b": b"b"}
    renames = renames_of(storage)
    swapped = [("files/1/a", "files/1/b"), ("files/1/b", "files/1/a"), ("files/1/gone", "files/1/c")]
    for _ in range(2):  # a crash has them done again
        await renames.take_out(swapped)
    for _ in range(2):
        await renames.put_in([target for _, target in swapped])
    assert storage.files == {"files/1/a": b"b", "files/1/b": b"a"}
