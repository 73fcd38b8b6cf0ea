"""A ledger that table version 10 made: it opens, is migrated, and a run goes on with it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from harvester.errors import FailureKind
from harvester.ledger.database.connection import NAME, migrate
from harvester.ledger.database.integrity import diagnose
from harvester.ledger.database.migrations import MIGRATIONS
from harvester.ledger.database.schema import SCHEMA
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from harvester.states import FileStatus, WorkState
from harvester.system.process import this_process
from tests.support.old_ledger import unpack
from tests.support.program import at, harvester

FAULTS = {"always-wrong-md5": 0.15, "always-404": 0.06, "always-500": 0.04, "always-gone-file": 0.05}
WORLD = Settings(items=60, heavy=0, faults=FAULTS)
"""The world of the fixtures; `changed` makes of it what it was at their end."""

pytestmark = pytest.mark.anyio


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def migrated(name: str, folder: Path) -> Path:
    path = unpack(name, folder)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db)
    return path


def structure(db: sqlite3.Connection) -> dict[str, object]:
    """Return all that a database is made of, and the rows that it begins with."""
    found: dict[str, object] = {}
    tables = (
        "SELECT name, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
    )
    for name, *kind in db.execute(tables).fetchall():
        columns = db.execute(f"PRAGMA table_xinfo ({name})").fetchall()
        keys = db.execute(f"PRAGMA foreign_key_list ({name})").fetchall()
        indexes = db.execute(f"SELECT name, \"unique\", origin, partial FROM pragma_index_list ('{name}')")
        content = db.execute(f"SELECT * FROM {name}").fetchall()
        found[name] = (kind, columns, keys, sorted(indexes.fetchall()), content)
    made = "SELECT name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    for name, sql in db.execute(made).fetchall():
        found[name] = re.sub(r"--[^\n]*|\s+", " ", sql.replace('"', "")).split()
    return found


def test_a_new_ledger_is_what_all_migrations_together_make() -> None:
    with closing(sqlite3.connect(":memory:")) as new, closing(sqlite3.connect(":memory:")) as old:
        for script in MIGRATIONS:
            old.executescript(script)
        new.executescript(SCHEMA)
        assert structure(new) == structure(old)
        assert len(structure(new)) > 30


NEW_WORDS = {
    "owed": "pending",
    "left out": "excluded",
    "gone": "not_found",
    "failed for now": "transient",
    "failed for good": "permanent",
}


@pytest.mark.parametrize("name", ["ledger-10", "ledger-10-killed"])
def test_states_and_kinds_of_failure_get_their_new_words_and_nothing_is_lost(
    name: str, tmp_path: Path
) -> None:
    path = unpack(name, tmp_path)
    assert rows(path, "PRAGMA user_version") == [(10,)]
    visits = "SELECT {0}, task, state, {1}, error, attempts, {2} FROM work ORDER BY 1, 2"
    files = "SELECT {0}, file_id, status, {1}, error, attempts, {2}, path FROM files ORDER BY 1, 2"
    old_visits = rows(path, visits.format("item_id", "verdict", "told_as"))
    old_files = rows(path, files.format("item_id", "verdict", "turn"))
    old_totals = rows(path, "SELECT * FROM totals WHERE number ORDER BY 1, 2, 3, 4")
    others = {
        "stats": "stats", "snapshots": "snapshots", "uses": "usage", "records": "records",
        "finds": "listing_items", "moves": "renames", "versions": "versions", "changes": "changes",
        "conditions": "conditions",
    }  # fmt: skip
    before = {old: rows(path, f"SELECT * FROM {old}") for old in others}
    before["records"] = [(*record, "v2") for record in before["records"]]

    migrated(name, tmp_path)
    assert rows(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert rows(path, visits.format("item_key", "failure_kind", "reported_as")) == [
        tuple(NEW_WORDS.get(str(word), word) for word in visit) for visit in old_visits
    ]
    assert rows(path, files.format("item_key", "failure_kind || reason", "seq")) == [
        (*file[:3], NEW_WORDS.get(str(file[3]), file[3]), *file[4:]) for file in old_files
    ]
    assert {old: rows(path, f"SELECT * FROM {new}") for old, new in others.items()} == before
    kinds = {str(kind) for kind in FailureKind}
    assert {kind for (kind,) in rows(path, "SELECT failure_kind FROM files WHERE status = 'failed'")} <= kinds
    assert rows(path, "SELECT 1 FROM files WHERE status <> 'failed' AND failure_kind <> ''") == []
    totals = "SELECT what, task, state, failure_kind || reason, number, bytes FROM totals WHERE number"
    assert sorted(rows(path, totals)) == sorted(
        (what, task, NEW_WORDS.get(str(state), state), NEW_WORDS.get(str(verdict), verdict), number, size)
        for what, task, state, verdict, number, size in old_totals
    )
    with closing(sqlite3.connect(path)) as db:
        assert diagnose(db) == ""


def change(sandbox: Sandbox) -> None:
    """Change the world as it was changed while the fixtures were made."""
    world = sandbox.world
    world.edit(5000010)
    world.edit(5000037)
    world.withdraw(5000091)
    world.publish(2)


def words(folder: Path, sandbox: Sandbox) -> list[object]:
    config = folder.with_suffix(".toml")
    config.write_text('[stats]\nsince = "2024-01-01"\ngranularity = "year"\n[retry]\nmax_wait = 0.05\n')
    items = ("5000100.v1", "10.6084/m9.figshare.424242", "https://doi.org/10.9999/nothing")
    named = [word for item in items for word in ("--item", item)]
    tasks = "metadata,stats,timeline,breakdown,files"
    return [
        "run", "-c", config, "--account", "--search", ":tag: tag3", *named, "--tasks", tasks,
        "--attempts", "2", "--exclude", "*.zip", "--versions", "all", "-o", folder, *at(sandbox),
    ]  # fmt: skip


def forget_the_other_machine(path: Path) -> None:
    """Make its runs those of dead processes of this machine; others are watched for half a minute."""
    here = this_process()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE runs SET host = ?, machine = ?, began = '0'", (here.host, here.machine))


@pytest.mark.parametrize("name", ["ledger-10-killed", pytest.param("ledger-10", marks=pytest.mark.nightly)])
async def test_a_run_goes_on_with_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "harvest"
    folder.mkdir()
    orphans = rows(unpack(name, folder), "SELECT path FROM leftovers")
    forget_the_other_machine(folder / NAME)
    async with Sandbox(WORLD) as sandbox:
        change(sandbox)
        world = sandbox.world
        with Reader(folder) as reader:  # `status` is the first to open it
            before = reader.counts()
            here = [(file.path, file.file_id) for file in reader.files(FileStatus.DONE)]
        for path, file_id in here:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(world.content(file_id))
        for (orphan,) in orphans:
            (folder / str(orphan)).write_bytes(b"replaced")
        ended = await harvester(*words(folder, sandbox))
    assert ended.status == 1, ended.err  # the world has faults that last
    with Reader(folder) as reader:
        counts = reader.counts()
        failures = list(reader.failures())
    assert counts.items >= before.items
    assert all(WorkState.PENDING not in states for states in counts.work.values())
    assert counts.outcomes.items["withdrawn"] == before.outcomes.items.get("withdrawn", 1)
    assert counts.files.get("pending") is None
    assert {each.failure_kind for each in failures} <= {"not_found", "transient", "permanent"}
    done = {path for path, _ in here}
    asked = {
        int(seen.path.rpartition("/")[2]) for seen in sandbox.requests_to("files") if seen.path[-1].isdigit()
    }
    assert not asked & {file_id for path, file_id in here if path in done}, (
        "what is here is not fetched again"
    )
