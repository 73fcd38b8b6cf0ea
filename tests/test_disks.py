"""Disks that are full, read-only, gone, or know no locks: the run ends clearly and the next one completes."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from harvester.errors import FolderLocked
from harvester.ledger.database.connection import NAME
from harvester.ledger.database.heartbeat import Heartbeat, Watch, new_beat
from harvester.ledger.database.lease_file import LeaseFile, is_leased, locks_work
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.sandbox import Sandbox, Settings
from harvester.storage.local.reservation import free_bytes
from harvester.system.process import this_process
from tests.support.death import (
    assert_no_file_looks_whole_and_is_not,
    assert_nothing_recorded_was_requested_again,
    recorded,
)
from tests.support.program import Ended, at, environment, harvester, started
from tests.support.truth import assert_complete
from tests.support.waiting import until

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
        """Leave this number of bytes free."""
        with (self.path / "filler").open("ab", buffering=0) as filler:
            while (free := shutil.disk_usage(self.path).free) > leave:
                with suppress(OSError):  # the program was faster
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
    assert_nothing_recorded_was_requested_again(sandbox, [moment])


@root
async def test_full_in_the_ledger(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=100, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", disk.out)
        disk.fill(leave=450_000)
        slowly = at(sandbox, rate="120")  # so that some of it is recorded first
        ended = await harvester(*words, *slowly)
        assert_stopped(ended, "harvest.db", "run again")
        assert 0 < len(recorded(disk.out, sandbox).records) < 98
        disk.empty()
        moment = recorded(disk.out, sandbox)
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_nothing_recorded_was_requested_again(sandbox, [moment])


@root
async def test_full_in_a_file(tmp_path: Path) -> None:
    """Others fill the disk after the room for the file was found to be there."""
    async with (
        mounted(tmp_path, "20m") as disk,
        Sandbox(Settings(items=5, heavy=1, heavy_size=6_000_000)) as sandbox,
    ):
        ids = list(sandbox.world.search("survey"))
        words = ("run", "--search", "survey", "-o", disk.out, *at(sandbox))
        heavy = sandbox.world.with_trait("heavy")[0]
        first = ("run", "--item", str(heavy), "--tasks", "metadata", "-o", disk.out, *at(sandbox))
        assert (await harvester(*first)).status == 0
        sandbox.settings = replace(sandbox.settings, latency=0.3)
        async with started(words) as process:
            while not sandbox.requests_to("files"):  # its room was found, and its bytes are still to come
                await anyio.sleep(0.005)
            disk.fill(leave=0)
            assert await process.wait() == 3
        disk.empty()
        sandbox.settings = replace(sandbox.settings, latency=0.0)
        await assert_next_run_completes(disk, sandbox, words, ids)


@root
async def test_full_in_an_export(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=60, heavy=0)) as sandbox:
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
    async with mounted(tmp_path, "20m") as disk, Sandbox(Settings(items=5, heavy=0)) as sandbox:
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
async def test_an_old_ledger_on_a_read_only_disk_is_read_from_a_copy(tmp_path: Path) -> None:
    async with mounted(tmp_path, "20m") as disk:
        with closing(sqlite3.connect(disk.path / NAME)) as db, db:
            db.executescript(f"PRAGMA journal_mode = WAL; {MIGRATIONS[0]} PRAGMA user_version = 1;")
            db.execute("INSERT INTO runs VALUES (1, 'harvest', '', '', 'finished', '', 1, 0)")
        await disk.remount("ro")
        done = await harvester("status", "-o", disk.path)
        assert (done.status, done.err) == (0, ""), "of a copy"
        assert_stopped(await harvester("export", "-o", disk.path), "Read-only file system")
        ended = await harvester("run", "--item", "1", "-o", disk.path)
        assert_stopped(ended, "on a disk that can be written")
        await disk.remount("rw")
        assert (await harvester("status", "-o", disk.path)).status == 0
        await disk.remount("ro")
        assert (await harvester("status", "-o", disk.path)).status == 0


async def mount_image(image: Path, path: Path) -> None:
    """Make a disk with ext4 in a file, and mount it."""
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for words in (["mkfs.ext4", "-q", str(image)], ["mount", "-o", "loop", str(image), str(path)]):
        if shutil.which(words[0]) is None or (await anyio.run_process(words, check=False)).returncode:
            pytest.skip("this machine does not let a test mount an image")
    (path / "lost+found").rmdir()


@root
async def test_a_file_that_a_failing_disk_cannot_read_is_not_reported_as_missing(tmp_path: Path) -> None:
    """The files are on a disk of their own, which fails; the ledger is not."""
    image, out = tmp_path / "image", tmp_path / "out"
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", out, *at(sandbox))
        assert (await harvester(*words)).status == 0
    (out / "files").rename(tmp_path / "files")
    await mount_image(image, out / "files")
    try:
        shutil.copytree(tmp_path / "files", out / "files", dirs_exist_ok=True)
        assert (await harvester("verify", "-o", out)).status == 0
        shut_down(out / "files")
        assert_stopped(await harvester("verify", "-o", out), "Input/output error; check the disk")
        with closing(sqlite3.connect(out / NAME)) as db:
            assert db.execute("SELECT count(*) FROM files WHERE status = 'pending'").fetchone() == (0,)
            last = db.execute("SELECT job, outcome FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            assert last == ("verify", "stopped")
    finally:
        await anyio.run_process(["umount", "-l", str(out / "files")], check=False)


@root
async def test_a_disk_that_fails_during_a_run(tmp_path: Path) -> None:
    image, path = tmp_path / "image", tmp_path / "disk"
    await mount_image(image, path)
    disk = Disk(path)
    try:
        async with Sandbox(Settings(items=16, heavy=0)) as sandbox:
            run = ("run", "--search", "survey", "-o", disk.out)
            async with started((*run, *at(sandbox, rate="60"))) as process:
                await until(lambda: len(sandbox.requests_to("storage")) > 12)
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


async def test_a_vanished_folder_stops_the_run_which_continues_when_it_is_back(
    tmp_path: Path,
) -> None:
    """Without files in flight only the ledger can notice: SQLite writes on into a file without a path."""
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="30"))) as process:
            await until(lambda: len(sandbox.requests_to("stats")) > 12)
            disk.out.rename(tmp_path / "elsewhere")
            with anyio.fail_after(15):
                assert await process.wait() == 3
        assert not disk.out.exists(), "nothing is created in its place"
        (tmp_path / "elsewhere").rename(disk.out)
        moment = recorded(disk.out, sandbox)
        assert moment.records
        ended = await harvester(*words, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_nothing_recorded_was_requested_again(sandbox, [moment])


async def test_a_folder_that_vanishes_under_a_download_stops_the_run(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="60"))) as process:
            await until(lambda: len(sandbox.requests_to("storage")) > 12)
            disk.out.rename(tmp_path / "elsewhere")
            with anyio.fail_after(15):
                assert await process.wait() == 3
        assert not disk.out.exists(), "nothing is created in its place"
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
    source = Path(__file__).parent / "support" / "no_locks.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "NO_LOCKS_BELOW": str(tmp_path_factory.getbasetemp())}


def claim_of(pid: int, folder: Path, name: str = "harvest.db.claim") -> Path:
    """Leave what a process `pid` of this machine, which began with it, would leave in `folder`."""
    path = folder / name
    path.write_text(f"{socket.gethostname()} {pid} {this_process().machine} 1 0123 {new_beat()}")
    return path


def claim_file(folder: Path, seconds: float = 0.3) -> LeaseFile:
    """Make a claim's owner, who watches another one's heartbeat for so long."""
    return LeaseFile(folder, Watch(folder, seconds=seconds))


def pid_of_the_dead() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
        return process.pid


@root
async def test_a_full_disk_leaves_no_empty_lease_behind(tmp_path: Path) -> None:
    async with mounted(tmp_path, "1m") as disk:
        disk.fill(leave=0)
        with pytest.raises(OSError, match="No space left"):
            claim_file(disk.path).take()
        assert not is_leased(disk.path), "the next run would wait for it"
        disk.empty()
        claim_file(disk.path).take()
        assert is_leased(disk.path)


def test_of_two_runs_that_find_a_stale_lease_the_slower_leaves_the_new_one_alone(tmp_path: Path) -> None:
    claim_of(pid_of_the_dead(), tmp_path)
    slow, fast = claim_file(tmp_path), claim_file(tmp_path)
    judged = slow.find_stale()
    assert judged is not None
    fast.take()
    slow.remove(judged)
    assert fast.renew(), "the folder is still held by the faster one"
    assert [path.name for path in tmp_path.iterdir()] == ["harvest.db.claim"]


def test_a_lease_that_cannot_be_restored_is_lost_and_its_owner_notices(tmp_path: Path) -> None:
    fast, slow, third = claim_file(tmp_path), claim_file(tmp_path), claim_file(tmp_path)
    fast.take()
    aside = (tmp_path / "harvest.db.claim").rename(tmp_path / "aside")
    third.take()
    slow._put_back(aside)
    assert third.renew()
    assert not fast.renew()
    assert [path.name for path in tmp_path.iterdir()] == ["harvest.db.claim"]


def test_a_stale_lease_with_a_new_heartbeat_is_left_alone(tmp_path: Path) -> None:
    first, second = claim_file(tmp_path), claim_file(tmp_path)
    first.take()
    judged = second.find_stale()  # it was stopped for a while
    assert judged is not None
    assert first.renew()
    second.remove(judged)
    assert first.renew()


def test_a_lease_with_a_changing_heartbeat_is_never_taken_over(tmp_path: Path) -> None:
    mine = claim_file(tmp_path)
    mine.take()
    path = tmp_path / "harvest.db.claim"

    def beat() -> bool:
        is_held = mine.renew()
        age(path, seconds=90)  # as where the server's clock stands still, and another day
        return is_held

    heartbeat = Heartbeat(beat, seconds=0.1)
    heartbeat.start()
    with pytest.raises(FolderLocked, match="is using this folder"):
        claim_file(tmp_path, seconds=5).take()
    heartbeat.stop()
    claim_file(tmp_path).take()
    assert not mine.renew(), "it stood still, and was taken over"


@pytest.mark.parametrize("text", ["", "half a", "a host 1 2", "\xff\x00\x00", f"elsewhere 1 {'0' * 16}"])
def test_an_unreadable_lease_is_judged_by_whether_it_changes(text: str, tmp_path: Path) -> None:
    path = tmp_path / "harvest.db.claim"
    path.write_text(text, encoding="latin-1")

    def beat() -> bool:
        path.touch()  # as an earlier version does
        return True

    heartbeat = Heartbeat(beat, seconds=0.05)
    heartbeat.start()
    with pytest.raises(FolderLocked, match="another run"):
        claim_file(tmp_path).take()
    heartbeat.stop()
    claim_file(tmp_path).take()


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_probes_of_dead_processes_are_removed(tmp_path: Path) -> None:
    here, parent = socket.gethostname(), os.getppid()
    dead = claim_of(1, tmp_path, f".harvest.{here}.{pid_of_the_dead()}.probe")
    alive = claim_of(1, tmp_path, f".harvest.{here}.{parent}.probe")
    elsewhere = claim_of(1, tmp_path, ".harvest.node7.cluster.9.probe")
    ancient = claim_of(1, tmp_path, ".harvest.node8.cluster.9.probe")
    age(ancient, seconds=3700)
    other = claim_of(1, tmp_path, ".harvest.notes")
    assert locks_work(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, other])
    assert not dead.exists()


async def test_the_rests_of_a_run_killed_before_it_has_a_ledger_do_not_block_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    dead = pid_of_the_dead()
    claim_of(dead, out)
    claim_of(dead, out, f".harvest.{socket.gethostname()}.{dead}.probe")
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("--item", str(sandbox.world.public_ids[0]), "--tasks", "stats", *at(sandbox))
        ended = await harvester("run", *words, "-o", out)
        assert ended.status == 0, ended.err
        assert not list(out.glob(".harvest.*"))
        photos = tmp_path / "photos"
        photos.mkdir()
        claim_of(dead, photos)
        (photos / "cat.jpg").write_text("meow")
        ended = await harvester("run", *words, "-o", photos)
        assert ended.status == 2
        assert "is not empty and holds no harvest" in ended.err


async def test_without_locks_the_rests_of_a_killed_run_do_not_block_the_next(
    tmp_path: Path, no_locks: dict[str, str]
) -> None:
    claim_of(pid_of_the_dead(), tmp_path)
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("run", "--item", str(sandbox.world.public_ids[0]), "--tasks", "stats", *at(sandbox))
        ended = await harvester(*words, "-o", tmp_path, env=environment(**no_locks))
        assert ended.status == 0, ended.err
        assert not list(tmp_path.glob("*claim*"))


async def test_without_locks_a_killed_run_is_continued(tmp_path: Path, no_locks: dict[str, str]) -> None:
    disk = Disk(tmp_path)
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", disk.out)
        async with started((*words, *at(sandbox, rate="60")), **no_locks) as process:
            await until(lambda: len(sandbox.requests_to("stats")) > 16)
            process.kill()
            await process.wait()
        moment = recorded(disk.out, sandbox)
        assert moment.records
        env = environment(**no_locks)
        ended = await harvester(*words, *at(sandbox), env=env)
        assert ended.status == 0, ended.err
        assert ended.err.count("no file locks on this file system") == 1
        assert_complete(disk.out, sandbox, sandbox.world.search("survey"))
        assert_nothing_recorded_was_requested_again(sandbox, [moment])
        assert not list(disk.out.glob("*claim*")) + list(disk.out.glob(".*probe"))
        with_locks = await harvester("verify", "-o", disk.out)
        assert with_locks.status == 0, with_locks.err


async def test_without_locks_a_ledger_is_rebuilt(tmp_path: Path, no_locks: dict[str, str]) -> None:
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("run", "--item", str(sandbox.world.public_ids[0]), *at(sandbox), "-o", tmp_path)
        env = environment(**no_locks)
        assert (await harvester(*words, env=env)).status == 0
        ended = await harvester(*words, "--rebuild", env=env)
        assert ended.status == 0, ended.err
        assert list(tmp_path.glob("harvest.db.before-rebuild-*")), "it was whole"
        assert not list(tmp_path.glob("*claim*"))


async def test_without_locks_a_second_run_is_refused_and_status_works(
    tmp_path: Path, no_locks: dict[str, str]
) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox, rate="2"))
        env = environment(**no_locks)
        async with started(words, **no_locks) as process:
            await until(lambda: bool(sandbox.requests))
            ended = await harvester(*words, env=env)
            assert_stopped(ended, f"another run (process {process.pid} on")
            for _ in range(2):
                done = await harvester("status", "-o", tmp_path, env=env)
                assert done.status == 0, done.err
                assert f"running by process {process.pid}" in done.out
            assert process.returncode is None


async def test_a_folder_written_with_locks_is_continued_without_locks(
    tmp_path: Path, no_locks: dict[str, str]
) -> None:
    async with Sandbox(Settings(items=6, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        assert (await harvester(*words, env=environment(**no_locks))).status == 0
        assert (await harvester("status", "-o", tmp_path)).status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


def test_a_file_system_without_a_size_is_not_a_full_one() -> None:
    assert shutil.disk_usage("/proc").total == 0, "as some network file systems say, too"
    assert free_bytes(Path("/proc")) > 1 << 60
