"""
Two at one file: a run that was thought dead wakes up while its successor goes on with what it left.

No process writes to what another one has open, what is published is what was proven, and a run that has lost
the folder moves and removes nothing in it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from harvester.errors import FolderLocked, StorageError
from harvester.ledger.ledger import Ledger
from harvester.sandbox import Sandbox, Settings
from harvester.storage.atomic_file import atomic_write
from harvester.storage.local.partial import Partial
from harvester.storage.local.partial_owner import FREE, Ownership, PartName, new_owner
from harvester.storage.local.store import Store
from harvester.storage.orphans import delete_orphans
from harvester.storage.protocol import held_bytes
from tests.support.program import at, harvester, started
from tests.support.stores import fill, held_partial_of, opened, partial_of, remote
from tests.support.truth import assert_complete
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

MB = 1_000_000
CONTENT = os.urandom(6 * MB)
FILE = remote(5, "x", content=CONTENT)
MD5 = "0" * 32


async def bring(partial: Partial, until: int) -> None:
    """Bring bytes up to some place, as far as they are on the disk."""
    while partial.received < until:
        await partial.write(CONTENT[partial.received : min(until, partial.received + 100_000)])
    await partial.flush()


async def finish(partial: Partial, path: str) -> None:
    while partial.received < len(CONTENT):
        if partial.received < partial.segments().begin:
            await bring(partial, partial.segments().begin)
        else:
            await partial.segments().absorb()
    await partial.commit(path)
    await partial.abort()


# -- two stores, one partial file -------------------------------------------------------------------------


@pytest.mark.parametrize("is_second_first", [True, False])
async def test_a_resumed_process_that_restarts_does_not_harm_its_successor(
    is_second_first: bool, tmp_path: Path
) -> None:
    first = await opened(Store(tmp_path), 1, FILE)
    await bring(first, 3 * MB)
    second = await opened(Store(tmp_path), 1, FILE)
    assert second.received == 3 * MB, "what is here is gone on with"
    await bring(second, 5 * MB)
    await first.start_over()
    await bring(first, MB)
    in_turn = [(second, "files/1/b"), (first, "files/1/a")]
    for partial, path in in_turn if is_second_first else reversed(in_turn):
        await finish(partial, path)
    assert (tmp_path / "files/1/a").read_bytes() == CONTENT
    assert (tmp_path / "files/1/b").read_bytes() == CONTENT
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_a_resumed_process_cannot_change_published_files(tmp_path: Path) -> None:
    first = await opened(Store(tmp_path), 1, FILE)
    await bring(first, 4 * MB)
    await finish(await opened(Store(tmp_path), 1, FILE), "files/1/x")
    await first.start_over()
    await first.write(b"of another version")
    await first.abort()
    assert (tmp_path / "files/1/x").read_bytes() == CONTENT


async def test_segments_have_their_owner_too(tmp_path: Path) -> None:
    first = await opened(Store(tmp_path), 1, FILE)
    await bring(first, MB)
    piece = first.segments().divide(3 * MB)
    assert piece is not None
    await piece.write(CONTENT[3 * MB : 5 * MB])
    await piece.release()
    second = await opened(Store(tmp_path), 1, FILE)
    assert (second.received, second.segments().begin, held_bytes(second)) == (MB, 3 * MB, 3 * MB)
    await first.start_over()
    piece = first.segments().divide(2 * MB)
    assert piece is not None
    await piece.write(bytes(2 * MB))
    await piece.release()
    await finish(second, "files/1/x")
    await first.start_over()
    await finish(first, "files/1/y")
    for path in ("x", "y"):
        assert (tmp_path / "files/1" / path).read_bytes() == CONTENT
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize(
    "owner", ["", f".{'0' * 8}-1-{'0' * 8}"], ids=["an older release", "another machine"]
)
async def test_a_partial_file_that_may_be_open_is_copied(owner: str, tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    old = partial_of(tmp_path, FILE, owner)
    old.write_bytes(CONTENT[: 2 * MB])
    piece = old.with_name(f"{old.stem}@{4 * MB}.part")
    piece.write_bytes(CONTENT[4 * MB : 5 * MB])
    with old.open("r+b") as main, piece.open("r+b") as later:
        second = await opened(Store(tmp_path), 1, FILE)
        assert (second.received, second.segments().begin, held_bytes(second)) == (2 * MB, 4 * MB, 3 * MB)
        for handle in (main, later):
            handle.truncate(5)
            handle.write(b"something else")
            handle.flush()
        await finish(second, "files/1/x")
        main.truncate(0)
    assert (tmp_path / "files/1/x").read_bytes() == CONTENT
    assert list((tmp_path / ".partial").iterdir()) == []


LEAVES = """
import anyio, os, sys
from pathlib import Path
from harvester.storage.local.store import Store
from harvester.storage.protocol import Expected

async def main():
    expected = Expected(1, 5, 6_000_000, sys.argv[2])
    partial = await Store(Path(sys.argv[1])).open("files/1/x", expected)
    await partial.write(bytes(2_000_000))
    await partial.flush()
    os._exit(9)

anyio.run(main)
"""


async def test_a_partial_file_of_an_ended_process_is_renamed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LEAVES, tmp_path, str(FILE.md5)], check=False)
    before = held_partial_of(tmp_path, FILE).stat()
    partial = await opened(Store(tmp_path, free_bytes=lambda _: 4 * MB), 1, FILE)
    after = held_partial_of(tmp_path, FILE).stat()
    assert (partial.received, after.st_ino) == (2 * MB, before.st_ino)
    await partial.abort()
    assert [path.name for path in tmp_path.glob(".partial/*")] == [partial_of(tmp_path, FILE).name]
    assert partial_of(tmp_path, FILE).stat().st_ino == before.st_ino, "what is let go of is, too"


async def test_without_space_for_a_copy_a_file_is_restarted(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    old = partial_of(tmp_path, FILE, "")
    old.write_bytes(CONTENT[: 3 * MB])
    store = Store(tmp_path, free_bytes=lambda _: 2 * MB if old.exists() else 6 * MB)
    partial = await opened(store, 1, FILE)
    assert partial.received in {0, 3 * MB}, "all of it where the file system has copies that take no room"
    await finish(partial, "files/1/x")
    assert (tmp_path / "files/1/x").read_bytes() == CONTENT
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_the_longest_of_several_partial_files_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".partial").mkdir()
    for owner, size in (("", MB), (f".{FREE}", 3 * MB), (f".{'0' * 8}-1-{'0' * 8}", 2 * MB)):
        partial_of(tmp_path, FILE, owner).write_bytes(CONTENT[:size])
    partial = await opened(Store(tmp_path), 1, FILE)
    assert partial.received == 3 * MB
    await finish(partial, "files/1/x")
    assert list((tmp_path / ".partial").iterdir()) == []


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(CONTENT)


@pytest.mark.parametrize("change", [replace, lambda path: os.truncate(path, 5 * MB)])
async def test_the_md5_is_that_of_the_bytes_on_disk(change: Callable[[Path], None], tmp_path: Path) -> None:
    partial = await opened(Store(tmp_path), 1, FILE)
    await bring(partial, len(CONTENT))
    change(held_partial_of(tmp_path, FILE))
    with pytest.raises(StorageError, match="was changed while it was written"):
        await partial.commit("files/1/x")
    await partial.abort()
    assert not (tmp_path / "files").exists()


def test_a_table_written_by_two_processes_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with pytest.raises(StorageError, match="another process writes it too"), atomic_write(path) as zombie:
        zombie.write(b"half of the o")
        with atomic_write(path) as handle:
            handle.write(b"the new table")
            zombie.write(b"ld table")
    assert path.read_bytes() == b"the new table"
    with pytest.raises(StorageError), atomic_write(path) as handle, atomic_write(path) as zombie:
        handle.write(b"lost")
        zombie.write(b"the last one")
    assert path.read_bytes() == b"the last one"
    assert list(tmp_path.iterdir()) == [path]


# -- whose it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begin", [None, 7])
@pytest.mark.parametrize("owner", ["", FREE, new_owner()], ids=["an older release", "free", "this process"])
def test_a_name_is_read_as_it_is_written(owner: str, begin: int | None) -> None:
    name = PartName(f"1-5-{MD5}", owner, begin)
    assert PartName.read(str(name)) == name
    assert name.is_for == (1, 5, MD5)


def test_the_ownership_of_partial_files() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own = new_owner()
    place, process, _ = own.split("-")
    assert int(process) == os.getpid()
    holds = {
        owner: PartName(f"1-5-{MD5}", owner).hold
        for owner in (own, FREE, "", f"{place}-{ended.pid}-{'0' * 8}", f"{'1' * 8}-{ended.pid}-{'0' * 8}")
    }
    assert list(holds.values()) == [
        Ownership.ALIVE, Ownership.FREE, Ownership.UNKNOWN, Ownership.FREE, Ownership.UNKNOWN,
    ]  # fmt: skip


# -- who has lost the folder ------------------------------------------------------------------------------


async def lost() -> None:
    raise FolderLocked("taken over")


async def test_a_run_that_lost_its_lease_moves_and_removes_nothing(tmp_path: Path) -> None:
    await fill(Store(tmp_path), remote(6, "y", content=b"abc"), b"abc", "files/1/y")
    partial_of(tmp_path, FILE).write_bytes(CONTENT[:MB])
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    zombie = Store(tmp_path, confirm=lost)

    async def is_of_use(*_: object) -> bool:
        return False

    for move in (
        fill(zombie, remote(7, "z", content=b"abc"), b"abc", "files/1/y"),
        zombie.duplicate("files/1/y", "files/1/z"),
        zombie.renames.take_out([("files/1/y", "files/1/z")]),
        zombie.renames.put_in(["files/1/y"]),
        delete_orphans(zombie, is_of_use),
        opened(zombie, 1, FILE),
    ):
        with pytest.raises(FolderLocked):
            await move
    after = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    assert before.items() <= after.items()
    assert [path.name[:4] for path in after.keys() - before.keys()] == ["1-7-"], "its own, which it let go of"


@pytest.mark.parametrize("size", [3, 9 * MB])
async def test_a_lease_lost_during_a_sync_publishes_no_file(size: int, tmp_path: Path) -> None:
    synced: list[int] = []

    async def confirm() -> None:
        if synced:
            await lost()

    content = bytes(size)
    with pytest.raises(FolderLocked):
        await fill_quickly(Store(tmp_path, sync=synced.append, confirm=confirm), content)
    assert synced
    assert not (tmp_path / "files").exists()


async def fill_quickly(store: Store, content: bytes) -> None:
    partial = await opened(store, 1, remote(5, "x", content=content))
    try:
        await partial.write(content)
        await partial.commit("files/1/x")
    finally:
        await partial.abort()


async def test_partial_files_of_running_processes_are_not_deleted(tmp_path: Path) -> None:
    first = await opened(Store(tmp_path), 1, FILE)
    await bring(first, MB)

    async def is_of_use(*_: object) -> bool:
        return False

    await delete_orphans(Store(tmp_path), is_of_use)
    await finish(first, "files/1/x")
    assert (tmp_path / "files/1/x").read_bytes() == CONTENT


async def test_a_run_knows_when_another_one_has_its_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open()
    await ledger.confirm()
    with closing(sqlite3.connect(ledger.path)) as db, db:
        db.execute("INSERT INTO runs (job, started, host, pid, beat) VALUES ('harvest', '', 'there', 1, 0)")
    with pytest.raises(FolderLocked, match="took this folder over"):
        await ledger.confirm()
    with pytest.raises(FolderLocked):
        await ledger.close("stopped")


async def test_a_suspended_run_resumes_while_another_continues_its_file(tmp_path: Path) -> None:
    settings = Settings(items=5, heavy=1, heavy_size=4 * MB, connection_rate=2.0 * MB)
    async with Sandbox(settings) as sandbox:
        (item,) = sandbox.world.with_trait("heavy")
        words = ("run", "--item", item, "--tasks", "metadata,files", "-o", tmp_path, *at(sandbox))

        def held() -> list[int]:
            return sorted(path.stat().st_size for path in tmp_path.glob(".partial/*.part"))

        async with started(words) as zombie:
            await until(lambda: sum(held()) >= MB)
            zombie.send_signal(signal.SIGSTOP)
            with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
                db.execute("UPDATE runs SET ended = 'for all that anybody knows', outcome = 'stopped'")
            async with started(words) as successor:
                await until(lambda: len(held()) == 2 and held()[-1] >= held()[0] + MB // 2)
                zombie.send_signal(signal.SIGCONT)
                with anyio.fail_after(60):
                    assert await successor.wait() == 0
                    assert await zombie.wait() == 3
        assert len(sandbox.requests_to("storage")) == 2, "the successor went on where the other one was"
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, [item], statistics=False)
