"""What no longer belongs to a harvest goes when its user says so, and nothing else ever does."""

from __future__ import annotations

import os
import pty
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from harvester.errors import FolderLocked
from harvester.jobs.harvest import harvest
from harvester.jobs.prune import prune, removable
from harvester.jobs.verify import verify
from harvester.sandbox import Sandbox, Settings
from harvester.storage.trash_mover import Pruner
from tests.support.fork_server import fork
from tests.support.orphans import (
    ASIDE,
    EDITED,
    WITHDRAWN,
    Orphans,
    config_of,
    harvest_with_orphans,
    here,
    make_orphans,
    run_words,
)
from tests.support.program import environment, harvester, started
from tests.support.schemas import check_events
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def world() -> Settings:
    return Settings(items=20, heavy=0)


@pytest.fixture(scope="module")
def orphans(tmp_path_factory: pytest.TempPathFactory) -> Orphans:
    return make_orphans(tmp_path_factory.mktemp("orphans"))


async def test_nothing_is_removed_without_a_yes(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    ended = await harvester(*run_words(sandbox, tmp_path, "--prune"), stdin="y\n")
    assert ended.status == 0
    size = sum((tmp_path / path).stat().st_size for path in old)
    for path in old:
        why = "its item was withdrawn" if str(WITHDRAWN) in path else "no record names it any more"
        assert f"  {path}  ({why})\n" in ended.out
    last = f"{len(old)} files, {size / 1000:.1f} kB, outside of the harvest: to be moved to .trash/"
    last += " for 30 days"
    refusal = "nothing is removed: there is no terminal to ask on; --yes answers beforehand"
    assert ended.out.endswith(f"{last}\n{refusal}\n")
    assert here(tmp_path) == belongs | old


async def test_with_yes_all_shown_files_are_removed_and_nothing_else(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    mine = tmp_path / "files" / str(WITHDRAWN) / "my notes.txt"
    mine.write_text("of my own")
    ended = await harvester(*run_words(sandbox, tmp_path, "--prune", "--yes"))
    assert ended.status == 0
    shown = {
        line.split("  ")[-2] for line in ended.out.splitlines() if line.endswith(("more)", "withdrawn)"))
    }
    assert shown == old
    assert f"\n{len(old)} files removed, " in ended.out
    assert here(tmp_path) == belongs | {str(mine.relative_to(tmp_path))}
    config = config_of(sandbox, tmp_path)
    assert (await verify(config)).damaged == ()
    assert removable(config) == []
    again = await harvester(*run_words(sandbox, tmp_path, "--prune", "--yes"))
    assert again.status == 0
    assert again.out.endswith("\nnothing to remove\n")


async def test_on_a_terminal_the_user_is_asked(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    shown = await answered("n", *run_words(sandbox, tmp_path, "--prune", "--log-json"))
    lines = shown.replace("remove these? [y/N] ", "\r\n").split("\r\n")
    check_events("\n".join(line for line in lines if line.startswith("{")))
    assert [line for line in lines if not line.startswith("{")] == ["n", "", ""], "the question is no event"
    assert here(tmp_path) == belongs | old
    for answer, goes in (("", False), ("n", False), ("y", True)):
        shown = await answered(answer, *run_words(sandbox, tmp_path, "--prune", "-q"))
        assert "remove these? [y/N] " in shown
        assert here(tmp_path) == (belongs if goes else belongs | old)


async def answered(answer: str, *words: object) -> str:
    """Run the program on a terminal where a user gives an answer; return what it shows."""
    user, terminal = pty.openpty()
    process = fork(words, env=environment(TERM="xterm", COLUMNS="100"), streams=(terminal,) * 3)
    os.close(terminal)
    os.write(user, f"{answer}\n".encode())
    shown = b""
    with suppress(OSError):  # the program has ended
        while read := await anyio.to_thread.run_sync(os.read, user, 1 << 16):
            shown += read
    os.close(user)
    assert await process.wait() == 0, shown
    return shown.decode()


async def test_empty_folders_go_with_their_files(sandbox: Sandbox, tmp_path: Path) -> None:
    (item_id, *_) = sandbox.world.with_trait("many files in folders") or sandbox.world.public_ids
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [item_id, 5_000_004]})
    await harvest(config)
    sandbox.world.withdraw(item_id)
    await harvest(config)
    pruned = await prune(config, [each.path for each in removable(config)])
    assert pruned.kept == ()
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["5000004"]


async def test_only_files_that_may_be_removed_now_are_removed(sandbox: Sandbox, tmp_path: Path) -> None:
    belongs, old = await harvest_with_orphans(sandbox, tmp_path)
    config = config_of(sandbox, tmp_path, {"kind": "items", "ids": [EDITED, 5_000_004, WITHDRAWN]})
    shown = [each.path for each in removable(config)]
    assert set(shown) == old
    sandbox.world.restore(WITHDRAWN)
    await harvest(config)
    kept = sorted(path for path in old if str(WITHDRAWN) in path)
    pruned = await prune(config, [*shown, "harvest.db", f"files/../{tmp_path.name}"])
    assert pruned.removed == (f"files/{EDITED}/{ASIDE}",)
    assert sorted(pruned.kept) == sorted(
        f"{path}: belongs to the harvest" for path in (*kept, "harvest.db", f"files/../{tmp_path.name}")
    )
    assert here(tmp_path) == belongs | set(kept)


async def test_prune_follows_no_link(orphans: Orphans, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    config, old = orphans.copy(folder), orphans.old
    shutil.move(folder / "files" / str(WITHDRAWN), elsewhere)
    (folder / "files" / str(WITHDRAWN)).symlink_to(elsewhere)
    edited = folder / "files" / str(EDITED) / ASIDE
    edited.rename(tmp_path / "moved.csv")
    edited.symlink_to(tmp_path / "moved.csv")
    there = sorted(path.name for path in elsewhere.iterdir())
    pruned = await prune(config, sorted(old))
    assert (pruned.removed, pruned.size) == ((), 0)
    assert len(pruned.kept) == len(old)
    assert pruned.kept[0] == f"files/{EDITED}/{ASIDE}: is not a regular file; inspect it"
    assert all("a link leads out of the output folder" in why for why in pruned.kept[1:])
    assert sorted(path.name for path in elsewhere.iterdir()) == there
    assert (tmp_path / "moved.csv").exists()


async def test_a_file_that_is_gone_already_is_forgotten(orphans: Orphans, tmp_path: Path) -> None:
    config, old = orphans.copy(tmp_path), orphans.old
    shutil.rmtree(tmp_path / "files" / str(WITHDRAWN))
    (tmp_path / "files" / str(EDITED) / ASIDE).unlink()
    pruned = await prune(config, sorted(old))
    assert (set(pruned.removed), pruned.size, pruned.kept) == (old, 0, ())
    assert removable(config) == []


async def test_a_file_whose_path_equals_a_harvested_one_on_some_file_system_stays(
    orphans: Orphans, tmp_path: Path
) -> None:
    config = orphans.copy(tmp_path)
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        db.execute("UPDATE orphans SET path = ?", ("files/5000004/FILE_01.png",))
    found = [each.path for each in removable(config)]
    assert found == sorted(path for path in here(tmp_path) if str(WITHDRAWN) in path)


async def test_the_folder_of_an_active_run_is_not_pruned(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0, latency=0.1)) as sandbox:
        belongs, old = await harvest_with_orphans(sandbox, tmp_path)
        before = len(sandbox.requests)
        async with started(
            run_words(sandbox, tmp_path, "--refresh", "metadata", "--rate", "api=1")
        ) as process:
            await until(lambda: len(sandbox.requests) > before)
            with pytest.raises(FolderLocked):
                await prune(config_of(sandbox, tmp_path), sorted(old))
            assert process.returncode is None
        assert here(tmp_path) == belongs | old


def test_paths_outside_the_files_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "files" / "1").mkdir(parents=True)
    for name in ("harvest.db", "files/1/a"):
        (tmp_path / "out" / name).touch()
    (tmp_path / "secret").touch()
    paths = [
        "harvest.db",
        "files/../harvest.db",
        "files/1/../../../secret",
        "../secret",
        "files/1",
        "files/1/a",
    ]
    pruned = Pruner(tmp_path / "out", "2026-11-30").prune(paths, set(paths))
    assert pruned.removed == ("files/1/a",)
    assert len(pruned.kept) == len(paths) - 1
    assert (tmp_path / "secret").exists()
    assert [path.name for path in (tmp_path / "out").rglob("*") if ".trash" not in path.parts] == [
        "harvest.db",
        "files",
    ]
    assert (tmp_path / "out/.trash/2026-11-30/files/1/a").is_file()
