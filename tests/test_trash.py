"""What is pruned goes to a dated trash first, and from there when its time has come."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from harvester.jobs.harvest import harvest
from harvester.jobs.prune import prune, removable
from harvester.jobs.services import RunHooks
from harvester.jobs.verify import verify
from harvester.ledger.database.heartbeat import Timing
from harvester.sandbox import Sandbox, Settings
from harvester.storage.trash_mover import Pruner
from tests.support.orphans import (
    EDITED,
    WITHDRAWN,
    Orphans,
    config_of,
    harvest_with_orphans,
    here,
    make_orphans,
    run_words,
)
from tests.support.program import at, harvester, started
from tests.support.truth import rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

DAY = "2026-11-30"


@pytest.fixture
def world() -> Settings:
    return Settings(items=20, heavy=0)


@pytest.fixture(scope="module")
def orphans(tmp_path_factory: pytest.TempPathFactory) -> Orphans:
    return make_orphans(tmp_path_factory.mktemp("orphans"))


def today(*, days_ago: int = 0) -> str:
    return (datetime.now(UTC) - timedelta(days=days_ago)).date().isoformat()


def in_trash(folder: Path) -> dict[str, bytes]:
    """Path behind the date, and content, of every file in the trash."""
    trash = folder / ".trash"
    return {
        "/".join(path.relative_to(trash).parts[1:]): path.read_bytes()
        for path in trash.rglob("*")
        if path.is_file()
    }


def contents(folder: Path, paths: set[str]) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in paths}


async def test_pruned_files_are_in_the_trash_of_the_day_and_reported(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    before = contents(tmp_path, old)
    began = today()
    ended = await harvester(*run_words(sandbox, tmp_path, "--prune", "--yes"))
    assert ended.status == 0, ended.err
    assert {path.name for path in (tmp_path / ".trash").iterdir()} <= {began, today()}
    assert in_trash(tmp_path) == before
    assert here(tmp_path) == belongs
    size = sum(map(len, before.values()))
    assert f"\n{len(old)} files removed, {size / 1000:.1f} kB, now in .trash/{today()}/\n" in ended.out
    expected = {"files": len(old), "bytes": size}
    assert orjson.loads((tmp_path / "summary.json").read_bytes())["folder"]["trash"] == expected
    done = await harvester("status", "-o", tmp_path, "--json")
    assert orjson.loads(done.out)["trash"] == expected
    done = await harvester("status", "-o", tmp_path)
    assert f"\ntrash     {len(old)} files, {size / 1000:.1f} kB, in .trash/\n" in done.out
    assert {row["path"] for row in rows(tmp_path / "files.csv") if row["status"] == "done"} == belongs
    assert (await verify(config_of(sandbox, tmp_path))).damaged == ()
    ended = await harvester(*run_words(sandbox, tmp_path))
    assert ended.status == 0, "the next run takes the trash for nothing else"
    assert in_trash(tmp_path) == before


async def test_an_item_that_returns_is_fetched_again(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [EDITED, 5_000_004, WITHDRAWN]})
    await prune(config, sorted(old))
    sandbox.world.restore(WITHDRAWN)
    assert (await harvest(config)).exit_status == 0
    assert here(tmp_path) == belongs | {path for path in old if str(WITHDRAWN) in path}
    assert in_trash(tmp_path).keys() == old


def planted(folder: Path, date: str, path: str = "files/1/a.txt", text: str = "old") -> Path:
    there = folder / ".trash" / date / path
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(text)
    return there


@pytest.mark.parametrize(
    ("days", "gone"), [(30, {31, 400}), (2, {3, 30, 31, 400}), (0, {-2, 0, 2, 3, 30, 31, 400})]
)
async def test_a_later_prune_deletes_expired_trash(
    days: int, gone: set[int], orphans: Orphans, tmp_path: Path
) -> None:
    config, old = orphans.copy(tmp_path), orphans.old
    dated = {age: planted(tmp_path, today(days_ago=age)) for age in (-2, 0, 2, 3, 30, 31, 400)}
    others = [planted(tmp_path, name) for name in ("mine", "2020-01-01~", "2020-13-01", "20200101")]
    (tmp_path / ".trash" / "2020-01-02").write_text("a file")
    pruned = await prune(config, sorted(old), trash_days=days)
    assert {age for age, path in dated.items() if not path.exists()} == gone
    there = {path.name for path in (tmp_path / ".trash").iterdir()}
    assert there.isdisjoint(today(days_ago=age) for age in gone)
    assert all(path.exists() for path in others)
    assert "2020-01-02" in there
    assert in_trash(tmp_path).keys() & old == (old if days else set())
    assert pruned.deleted == len(gone) + (0 if days else len(old))


async def test_permanent_deletions_are_shown_and_confirmed(sandbox: Sandbox, tmp_path: Path) -> None:
    words = run_words(sandbox, tmp_path, "--prune", "--trash-days", "5")
    kept = planted(tmp_path, "2020-01-01")
    ended = await harvester(*words)
    assert ended.out.endswith(
        "    3 bytes  .trash/2020-01-01  (1 file)\n"
        "1 file, 3 bytes, in the trash: to be deleted for good\n"
        "nothing is removed: there is no terminal to ask on; --yes answers beforehand\n"
    )
    assert kept.exists()
    ended = await harvester(*words, "--yes")
    assert ended.out.endswith(": to be deleted for good\n1 file, 3 bytes, deleted for good\n")
    assert not kept.parent.parent.parent.exists()
    document = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert document["folder"]["trash"] == {"files": 0, "bytes": 0}


async def test_nothing_in_the_trash_is_overwritten(orphans: Orphans, tmp_path: Path) -> None:
    config, old = orphans.copy(tmp_path), orphans.old
    first, *_, last = sorted(path for path in old if str(WITHDRAWN) in path)
    for date in (today(), today(days_ago=-1)):
        planted(tmp_path, date, first, "mine")
        planted(tmp_path, date, f"files/{EDITED}", "a file where a folder goes")
    before = contents(tmp_path, old)
    await prune(config, sorted(old))
    stem, _, suffix = first.rpartition(".")
    found = in_trash(tmp_path)
    assert found[first] == b"mine"
    assert found[f"{stem}~2.{suffix}"] == before[first]
    assert found[last] == before[last]
    assert found[f"files/{EDITED}"] == b"a file where a folder goes"
    assert {path for path in found if path.startswith(f"files/{EDITED}~2/")}


@pytest.mark.parametrize("link", [".trash", f".trash/{DAY}"])
def test_a_link_in_place_of_the_trash_is_not_followed(link: str, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for place in ("files/1", ".trash"):
        (folder / place).mkdir(parents=True)
    (folder / "files/1/a").write_text("mine")
    (elsewhere / "2020-01-01").mkdir(parents=True)
    (elsewhere / "2020-01-01" / "b").write_text("theirs")
    if link == ".trash":
        (folder / link).rmdir()
    (folder / link).symlink_to(elsewhere)
    pruner = Pruner(folder, DAY)
    pruned = pruner.prune(["files/1/a"], {"files/1/a"})
    assert (pruned.removed, len(pruned.kept)) == ((), 1)
    assert "a link leads out of the output folder" in pruned.kept[0]
    assert (folder / "files/1/a").exists()
    assert (pruner.empty(DAY, 0).deleted, pruner.empty(DAY, 30).deleted) == (0, 0)
    assert (elsewhere / "2020-01-01" / "b").exists()
    assert [path.name for path in elsewhere.iterdir()] == ["2020-01-01"]


def test_links_in_the_trash_are_removed_and_their_targets_stay(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes").write_text("of my own")
    day = tmp_path / "out" / ".trash" / "2020-01-01"
    day.mkdir(parents=True)
    (day / "files").symlink_to(mine)
    (day / "notes").symlink_to(mine / "notes")
    emptied = Pruner(tmp_path / "out", DAY).empty(DAY, 30)
    assert (emptied.deleted, emptied.kept) == (2, ())
    assert not day.exists()
    assert (mine / "notes").exists()


async def test_a_prune_killed_before_it_recorded_its_moves_is_completed_by_the_next_run(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [EDITED, 5_000_004, WITHDRAWN]})
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        db.execute(
            "INSERT INTO runs (job, started, host, pid, beat) VALUES ('prune', '2026-11-30', '', 0, 0.0)"
        )
    some = sorted(path for path in old if str(WITHDRAWN) in path)
    assert Pruner(tmp_path, DAY).prune(some, set(some)).removed == tuple(some)
    sandbox.world.restore(WITHDRAWN)
    quick = RunHooks(timing=Timing(watch_seconds=0.3))  # nothing says which run is active: it is watched
    assert (await harvest(config, hooks=quick)).exit_status == 0
    assert here(tmp_path) == belongs | old, "what the ledger thought to be here has come again"
    assert in_trash(tmp_path).keys() == set(some)
    assert (await verify(config)).damaged == ()


async def test_a_kill_during_a_prune_loses_nothing(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        item_id = max(sandbox.world.public_ids, key=lambda each: len(sandbox.world.files(each)))
        words = ("run", "--item", item_id, "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        before = contents(tmp_path, here(tmp_path))
        sandbox.world.withdraw(item_id)
        async with started((*words, "--prune", "--yes")) as process:
            await until(lambda: any((tmp_path / ".trash").rglob("*.*")))
            process.kill()
            await process.wait()
        assert in_trash(tmp_path) | contents(tmp_path, here(tmp_path)) == before
        ended = await harvester(*words, "--prune", "--yes")
        assert ended.status == 0, ended.err
        assert in_trash(tmp_path) == before
        assert removable(config_of(sandbox, tmp_path)) == []
        sandbox.world.restore(item_id)
        assert (await harvester(*words)).status == 0
        assert contents(tmp_path, here(tmp_path)) == before


async def test_a_folder_with_only_a_trash_is_accepted(sandbox: Sandbox, tmp_path: Path) -> None:
    kept = planted(tmp_path, "2020-01-01")
    assert (await harvester(*run_words(sandbox, tmp_path))).status == 0
    assert kept.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--trash-days", "3"), "--trash-days requires --prune"),
        (("--prune", "--trash-days", "-1"), 'expected a whole number, 0 or more, got "-1"'),
        (("--prune", "--trash-days", "soon"), 'expected a whole number, 0 or more, got "soon"'),
    ],
)
async def test_impossible_days_are_wrong_usage(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    ended = await harvester("run", "--item", "1", "-o", tmp_path / "out", *words)
    assert ended.status == 2
    assert expected in ended.err
