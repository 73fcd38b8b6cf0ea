"""A damaged ledger is reported, with what to do; rebuilt, it fetches and loses nothing that is here."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest

from harvester.errors import StorageError, UsageError
from harvester.jobs.harvest import harvest
from harvester.jobs.prune import removable
from harvester.jobs.services import RunHooks
from harvester.ledger.database.connection import NAME, database_errors, migrate
from harvester.ledger.database.heartbeat import Timing
from harvester.ledger.database.integrity import LedgerDamaged, check_tables, damage_in, names
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.ledger.ledger import Ledger
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from tests.support.each import for_each
from tests.support.program import at, config, harvester, started
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TABLES = sorted(name.removeprefix("table ") for name in names() if name.startswith("table "))
NONSENSE = (
    "UPDATE files SET path = 'files/../../elsewhere'",
    "UPDATE files SET path = '/etc/passwd'",
    "UPDATE files SET size = -5",
    "UPDATE files SET status = 'eaten'",
    "UPDATE work SET state = 'eaten'",
    "UPDATE records SET raw = 'no JSON'",
    "UPDATE records SET raw = '[]'",
    "ALTER TABLE usage DROP COLUMN number",
    "ALTER TABLE runs DROP COLUMN heartbeat",
    "DROP TRIGGER work_changed",
    "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '')"
    " WHERE name IN ('files', 'totals'); PRAGMA writable_schema = RESET; UPDATE files SET size = 'many'",
)
COMMANDS = ("status", "failed", "plan", "export", "verify", "run")


async def each(folder: Path, commands: tuple[str, ...] = COMMANDS) -> list[tuple[str, int, str]]:
    """Run commands on a folder; return their statuses and what they complain of."""
    nowhere = ("--search", "survey", "--api", "http://127.0.0.1:9", "--attempts", "1", "--rate", "inf")
    ends = []
    for command in commands:
        words = (command, "-o", folder, *(nowhere if command in {"plan", "run"} else ()))
        ended = await harvester(*words)
        ends.append((command, ended.status, ended.err))
    return ends


@pytest.fixture
def world() -> Settings:
    return Settings(items=4, heavy=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished harvest of everything."""
    folder = tmp_path_factory.mktemp("whole")

    async def make() -> None:
        async with Sandbox(Settings(items=4, heavy=0)) as sandbox:
            assert (await harvest(config(sandbox, folder))).exit_status == 0

    anyio.run(make)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "out"))


def spoil(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / NAME)) as db:
        db.executescript(sql)


def test_the_fast_check_covers_all_tables_indexes_and_triggers() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
        made = db.execute("SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
        assert {name for (name,) in made} == names()
        check_tables(db, Path(NAME))


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_table_is_reported_by_name(table: str, folder: Path) -> None:
    spoil(folder, f"DROP TABLE {table}")
    for look in (lambda: Reader(folder), Ledger(folder).open):
        with pytest.raises(LedgerDamaged, match=rf"is damaged: .*table {table}\b.* missing; .*run --rebuild"):
            look()


NO_NAME = """
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET name = CAST(x'66CE66' AS TEXT), sql = 'CREATE TABLE (' WHERE name = 'runs'
"""
"""After it SQLite's own message about a malformed name is not UTF-8."""


SPOILT = [*NONSENSE, "DROP TABLE totals", NO_NAME]
EVERY_COMMAND = {NONSENSE[0], NONSENSE[-1], NO_NAME}


@pytest.mark.parametrize(
    ("sql", "commands"),
    [
        *((sql, COMMANDS if sql in EVERY_COMMAND else ("export", "verify")) for sql in SPOILT),
        *(
            pytest.param(sql, COMMANDS, marks=pytest.mark.nightly)
            for sql in SPOILT
            if sql not in EVERY_COMMAND
        ),
    ],
    ids=lambda value: "a-name" if value == NO_NAME else None,
)
async def test_invalid_values_are_reported_as_damage_and_never_as_a_defect(
    sql: str, commands: tuple[str, ...], folder: Path
) -> None:
    spoil(folder, sql)
    ends = await each(folder, commands)
    assert len(ends) == len(commands)
    for command, status, err in ends:
        assert "Traceback" not in err, (command, err)
        assert "defect" not in err, (command, err)
        assert status in {0, 3}, (command, err)
    assert [end for end in ends if "is damaged: " in end[2] and "run --rebuild" in end[2]], ends


def flipped(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 8, 64])):
        data[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        begin = chance.randrange(len(data) // 4096) * 4096
        data[begin : begin + 4096] = chance.randbytes(4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 6))]
)
async def test_flipped_bytes_are_never_a_defect(seed: int, folder: Path) -> None:
    flipped(folder / NAME, random.Random(seed))
    for command, status, err in await each(folder):
        assert "Traceback" not in err, (command, err)
        assert "defect" not in err, (command, err)
        assert status in {0, 1, 2, 3}, (command, err)


def truncate(path: Path) -> None:
    os.truncate(path, 10_000)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def another(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE cookies (name)")


@pytest.mark.parametrize("harm", [truncate, empty, another])
async def test_a_file_that_is_no_ledger_is_reported_and_not_changed(
    harm: Callable[[Path], None], folder: Path
) -> None:
    harm(folder / NAME)
    before = (folder / NAME).read_bytes()
    for command, status, err in await each(folder):
        assert status == 3, (command, err)
        assert f"{NAME} is damaged: " in err, (command, err)
        assert "run --rebuild" in err, (command, err)
    assert (folder / NAME).read_bytes() == before


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["pipe", "hard link", "link", "folder"])
def test_planted_files_are_rejected_by_name_without_waiting(
    kind: str, end: str, folder: Path, tmp_path: Path
) -> None:
    place = folder / f"{NAME}{end}"
    place.unlink(missing_ok=True)
    precious = tmp_path / "precious"
    precious.write_bytes(b"")
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to(precious)
    else:
        place.hardlink_to(precious)
    for look in (lambda: Reader(folder), Ledger(folder).open):
        with pytest.raises(StorageError, match=rf"{NAME}{end}: "):
            look()
    assert precious.read_bytes() == b""


def test_a_pipe_in_place_of_a_lease_file_does_not_block(folder: Path) -> None:
    os.mkfifo(folder / "harvest.db.claim")
    with pytest.raises(StorageError, match=r"harvest\.db\.claim: is not a regular file"):
        Ledger(folder).open()


QUICK = RunHooks(timing=Timing(watch_seconds=0.3))
"""Where no row says which run is active, the files are watched."""


# -- rebuilt -------------------------------------------------------------------------------------------


def here(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in (folder / "files").rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("harm", ["DROP TABLE files", "DROP TABLE runs", "flipped", "nothing", "no ledger"])
async def test_a_ledger_is_rebuilt_from_the_files_here_and_from_figshare(
    harm: str, sandbox: Sandbox, folder: Path
) -> None:
    if harm == "flipped":
        (folder / NAME).write_bytes(b"x" * 8192)
    elif harm == "no ledger":
        (folder / NAME).unlink()
        with pytest.raises(UsageError, match="--rebuild makes a new one"):
            await harvest(config(sandbox, folder))
    elif harm != "nothing":
        spoil(folder, harm)
    old = (folder / NAME).read_bytes() if harm != "no ledger" else b""
    files = here(folder)
    unknown = folder / "files" / "77" / "of an item that is gone.csv"
    unknown.parent.mkdir()
    unknown.write_text("1,2")
    sandbox.requests.clear()
    summary = await harvest(config(sandbox, folder), rebuild=True, hooks=QUICK)
    assert summary.exit_status == 0
    assert files.items() < here(folder).items()
    asked = [each for each in sandbox.requests if "/download" in each.path or "/files/" in each.path]
    assert len(asked) < len(files) / 2, "what is proven by its md5 is not fetched again"
    aside = list(folder.glob("harvest.db.before*" if harm == "nothing" else "harvest.db.damaged*"))
    aside = [path for path in aside if not path.name.endswith(("-wal", "-shm"))]
    assert [path.read_bytes() for path in aside] == ([old] if old else [])
    assert summary.folder.unidentified_files.files >= 1
    assert "from before the ledger was rebuilt" in (await harvester("status", "-o", folder)).out
    assert removable(config(sandbox, folder)) == [], "its kind is unknown"


async def test_an_unidentified_file_with_a_wrong_md5_is_moved_aside_and_kept(
    sandbox: Sandbox, folder: Path
) -> None:
    (folder / NAME).write_bytes(b"x" * 8192)
    truth = here(folder)
    path, content = max(truth.items(), key=lambda each: len(each[1]))
    (folder / path).write_bytes(b"an earlier version")
    summary = await harvest(config(sandbox, folder), rebuild=True, hooks=QUICK)
    assert summary.exit_status == 0
    now = here(folder)
    assert now[path] == content
    stem, dot, suffix = path.rpartition(".")
    assert now[f"{stem}~replaced{dot}{suffix}"] == b"an earlier version"


def runs_of(folder: Path) -> int:
    """Return how many runs a ledger has recorded; none where its tables are still being made."""
    with closing(sqlite3.connect(folder / NAME)) as db, suppress(sqlite3.OperationalError):
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])
    return 0


async def test_a_ledger_is_not_rebuilt_while_a_run_is_active(sandbox: Sandbox, tmp_path: Path) -> None:
    words = ("run", "--search", "survey", "-o", tmp_path)
    async with started((*words, *at(sandbox, rate="0.5"))) as process:
        await until(lambda: bool(list(tmp_path.glob(NAME))) and runs_of(tmp_path) > 0)
        ended = await harvester(*words, *at(sandbox), "--rebuild")
        assert ended.status == 3, ended.err
        assert "is using this folder" in ended.err
        assert process.returncode is None
    assert not list(tmp_path.glob("harvest.db.*-*-*"))


def test_a_locked_ledger_is_not_reported_as_damaged(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / NAME, isolation_level=None)) as db:
        migrate(db)
        db.execute("BEGIN EXCLUSIVE")
        assert damage_in(tmp_path) is None
        db.execute("DROP TABLE listings")
        db.execute("COMMIT")
    assert "listings" in str(damage_in(tmp_path))


# -- the words of errors -------------------------------------------------------------------------------


def write_read_only(path: Path) -> None:
    migrate_at(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("DELETE FROM runs")


def open_nothing(path: Path) -> None:
    sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True).execute("SELECT 1")


def fill(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA max_page_count = 2")
        db.execute("CREATE TABLE big AS SELECT zeroblob(20000)")


def wait_in_vain(path: Path) -> None:
    migrate_at(path)
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, timeout=0)) as db,
    ):
        first.execute("BEGIN EXCLUSIVE")
        db.execute("DELETE FROM runs")


def read_junk(path: Path) -> None:
    path.write_bytes(b"x" * 8192)
    with closing(sqlite3.connect(path)) as db:
        db.execute("SELECT * FROM sqlite_schema")


def migrate_at(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db)


@for_each(
    ("act", "words"),
    [
        (write_read_only, "this user may not write here; give this user the right"),
        (open_nothing, "this user may not open it, or not write here; give"),
        (fill, "the disk is full; make room"),
        (wait_in_vain, "another program is writing to it"),
        (read_junk, "it is no ledger: damaged or replaced; it was not changed"),
    ],
)
def test_an_error_of_the_database_is_said_in_plain_words(
    act: Callable[[Path], None], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / act.__name__
    caplog.set_level("DEBUG")
    with pytest.raises(StorageError, match=words) as caught, database_errors(path):
        act(path)
    own = str(caught.value.__cause__)
    assert own not in str(caught.value)
    assert own in caplog.text, "for who looks into it"
