"""Where a harvest lives: nearly full disks, folders that may only be read, odd locks, other locales."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from harvester import harvest
from harvester.config import Config
from harvester.errors import InsufficientSpace, StorageError
from harvester.jobs.services import RunHooks
from harvester.jobs.verify import verify
from harvester.ledger.database.connection import database_errors
from harvester.ledger.database.heartbeat import Watch
from harvester.ledger.database.integrity import LedgerDamaged
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.ledger.database.opening import open_to_write
from harvester.ledger.reader import Reader
from harvester.models import RemoteFile
from harvester.sandbox import Sandbox, Settings
from harvester.storage.local.segments import BUFFER_SIZE
from harvester.storage.local.store import Store
from harvester.storage.protocol import Confirm
from tests.support.fork_server import expect_uses
from tests.support.program import Ended, at, config, environment, harvester, started
from tests.support.stores import opened
from tests.support.truth import assert_complete, rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


# -- room ---------------------------------------------------------------------------------------------


def of_size(file_id: int, size: int) -> RemoteFile:
    md5 = hashlib.md5(bytes(size), usedforsecurity=False).hexdigest()
    return RemoteFile(file_id, "x.bin", "", size, md5, "", is_link=False)


async def test_the_space_reservation_of_a_file_shrinks_as_it_is_written(tmp_path: Path) -> None:
    size = 4 * BUFFER_SIZE
    free = size + 10
    store = Store(tmp_path, free_bytes=lambda _: free)
    partial = await opened(store, 1, of_size(10, size))
    try:
        with (
            pytest.raises(InsufficientSpace, match="11 bytes are needed and 10 bytes are free"),
            store.space.reserve(lambda: 11),
        ):
            pass
        for _ in range(3):
            await partial.write(bytes(BUFFER_SIZE))
            free -= BUFFER_SIZE  # as the disk tells
        with store.space.reserve(lambda: 10):
            pass
        await partial.start_over()
        free += 3 * BUFFER_SIZE
        with pytest.raises(InsufficientSpace), store.space.reserve(lambda: 11):
            pass
    finally:
        await partial.abort()
    with store.space.reserve(lambda: size):
        pass


async def test_a_resumed_file_reserves_space_only_for_the_rest(tmp_path: Path) -> None:
    size = 4 * BUFFER_SIZE
    first = await opened(Store(tmp_path), 1, of_size(10, size))
    for _ in range(3):
        await first.write(bytes(BUFFER_SIZE))
    await first.abort()
    partial = await opened(Store(tmp_path, free_bytes=lambda _: BUFFER_SIZE), 1, of_size(10, size))
    await partial.write(bytes(BUFFER_SIZE))
    await partial.commit("files/1/x.bin")
    await partial.abort()
    assert (tmp_path / "files/1/x.bin").stat().st_size == size


async def test_free_space_is_never_reported_as_negative(tmp_path: Path) -> None:
    free = 100
    store = Store(tmp_path, free_bytes=lambda _: free)
    with store.space.reserve(lambda: 100):
        free = 20  # another program has written
        with (
            pytest.raises(InsufficientSpace, match="5 bytes are needed and 0 bytes are free"),
            store.space.reserve(lambda: 5),
        ):
            pass


def on_a_disk(free_bytes: Callable[[Path], int]) -> RunHooks:
    def storage(config: Config, confirm: Confirm) -> Store:
        return Store(config.folder, free_bytes=free_bytes, confirm=confirm)

    return RunHooks(storage=storage)


async def test_a_temporary_lack_of_space_does_not_end_the_run(tmp_path: Path) -> None:
    asked = 0

    def free(_: Path) -> int:
        nonlocal asked
        asked += 1
        return 0 if asked <= 3 else 10**12

    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        job = config(sandbox, tmp_path)
        summary = await harvest(job, hooks=on_a_disk(free))
        assert summary.exit_status == 0
        assert asked > 3
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        with pytest.raises(StorageError, match="are needed and 0 bytes are free"):
            await harvest(config(sandbox, tmp_path / "other"), hooks=on_a_disk(lambda _: 0))
        assert rows(tmp_path / "other" / "failures.csv")


# -- who may only read --------------------------------------------------------------------------------

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may reach, as those of pytest may not."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


async def as_reader(folder: Path, *words: object) -> Ended:
    """Run a command as a user who may not write to the folder."""
    folder.chmod(0o555)
    try:
        return await harvester(*words, "-o", folder, user=NOBODY if os.geteuid() == 0 else None)
    finally:
        folder.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
async def test_a_finished_read_only_harvest_can_be_read(shared: Path) -> None:
    out = shared / "out"
    async with Sandbox(Settings(items=3, heavy=0)) as sandbox:
        job = config(sandbox, out, tasks=["metadata"])
        assert (await harvest(job)).exit_status == 0
        await verify(job)
    assert sorted(path.name for path in out.glob("harvest.db*")) == ["harvest.db"], "closed cleanly"
    for words in (["status"], ["failed"]):
        ended = await as_reader(out, *words)
        assert (ended.status, ended.err) == (0, "")
        assert ("failures" in ended.out) is (words != ["failed"])


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
async def test_a_folder_that_may_not_be_read_is_named_with_advice(shared: Path) -> None:
    out = shared / "out"
    out.mkdir()
    (out / "harvest.db").write_bytes(b"")
    out.chmod(0)
    user = NOBODY if os.geteuid() == 0 else None
    for command in ("status", "verify", "failed", "export", "run"):
        more = ("--search", "survey") if command == "run" else ()
        ended = await harvester(command, *more, "-o", out, user=user)
        assert f"{out}: Permission denied; give this user the right to read" in ended.err, command
        assert ended.status == 3, command
    ended = await harvester("doctor", "--offline", "-o", out, user=user)
    assert f"{out}: Permission denied" in ended.out
    out.chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
async def test_a_read_only_harvest_can_be_exported_elsewhere_planned_and_verified(shared: Path) -> None:
    out, elsewhere = shared / "out", shared / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    async with Sandbox(Settings(items=3, heavy=0)) as sandbox:
        assert (await harvest(config(sandbox, out))).exit_status == 0
        words = ("plan", "--search", "survey", *at(sandbox))
        ended = await as_reader(out, *words)
        assert ended.status == 0, ended.err
    ended = await as_reader(out, "export")
    assert ended.status == 3
    assert "Permission denied" in ended.err
    ended = await as_reader(out, "export", "--to", elsewhere / "tables")
    assert ended.status == 0, ended.err
    assert {path.name for path in (elsewhere / "tables").iterdir()} >= {"items.csv", "metadata.jsonl"}
    for path in (elsewhere / "tables").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()
    assert (await as_reader(out, "verify")).status == 0
    damaged = next(path for path in (out / "files").rglob("*") if path.is_file() and path.stat().st_size)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    before = {path.name: path.read_bytes() for path in out.glob("harvest.db*")}
    ended = await as_reader(out, "verify")
    assert ended.status == 1
    assert "1 corrupt or missing" in ended.out
    assert "nothing is recorded: you may only read here" in ended.out
    assert before == {path.name: path.read_bytes() for path in out.glob("harvest.db*")}


@pytest.mark.skipif(sys.platform == "win32", reason="rights are another matter there")
async def test_a_read_only_harvest_of_a_killed_run_is_read_completely(
    shared: Path,
) -> None:
    out = shared / "out"
    log = out / "harvest.db-wal"
    async with Sandbox(Settings(items=100, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata", "-o", out)
        async with started((*words, *at(sandbox, rate="40"))) as process:
            await until(lambda: log.exists() and log.stat().st_size > 200_000 and len(sandbox.requests) > 10)
            assert "running" in (await as_reader(out, "status")).out
            process.kill()
            await process.wait()
    found = await as_reader(out, "status", "--json")
    assert json.loads(found.out)["last_run"]["state"] == "killed"
    assert json.loads(found.out)["items"] > 0
    (out / "harvest.db-shm").unlink()  # as where the folder was copied: the log cannot be read without it
    before = {path.name: path.read_bytes() for path in out.glob("harvest.db*")}
    assert len(before) == 2
    assert (ended := await as_reader(out, "status", "--json")).out == found.out, ended.err
    assert before == {path.name: path.read_bytes() for path in out.glob("harvest.db*")}
    log.write_bytes(b"")
    assert (await as_reader(out, "status")).status == 0


# -- a file system that locks some files and not others -----------------------------------------------


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that plays such file systems; see its source."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here to play a file system without shared memory")
    library = tmp_path_factory.mktemp("no_shared_memory") / "no_shared_memory.so"
    source = Path(__file__).parent / "support" / "no_shared_memory.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    expect_uses(environment(LD_PRELOAD=str(library)))
    return str(library)


NO_SHARED_MEMORY = [{"SHARED_MEMORY": "no-locks"}, {"SHARED_MEMORY": "no-map"}]
NO_LOCKS_EITHER = {"SHARED_MEMORY": "no-map", "DATABASE": "no-locks"}


@pytest.mark.parametrize("fault", [*NO_SHARED_MEMORY, NO_LOCKS_EITHER])
async def test_without_shared_memory_a_harvest_works_and_warns_once(
    fault: dict[str, str], preloaded: str, tmp_path: Path
) -> None:
    env = environment(LD_PRELOAD=preloaded, **fault)
    lacking = "no file locks" if "DATABASE" in fault else "no write-ahead log"
    async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
        words = ("--search", "survey", "-o", tmp_path, *at(sandbox))
        ended = await harvester("run", *words, env=env)
        assert ended.status == 0, ended.err
        assert ended.err.count(f"{lacking} on this file system") == 1
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        for command in ("status", "failed", "export", "verify"):
            ended = await harvester(command, "-o", tmp_path, env=env)
            assert ended.status == 0, ended.err
        assert not list(tmp_path.glob("*claim*"))
        assert (await harvester("run", *words)).status == 0, "where all is well again"


@pytest.mark.parametrize("fault", [*NO_SHARED_MEMORY, NO_LOCKS_EITHER])
async def test_a_log_of_another_machine_is_read_and_continued_without_shared_memory(
    fault: dict[str, str], preloaded: str, tmp_path: Path
) -> None:
    env = environment(LD_PRELOAD=preloaded, **fault)
    log = tmp_path / "harvest.db-wal"
    async with Sandbox(Settings(items=60, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata", "-o", tmp_path)
        async with started((*words, *at(sandbox, rate="40"))) as process:
            await until(lambda: log.exists() and log.stat().st_size > 200_000)
            process.kill()
            await process.wait()
        ended = await harvester("status", "-o", tmp_path, env=env)
        assert (ended.status, ended.err) == (0, "")
        assert "killed" in ended.out
        assert (await harvester(*words, *at(sandbox), env=env)).status == 0
        ended = await harvester("status", "-o", tmp_path)
        assert f"{len(list(sandbox.world.search('survey')))} done" in ended.out


async def test_two_runs_exclude_each_other_without_shared_memory(preloaded: str, tmp_path: Path) -> None:
    more = {"LD_PRELOAD": preloaded, "SHARED_MEMORY": "no-map"}
    async with Sandbox(Settings(items=100, heavy=0)) as sandbox:
        run = ("run", "--search", "survey", "--tasks", "metadata", "-o", tmp_path)
        words = (*run, "--workers", "1", *at(sandbox, rate="8"))
        async with started(words, **more) as process:
            with anyio.fail_after(30):
                while (
                    "running" not in (await harvester("status", "-o", tmp_path, env=environment(**more))).out
                ):
                    await anyio.sleep(0.1)
            for env in (environment(**more), environment()):  # another machine may have shared memory
                for second in (words, ("verify", "-o", tmp_path)):
                    ended = await harvester(*second, env=env)
                    assert ended.status == 3
                    assert f"another run (process {process.pid}" in ended.err
            process.terminate()
            with anyio.fail_after(60):
                assert await process.wait() == 130, "none of them broke it"
        ended = await harvester(*run, *at(sandbox), env=environment(**more))
        assert ended.status == 0, ended.err
        done = len(list(sandbox.world.search("survey")))
        assert f"{done} done" in (await harvester("status", "-o", tmp_path, env=environment(**more))).out


async def test_the_lease_of_a_killed_run_is_taken_over_and_no_log_is_tried(
    preloaded: str, tmp_path: Path
) -> None:
    env = {"LD_PRELOAD": preloaded, "SHARED_MEMORY": "no-map"}
    async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata", "-o", tmp_path)
        async with started((*words, *at(sandbox, rate="20")), **env) as process:
            await until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.claim")))
            process.kill()
            await process.wait()
        (claim,) = tmp_path.glob("*.claim")
        opened = open_to_write(tmp_path / "harvest.db", Watch(tmp_path))
        assert opened.lease_file is not None, "a log is for a folder without a lease"
        opened.db.close()
        opened.lease_file.drop()
        assert not claim.exists()
        assert (await harvester(*words, *at(sandbox), env=environment(**env))).status == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_PROTOCOL, "its locks cannot be had on this file system"),
        (sqlite3.SQLITE_IOERR_SHMLOCK, "its locks cannot be had on this file system"),
        (sqlite3.SQLITE_IOERR_LOCK, "its locks cannot be had on this file system"),
        (sqlite3.SQLITE_IOERR_WRITE, "check the disk"),
        (sqlite3.SQLITE_FULL, "make room"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "give this user the right"),
        (sqlite3.SQLITE_PERM, "locks cannot be had"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "another program holds it"),
        (sqlite3.SQLITE_NOLFS, "choose a disk"),
        (sqlite3.SQLITE_INTERRUPT, "check the disk"),
    ],
)
def test_every_database_error_is_reported_with_advice(code: int, expected: str) -> None:
    error = sqlite3.OperationalError("in SQLite's words")
    error.sqlite_errorcode = code
    with pytest.raises(StorageError, match=rf"harvest.db: (?!in SQLite's words).*{expected}"):
        with database_errors(Path("harvest.db")):
            raise error


# -- locales whose charset is not UTF-8 ---------------------------------------------------------------

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""The C locale, as Python once took it; its charset for paths is ASCII."""
NO_LATIN1 = "\u6570\u636e"
ODD_NAMES = 9
"""The first items, of which two have files whose names are not ASCII."""


@pytest.fixture(scope="module", params=["ascii", "latin-1"])
def locale(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale with a small charset."""
    if sys.platform != "linux":
        pytest.skip("paths are UTF-8 there")
    if request.param == "ascii":
        expect_uses(environment(**ASCII))
        return ASCII
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is not None:
        command = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US")]
        subprocess.run(command, capture_output=True, check=False)
    if not (folder / "en_US").is_dir():
        pytest.skip("no locale can be made here")
    made = {"LOCPATH": str(folder), "LC_ALL": "en_US", "PYTHONUTF8": "0"}
    expect_uses(environment(**made))
    return made


IN_ANY = pytest.mark.parametrize(
    "locale", ["ascii", pytest.param("latin-1", marks=pytest.mark.nightly)], indirect=True, scope="module"
)


async def test_names_beyond_the_charset_of_the_locale_are_utf8_on_the_disk(
    locale: dict[str, str], tmp_path: Path
) -> None:
    env = environment(**locale)
    out = tmp_path / f"out-{NO_LATIN1}"
    (tmp_path / "harvest.toml").write_text(f'output = "out-{NO_LATIN1}"\n', encoding="utf-8")
    async with Sandbox(Settings(items=ODD_NAMES, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", *at(sandbox))
        ended = await harvester(*words, cwd=tmp_path, env=env)
        assert ended.status == 0, ended.err
        ids = sandbox.world.search("survey")
        assert_complete(out, sandbox, ids)
        assert any(not row["path"].isascii() for row in rows(out / "files.csv") if row["status"] == "done")
        for command in ("verify", "status", "failed", "export"):
            ended = await harvester(command, cwd=tmp_path, env=env)
            assert ended.status == 0, ended.err
        ended = await harvester("status", "--json", cwd=tmp_path, env=env)
        assert "work" in json.loads(ended.out)
        before = len(sandbox.requests)
        assert (await harvester(*words, cwd=tmp_path, env=env)).status == 0
        assert not [seen for seen in sandbox.requests[before:] if seen.service == "storage"]
        assert (await harvester("verify", "-o", out)).status == 0, "in another locale"


@IN_ANY
async def test_a_damaged_file_is_found_in_any_locale(locale: dict[str, str], tmp_path: Path) -> None:
    env = environment(**locale)
    async with Sandbox(Settings(items=ODD_NAMES, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        odd = [row["path"] for row in rows(tmp_path / "files.csv") if row["status"] == "done"]
        path = next(each for each in odd if not each.isascii())
        (tmp_path / path).write_bytes(b"damaged")
        ended = await harvester("verify", "-o", tmp_path, env=env)
        assert (ended.status, ended.out.count("corrupt or missing")) == (1, 1)
        assert (await harvester(*words, env=env)).status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


async def test_paths_of_the_user_keep_the_users_charset(locale: dict[str, str], tmp_path: Path) -> None:
    """Bytes that are text in the locale or in none; a query in UTF-8; a list whose name only a config has."""
    env = environment(**locale)
    for name in (b"\xfc", "\u6570".encode()):
        out = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - of bytes
        async with Sandbox(Settings(items=3, heavy=0)) as sandbox:
            words = ("run", "--search", "survey", "--tasks", "metadata", *at(sandbox), "-o", os.fsdecode(out))
            ended = await harvester(*words, env=env)
            assert ended.status == 0, ended.err
            assert os.path.exists(os.path.join(out, b"harvest.db"))  # noqa: PTH110, PTH118
            for command in (["status"], ["status", "--json"], ["export"]):
                ended = await harvester(*command, "-o", os.fsdecode(out), env=env)
                assert ended.status == 0, ended.err
    (tmp_path / f"{NO_LATIN1}.txt").write_text("1\n", encoding="utf-8")
    source = f'[[sources]]\nkind = "items"\nfile = "{NO_LATIN1}.txt"\n'
    (tmp_path / "harvest.toml").write_text(source, encoding="utf-8")
    async with Sandbox(Settings(items=3, heavy=0)) as sandbox:
        ended = await harvester(
            "run", "--tasks", "metadata", *at(sandbox), "-o", tmp_path / "o", cwd=tmp_path, env=env
        )
        assert ended.status == 1, ended.err
        ended = await harvester("list", "--search", "\u00fc OR survey", *at(sandbox), env=env)
        assert ended.status == 0, ended.err


async def test_globs_are_utf8_where_the_locale_has_no_characters_for_them(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=ODD_NAMES, heavy=0)) as sandbox:
        odd_items = [
            item_id
            for item_id in sandbox.world.search("survey")
            if not all(file["name"].isascii() for file in sandbox.world.files(item_id))
        ]
        named = [word for item_id in odd_items for word in ("--item", item_id)]
        words = ("run", *named, "--tasks", "files", *at(sandbox), "-o")

        async def fetched(name: str, *more: str, **env: str) -> set[str]:
            ended = await harvester(*words, tmp_path / name, *more, env=environment(**env))
            assert ended.status == 0, ended.err
            return {row["path"] for row in rows(tmp_path / name / "files.csv") if row["status"] == "done"}

        everything = await fetched("all")
        glob = f"*{next(each for path in sorted(everything) for each in path if not each.isascii())}*"
        odd = await fetched("include", "--include", glob)
        assert odd
        assert odd < everything
        assert await fetched("1", "--include", glob, **ASCII) == odd
        assert await fetched("2", HARVESTER_FILES_INCLUDE=glob, **ASCII) == odd
        assert await fetched("3", "--exclude", glob, **ASCII) == everything - odd
        assert await fetched("4", HARVESTER_FILES_EXCLUDE=glob, **ASCII) == everything - odd


async def test_invalid_text_in_the_environment_is_reported(tmp_path: Path) -> None:
    env = environment(**ASCII, HARVESTER_FILES_EXCLUDE=os.fsdecode(b"\xfc"))
    ended = await harvester("plan", "--item", "1", "-o", tmp_path, env=env)
    assert ended.status == 2
    assert "HARVESTER_FILES_EXCLUDE: not UTF-8 text" in ended.err


@IN_ANY
async def test_characters_that_the_charset_lacks_are_escaped_in_output(
    locale: dict[str, str], tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=3, heavy=0)) as sandbox:
        words = ("run", "--item", f"no-such-{NO_LATIN1}", "--tasks", "metadata", "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 1
    for command in (["failed"], ["failed", "--json"], ["status"]):
        ended = await harvester(*command, "-o", tmp_path, env=environment(**locale))
        assert ended.status == 0, ended.err
    ended = await harvester("failed", "-o", tmp_path, env=environment(**locale))
    assert "\\u6570\\u636e" in ended.out


@pytest.mark.parametrize("text", ['output = "a\\u0000b"', '[[sources]]\nkind = "items"\nfile = "a\\u0000b"'])
async def test_an_impossible_path_is_wrong_usage(text: str, tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text(text)
    more = ("--item", "1") if "output" in text else ("-o", "out")
    async with Sandbox(Settings(items=1, heavy=0)) as sandbox:
        ended = await harvester("run", *more, *at(sandbox), cwd=tmp_path)
    assert ended.status == 2, ended.err
    assert "null" in ended.err or "control characters" in ended.err


def test_a_ledger_with_foreign_tables_is_reported_with_advice(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    with pytest.raises(LedgerDamaged, match="is damaged: table changes, .* missing; .*run --rebuild"):
        Reader(tmp_path)
