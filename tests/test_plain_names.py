"""The current file has the plain name, the replaced one stays in its folder, and no crash loses either."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import FileResult, ItemResult, RunSpec
from harvester.ledger.tables.renames import FileRename
from harvester.models import (
    Article,
    ItemId,
    ItemKey,
    ItemRef,
    Page,
    PlannedFile,
    Record,
    RemoteFile,
    TaskResult,
)
from harvester.sandbox import Sandbox, Settings
from harvester.states import FileStatus, WorkState
from harvester.storage.local.store import Store
from harvester.storage.paths import safe_name
from harvester.tasks.placement import Placement
from tests.support.program import at, environment, harvester
from tests.support.truth import rows

pytestmark = pytest.mark.anyio

ITEMS = Settings(items=60, heavy=0)
TASKS = frozenset({"metadata"})


def files_of(folder: Path) -> dict[str, bytes]:
    root = folder / "files"
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


# -- a new version ------------------------------------------------------------------------------------


async def test_after_a_new_version_the_plain_name_holds_the_current_bytes(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world = sandbox.world
        item_id = next(each for each in world.public_ids if world.trait(each) == "")
        words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        old = world.files(item_id)[0]
        world.edit(item_id)
        new = world.files(item_id)[0]
        assert (old["name"], old["id"] != new["id"]) == (new["name"], True)
        sandbox.requests.clear()
        assert (await harvester(*words)).status == 0
        stem, _, suffix = old["name"].rpartition(".")
        here = files_of(tmp_path)
        assert here[f"{item_id}/{new['name']}"] == world.content(new["id"])
        assert here[f"{item_id}/{stem}~{old['id']}.{suffix}"] == world.content(old["id"])
        assert len(here) == len(world.files(item_id)) + 1
        assert [seen.path for seen in sandbox.requests_to("files")] == [f"/files/{new['id']}"]
        (change,) = rows(tmp_path / "changes.csv")
        assert change["files"].endswith(f"moved: {old['name']} to {stem}~{old['id']}.{suffix}")
        assert {row["status"] for row in rows(tmp_path / "files.csv")} == {"done"}
        assert (await harvester("verify", "-o", tmp_path)).status == 0


async def test_each_new_version_leaves_the_replaced_file_under_its_id(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world = sandbox.world
        item_id = next(each for each in world.public_ids if world.trait(each) == "")
        words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        expected = {}
        for _ in range(3):
            assert (await harvester(*words)).status == 0
            file = world.files(item_id)[0]
            stem, _, suffix = file["name"].rpartition(".")
            expected[f"{item_id}/{stem}~{file['id']}.{suffix}"] = world.content(file["id"])
            plain = f"{item_id}/{file['name']}"
            world.edit(item_id)
        expected[plain] = expected.pop(f"{item_id}/{stem}~{file['id']}.{suffix}")
        here = files_of(tmp_path)
        assert {path: here[path] for path in expected} == expected


async def test_a_file_that_is_not_fetched_frees_its_name_of_an_older_file(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world = sandbox.world
        item_id = next(each for each in world.public_ids if world.trait(each) == "")
        words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        old = world.files(item_id)[0]
        world.edit(item_id)
        assert (await harvester(*words, "--exclude", old["name"])).status == 0
        stem, _, suffix = old["name"].rpartition(".")
        here = files_of(tmp_path)
        assert f"{item_id}/{old['name']}" not in here
        assert here[f"{item_id}/{stem}~{old['id']}.{suffix}"] == world.content(old["id"])
        row = next(row for row in rows(tmp_path / "files.csv") if row["name"] == old["name"])
        assert (row["status"], row["reason"]) == ("skipped", "excluded by the file rules")
        assert (await harvester(*words)).status == 0
        assert files_of(tmp_path)[f"{item_id}/{old['name']}"] == world.content(world.files(item_id)[0]["id"])


# -- a harvest of the last table version -----------------------------------------------------------------


async def test_a_harvest_of_table_version_5_is_renamed_and_nothing_is_fetched_again(
    tmp_path: Path,
) -> None:
    fixtures = Path(__file__).parent / "fixtures"
    settings = Settings(items=30, private_items=2, colleague_items=0, heavy=0)
    async with Sandbox(settings) as sandbox:
        world = sandbox.world
        edited = [5_000_001 + 3 * number for number in (0, 1, 2, 3, 4, 6, 5, 18)]
        for item_id in edited:
            world.edit(item_id)
        before: Mapping[str, int] = json.loads((fixtures / "ledger-5.files.json").read_bytes())
        for path, file_id in before.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(world.content(file_id))
        (tmp_path / "harvest.db").write_bytes(lzma.decompress((fixtures / "ledger-5.db.xz").read_bytes()))
        words = ("--account", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester("run", *words)).status == 0
        assert sandbox.requests_to("files") == []
        assert not [seen for seen in sandbox.requests_to("api") if "/file/download/" in seen.path]
        here = files_of(tmp_path)
        assert sorted(map(hash_of, here.values())) == sorted(
            hash_of(world.content(file_id)) for file_id in before.values()
        )
        for item_id in [*world.public_ids, *world.private_ids]:
            names = [file["name"] for file in world.files(item_id)]
            alone = [name for name in names if sum(same(name, other) for other in names) == 1]
            for file in world.files(item_id):
                path = f"{item_id}/{safe_name(file['name'])}"
                if file["name"] in alone and path in here:
                    assert here[path] == world.content(file["id"]), path
        for item_id in edited:
            first = world.files(item_id)[0]
            row = next(row for row in rows(tmp_path / "files.csv") if row["file_id"] == str(first["id"]))
            assert (tmp_path / row["path"]).read_bytes() == world.content(first["id"])
        moved = {row["item_id"] for row in rows(tmp_path / "changes.csv") if "moved: " in row["files"]}
        assert moved == {str(item_id) for item_id in edited}
        assert (await harvester("verify", "-o", tmp_path)).status == 0
        assert (await harvester("run", *words)).status == 0
        assert files_of(tmp_path) == here
        assert rows(tmp_path / "changes.csv") == []


def same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def hash_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# -- crashes -------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class KillAt:
    """Makes files last, until the n-th time: then the process is killed."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, descriptor: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
        os.fsync(descriptor)


def remote(file_id: int, name: str, content: bytes) -> RemoteFile:
    url = f"https://ndownloader.figshare.com/files/{file_id}"
    return RemoteFile(file_id, name, "", len(content), hash_of(content), url, is_link=False)


def read(*files: PlannedFile) -> ItemResult:
    """A visit that read a record with these files, which are not all where that asks for them."""
    article = Article(1, "", "2024-01-01", 0, tuple(each.file for each in files), True, "", 1)
    found = TaskResult(Record(article, b'{"id": 1}'), files, is_unplaced=True)
    return ItemResult(ItemKey(1), {"metadata": WorkState.DONE}, (), (found,))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Ledger]:
    ledger = Ledger(folder)
    ledger.open()
    await ledger.begin(RunSpec(TASKS, with_files=True))
    try:
        yield ledger
    finally:
        await ledger.close("interrupted")


async def prepared(folder: Path, files: Iterable[tuple[int, str, str, bytes]]) -> None:
    """Make a harvest with files of item 1: id, name in the record, name on the disk, bytes."""
    (folder / "files/1").mkdir(parents=True)
    async with opened(folder) as ledger:
        await ledger.change(ledger.listings.add_page, "a", Page((ItemRef(ItemId(1)),), None), TASKS)
        placed = []
        for file_id, name, on_disk, content in files:
            (folder / "files/1" / on_disk).write_bytes(content)
            placed.append(PlannedFile(remote(file_id, name, content), f"files/1/{on_disk}", FileStatus.DONE))
        await ledger.save(read(*placed))


SWAPPED = ((7, "a.csv", "b.csv", b"seven"), (8, "b.csv", "c.csv", b"eight!"), (9, "c.csv", "a.csv", b"nine"))


@pytest.mark.parametrize("number", range(1, 16))
async def test_files_that_change_names_with_each_other_survive_a_kill_at_any_moment(
    number: int, tmp_path: Path
) -> None:
    await prepared(tmp_path, SWAPPED)
    kill = KillAt(number)
    async with opened(tmp_path) as ledger:
        with suppress(Killed):
            await Placement(ledger, Store(tmp_path, sync=kill)).place_files()
    async with opened(tmp_path) as ledger:
        mover = Placement(ledger, Store(tmp_path))
        await mover.recover()
        await mover.place_files()
        assert await ledger.read(ledger.rename_journal.unfinished) == []
        item = await ledger.read(ledger.rename_journal.files_of, ItemKey(1))
        assert [(file.id, path) for file, path, _ in item.files] == [
            (7, "files/1/a.csv"),
            (8, "files/1/b.csv"),
            (9, "files/1/c.csv"),
        ]
    assert files_of(tmp_path) == {"1/a.csv": b"seven", "1/b.csv": b"eight!", "1/c.csv": b"nine"}
    assert list((tmp_path / ".partial").iterdir()) == []


async def test_the_kill_points_cover_the_last_rename(tmp_path: Path) -> None:
    await prepared(tmp_path, SWAPPED)
    kill = KillAt(10_000)
    async with opened(tmp_path) as ledger:
        await Placement(ledger, Store(tmp_path, sync=kill)).place_files()
    assert 10 <= 10_000 - kill.left < 16


async def test_a_file_taken_out_at_a_crash_gets_its_new_path(
    tmp_path: Path,
) -> None:
    await prepared(tmp_path, [(7, "a.csv", "b.csv", b"seven")])
    renames = [FileRename(ItemKey(1), 7, "files/1/b.csv", "files/1/a.csv")]
    async with opened(tmp_path) as ledger:
        await ledger.change(ledger.rename_journal.plan, renames)
        await Store(tmp_path).renames.take_out([("files/1/b.csv", "files/1/a.csv")])
        await ledger.change(ledger.rename_journal.note_out, renames)
    async with opened(tmp_path) as ledger:
        await Placement(ledger, Store(tmp_path)).recover()
    assert files_of(tmp_path) == {"1/a.csv": b"seven"}


async def test_a_removed_file_does_not_stop_renames(tmp_path: Path) -> None:
    await prepared(tmp_path, SWAPPED)
    (tmp_path / "files/1/b.csv").unlink()
    async with opened(tmp_path) as ledger:
        await Placement(ledger, Store(tmp_path)).place_files()
    assert files_of(tmp_path) == {"1/b.csv": b"eight!", "1/c.csv": b"nine"}
    assert (await harvester("verify", "-o", tmp_path)).status == 1


async def test_new_bytes_with_the_same_id_keep_the_old_file(tmp_path: Path) -> None:
    await prepared(tmp_path, [(7, "a.csv", "a.csv", b"old bytes")])
    async with opened(tmp_path) as ledger:
        fresh = PlannedFile(remote(7, "a.csv", b"new bytes"), "files/1/a.csv", FileStatus.PENDING)
        await ledger.save(read(fresh))
        await ledger.flush()
        (pending,) = await ledger.read(ledger.queue.files, 0, 10)
        assert pending.is_taken
        await Placement(ledger, Store(tmp_path)).make_way(pending)
        assert files_of(tmp_path) == {"1/a~7.csv": b"old bytes"}
        (tmp_path / "files/1/a.csv").write_bytes(b"new bytes")
        await ledger.save(
            FileResult(ItemKey(1), 7, FileStatus.DONE, seq=pending.seq, path=pending.path, size=9)
        )
        await ledger.flush()
        await Placement(ledger, Store(tmp_path)).place_files()
    assert files_of(tmp_path) == {"1/a.csv": b"new bytes", "1/a~7.csv": b"old bytes"}


@pytest.mark.parametrize("md5", ["with a sum", "without one"])
async def test_a_file_that_is_current_again_is_renamed_back(md5: str, tmp_path: Path) -> None:
    """A new version and back again: what lies aside is not fetched, and no copies pile up."""
    first, second = remote(7, "a.csv", b"first!"), remote(8, "a.csv", b"second")
    if md5 == "without one":
        first, second = replace(first, md5=None), replace(second, md5=None)
    await prepared(tmp_path, [])
    async with opened(tmp_path) as ledger:
        mover = Placement(ledger, Store(tmp_path))
        turns = [(first, b"first!"), (second, b"second"), (first, b"first!"), (second, b"second")]
        for number, (file, content) in enumerate(turns):
            await ledger.save(read(PlannedFile(file, "files/1/a.csv", FileStatus.PENDING)))
            await ledger.flush()
            (pending,) = [
                each for each in await ledger.read(ledger.queue.files, 0, 10) if each.file.id == file.id
            ]
            assert pending.is_taken is (number > 0)
            if pending.is_taken:
                await mover.make_way(pending)
            is_back = pending.may_be_aside and await mover.take_back(pending)
            assert is_back is (number > 1)
            if not is_back:
                (tmp_path / "files/1/a.csv").write_bytes(content)
            done = FileResult(
                ItemKey(1), file.id, FileStatus.DONE, seq=pending.seq, path=pending.path, size=6
            )
            await ledger.save(done)
            await ledger.flush()
            await mover.place_files()
    assert files_of(tmp_path) == {"1/a.csv": b"second", "1/a~7.csv": b"first!"}


# -- rows that tell something ----------------------------------------------------------------------------


async def test_files_csv_has_path_reason_and_version(tmp_path: Path) -> None:
    async with Sandbox(ITEMS) as sandbox:
        world = sandbox.world
        some = {trait: world.with_trait(trait)[0] for trait in ("link", "embargo", "three versions")}
        ids = [word for item_id in some.values() for word in ("--item", item_id)]
        words = ("run", *ids, "--versions", "all", "-o", tmp_path, *at(sandbox))
        public = environment(FIGSHARE_TOKEN="")
        assert (await harvester(*words, "--tasks", "metadata", env=public)).status == 0
        table = rows(tmp_path / "files.csv")
        assert len({tuple(row.values()) for row in table}) == len(table)
        assert "pending" not in {row["status"] for row in table}
        of_link = next(row for row in table if row["status"] == "link")
        assert (of_link["path"], of_link["url"]) == ("", world.files(some["link"])[0]["download_url"])
        embargoed = [row for row in table if row["item_id"] == str(some["embargo"])]
        assert {(row["status"], row["reason"]) for row in embargoed} == {("withheld", "embargo")}
        versions = [row["version"] for row in table if row["item_id"] == str(some["three versions"])]
        assert sorted(set(versions)) == ["1", "2", "3"]
        others = [row for row in table if row["status"] == "skipped"]
        assert others
        assert {row["reason"] for row in others} == {"not asked for"}
        assert all(row["path"].startswith(f"files/{row['item_id']}") for row in others)
        assert (await harvester(*words, env=public)).status == 0
        table = rows(tmp_path / "files.csv")
        assert {row["status"] for row in table} == {"done", "link", "withheld"}
        assert {row["reason"] for row in table if row["status"] == "done"} == {""}
