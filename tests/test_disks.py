"""Disks that are full, read-only, gone, or know no locks: the run ends clearly and the next one completes."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from harvester.sandbox import Sandbox, Settings
from tests.conftest import Ended, at, environment, harvester, started
from tests.test_death import (
    assert_no_file_looks_whole_and_is_not,
    assert_nothing_recorded_was_asked_for_again,
    recorded,
)
from tests.truth import assert_complete

pytestmark = pytest.mark.anyio

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


class Disk:
    """A small disk of its own, which can be filled, made read-only and taken away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.out = path / "out"

    async def remount(self, options: str) -> None:
        await anyio.run_process(["mount", "-o", f"remount,{options}", str(self.path)])

    def fill(self, leave: int) -> None:
        """Leave so many bytes free."""
        with (self.path / "filler").open("ab") as filler:
            free = shutil.disk_usage(self.path).free
            if free > leave:
                filler.write(bytes(free - leave))

    def empty(self) -> None:
        (self.path / "filler").unlink()


@asynccontextmanager
async def mounted(folder: Path, size: str) -> AsyncIterator[Disk]:
    path = folder / "disk"
    path.mkdir()
    done = await anyio.run_process(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False
    )
    if done.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        yield Disk(path)
    finally:
        await anyio.run_process(["umount", "-l", str(path)], check=False)


def assert_stopped(ended: Ended, *words: str) -> None:
    """Assert that it could not go on, and said why in one line."""
    assert ended.status == 3, ended.err
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("harvester: ")
    for word in words:
        assert word in last


async def assert_next_run_completes(
    disk: Disk, sandbox: Sandbox, words: tuple[object, ...], ids: list[int]
) -> None:
    moment = recorded(disk.out, sandbox)
    if (disk.out / "files").exists():
        assert_no_file_looks_whole_and_is_not(disk.out, sandbox)
    ended = await harvester(*words)
    assert ended.status == 0, ended.err
    assert_complete(disk.out, sandbox, ids)
    assert_nothing_recorded_was_asked_for_again(sandbox, [moment])


@root
async def test_full_in_the_ledger(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=300, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", disk.out)
        disk.fill(leave=700_000)
        ended = await harvester(*words, *at(sandbox))
        assert_stopped(ended, "harvest.db", "run again")
        assert 0 < len(recorded(disk.out, sandbox).records) < 290
        disk.empty()
        moment = recorded(disk.out, sandbox)
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_nothing_recorded_was_asked_for_again(sandbox, [moment])


@root
async def test_full_in_a_file(tmp_path: Path) -> None:
    """Others fill the disk after the room for the file was found to be there."""
    async with (
        mounted(tmp_path, "40m") as disk,
        Sandbox(Settings(items=60, heavy=1, heavy_size=12_000_000)) as sandbox,
    ):
        ids = list(sandbox.world.search("survey"))
        words = ("run", "--search", "survey", "-o", disk.out, *at(sandbox))
        heavy = sandbox.world.with_trait("heavy")[0]
        first = ("run", "--item", str(heavy), "--tasks", "metadata", "-o", disk.out, *at(sandbox))
        assert (await harvester(*first)).status == 0
        sandbox.settings = Settings(items=60, heavy_size=12_000_000, latency=0.3)
        async with started(words) as process:
            while not list(disk.out.glob(".partial/*")):
                await anyio.sleep(0.005)
            disk.fill(leave=0)
            assert await process.wait() == 3
        disk.empty()
        sandbox.settings = Settings(items=60, heavy_size=12_000_000)
        await assert_next_run_completes(disk, sandbox, words, ids)


@root
async def test_full_in_an_export(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=300, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", disk.out, *at(sandbox))
        assert (await harvester(*words)).status == 0
        tables = {
            name: (disk.out / name).read_bytes() for name in ("metadata.jsonl", "items.csv", "files.csv")
        }
        disk.fill(leave=100_000)
        ended = await harvester("export", "-o", disk.out)
        assert_stopped(ended, "metadata.jsonl", "make room")
        assert {name: (disk.out / name).read_bytes() for name in tables} == tables, "the old ones stay whole"
        assert not list(disk.out.glob(".*.new"))
        ended = await harvester(*words)
        assert_stopped(ended, "run again")
        disk.empty()
        asked = len(sandbox.requests)
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert {seen.service for seen in sandbox.requests[asked:]} <= {"api"}  # the listing at most
        assert {name: (disk.out / name).read_bytes() for name in tables} == tables


@root
async def test_read_only_from_the_beginning(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", disk.out, *at(sandbox))
        await disk.remount("ro")
        assert_stopped(await harvester(*words), "Read-only file system")
        assert sandbox.requests == []
        await disk.remount("rw")
        await assert_next_run_completes(disk, sandbox, words, list(sandbox.world.search("survey")))
        await disk.remount("ro")
        assert (await harvester("status", "-o", disk.out)).status == 0
        assert_stopped(await harvester(*words), "run again")
        assert_stopped(await harvester("export", "-o", disk.out), "Read-only file system")


@root
async def test_a_disk_that_fails_in_the_midst(tmp_path: Path) -> None:
    image, path = tmp_path / "image", tmp_path / "disk"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for words in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(path)]):
        if shutil.which(words[0]) is None or (await anyio.run_process(words, check=False)).returncode:
            pytest.skip("this machine does not let a test mount an image")
    disk = Disk(path)
    (path / "lost+found").rmdir()
    try:
        async with Sandbox(Settings(items=300, heavy=0)) as sandbox:
            run = ("run", "--search", "survey", "-o", disk.out)
            async with started((*run, *at(sandbox, rate="60"))) as process:
                await anyio.sleep(2.5)
                shut_down(path)
                with anyio.fail_after(20):
                    assert await process.wait() == 3
            await anyio.run_process(["umount", str(path)])
            await anyio.run_process(["mount", "-o", "loop", str(image), str(path)])
            ids = list(sandbox.world.search("survey"))
            await assert_next_run_completes(disk, sandbox, (*run, *at(sandbox)), ids)
    finally:
        await anyio.run_process(["umount", "-l", str(path)], check=False)


def shut_down(mount_point: Path) -> None:
    """Make a mounted ext4 fail every further request, as a disk that is pulled out."""
    handle = os.open(mount_point, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, 0x8004587D, struct.pack("I", 2))  # EXT4_IOC_SHUTDOWN, without a last flush
    finally:
        os.close(handle)


async def test_a_folder_that_vanishes_stops_the_run_and_is_gone_on_with_when_it_is_back(
    tmp_path: Path,
) -> None:
    """Without files in flight only the ledger can notice: SQLite writes on into what nobody finds."""
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=300, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="60"))) as process:
            await anyio.sleep(2.5)
            disk.out.rename(tmp_path / "elsewhere")
            with anyio.fail_after(15):
                assert await process.wait() == 3
        assert not disk.out.exists(), "nothing is made anew in its place"
        (tmp_path / "elsewhere").rename(disk.out)
        moment = recorded(disk.out, sandbox)
        assert moment.records
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_nothing_recorded_was_asked_for_again(sandbox, [moment])


async def test_a_folder_that_vanishes_under_a_download_stops_the_run(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=200, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="60"))) as process:
            await anyio.sleep(2.5)
            disk.out.rename(tmp_path / "elsewhere")
            with anyio.fail_after(15):
                assert await process.wait() == 3
        assert not disk.out.exists(), "nothing is made anew in its place"
        (tmp_path / "elsewhere").rename(disk.out)
        await assert_next_run_completes(
            disk, sandbox, (*words, *at(sandbox)), list(sandbox.world.search("survey"))
        )


# -- no locks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which no file of a test can be locked, as on a cluster's file system mounted so."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to play a file system without locks")
    library = tmp_path_factory.mktemp("no_locks") / "no_locks.so"
    source = Path(__file__).parent / "no_locks.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "NO_LOCKS_BELOW": str(tmp_path_factory.getbasetemp())}


async def test_without_locks_a_killed_run_is_gone_on_with(tmp_path: Path, no_locks: dict[str, str]) -> None:
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=200, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="60")), **no_locks) as process:
            await anyio.sleep(3)
            process.kill()
            await process.wait()
        moment = recorded(disk.out, sandbox)
        assert len(moment.records) > 20
        env = environment(**no_locks)
        ended = await harvester(*words, *at(sandbox), env=env)
        assert ended.status == 0, ended.err
        assert ended.err.count("no file locks on this file system") == 1
        assert_complete(disk.out, sandbox, sandbox.world.search("survey"))
        assert_nothing_recorded_was_asked_for_again(sandbox, [moment])
        assert not list(disk.out.glob("*claim*")) + list(disk.out.glob(".*probe"))
        with_locks = await harvester("verify", "-o", disk.out)
        assert with_locks.status == 0, with_locks.err


async def test_without_locks_a_second_run_is_refused_and_status_works(
    tmp_path: Path, no_locks: dict[str, str]
) -> None:
    async with Sandbox(Settings(items=200, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox, rate="40"))
        env = environment(**no_locks)
        async with started(words, **no_locks) as process:
            await anyio.sleep(2)
            ended = await harvester(*words, env=env)
            assert_stopped(ended, f"another run (process {process.pid} on")
            for _ in range(5):
                told = await harvester("status", "-o", tmp_path, env=env)
                assert told.status == 0, told.err
                assert f"running by process {process.pid}" in told.out
            assert process.returncode is None


async def test_a_folder_written_with_locks_is_gone_on_with_where_there_are_none(
    tmp_path: Path, no_locks: dict[str, str]
) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        assert (await harvester(*words, env=environment(**no_locks))).status == 0
        assert (await harvester("status", "-o", tmp_path)).status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
