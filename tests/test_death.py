"""Killed, interrupted, out of room: what was recorded stays, and the next run completes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sqlite3
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import anyio
import orjson
import pytest

from harvester.jobs.export import export
from harvester.ledger.ledger import Ledger
from harvester.plugins import load_config
from harvester.sandbox import Sandbox, Settings
from tests.support.death import (
    assert_no_file_looks_whole_and_is_not,
    assert_nothing_recorded_was_requested_again,
    kill_again_and_again,
    recorded,
)
from tests.support.fork_server import fork
from tests.support.program import at, environment, harvester, started
from tests.support.truth import assert_complete, assert_records, assert_stats, rows
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.mark.nightly
async def test_a_run_killed_at_ten_random_moments_ends_correctly(tmp_path: Path) -> None:
    await kill_again_and_again(tmp_path, 10, items=500)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
async def test_a_signal_ends_a_run_with_130_and_the_next_run_continues(
    number: signal.Signals, tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=24, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox, rate="40"), "--workers", "4")
        async with started(words) as process:
            await until(lambda: len(sandbox.requests_to("stats")) > 10)
            process.send_signal(number)
            assert await process.wait() == 130
        assert (await harvester("verify", "-o", tmp_path)).status == 0
        done = await harvester("status", "-o", tmp_path, "--json")
        assert orjson.loads(done.out)["last_run"]["state"] == "interrupted", "whatever was verified since"
        moment = recorded(tmp_path, sandbox)
        assert 5 < len(moment.records) < 24
        asked = {seen.path for seen in sandbox.requests_to("api") if seen.path[-7:].isdecimal()}
        assert len(moment.records) == len(asked), "what was in flight was given time to end"
        assert orjson.loads((tmp_path / "summary.json").read_bytes())["run"]["outcome"] == "interrupted"
        ended = await harvester("run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))
        assert_nothing_recorded_was_requested_again(sandbox, [moment])


async def test_waiting_for_standard_input_can_be_interrupted(tmp_path: Path) -> None:
    given, ours = os.pipe()
    with Path(os.devnull).open("wb") as nowhere:
        words = ("run", "--items", "-", "-o", tmp_path / "out")
        process = fork(words, env=environment(), streams=(given, nowhere.fileno(), nowhere.fileno()))
    os.write(ours, b"1\n")
    await until(lambda: not unread(given))  # now it waits for more, and nothing is written
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(3):
        assert await process.wait() == 130
    os.close(given)
    os.close(ours)


def unread(pipe: int) -> int:
    """Return how many bytes are in a pipe."""
    (number,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(number)


@dataclass(frozen=True)
class Phase:
    """A moment of a run: what brings it about, and how to tell that it has come."""

    has_come: Callable[[Sandbox, Path], bool]
    latency: float = 0.0
    rate: str = "40"
    faults: dict[str, float] = field(default_factory=dict)
    words: tuple[str, ...] = ()


def number_of(folder: Path, what: str) -> int:
    """Count rows of the ledger."""
    if not (folder / "harvest.db").exists():
        return 0
    with closing(sqlite3.connect(f"file:{folder}/harvest.db?mode=ro", uri=True)) as db:
        with contextlib.suppress(sqlite3.OperationalError):  # its tables are still being made
            return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
        return 0


TWO_AT_ONCE = ("--tasks", "metadata,stats", "--workers", "2")
PHASES = {
    "as it starts": Phase(lambda _, folder: folder.exists()),
    "before the first page has come": Phase(
        lambda sandbox, folder: len(sandbox.requests_to("api")) == 1, latency=0.5, words=TWO_AT_ONCE
    ),
    "waiting for a turn": Phase(  # for longer than it is given to end
        lambda sandbox, _: len(sandbox.requests_to("stats")) > 0, rate="0.4", words=("--tasks", "stats")
    ),
    "between two tries": Phase(
        lambda sandbox, _: len(sandbox.requests_to("api")) >= 2, faults={"503": 1.0}, words=TWO_AT_ONCE
    ),
    "in a pause": Phase(
        lambda sandbox, _: 429 in {seen.status for seen in sandbox.requests},
        faults={"429-after": 0.2},
        words=TWO_AT_ONCE,
    ),
    "among items": Phase(lambda sandbox, _: len(sandbox.requests_to("stats")) > 4, words=TWO_AT_ONCE),
    "among files": Phase(lambda sandbox, _: len(sandbox.requests_to("storage")) > 8, latency=0.05),
    "with only files left": Phase(
        lambda sandbox, folder: (
            len(sandbox.requests_to("stats")) == 2 * len(sandbox.world.search("survey"))
            and number_of(folder, "files WHERE status = 'pending'") > 10
        ),
        rate="200",
        words=("--downloads", "1"),
        latency=0.02,
    ),
}


@pytest.mark.parametrize("name", PHASES)
async def test_a_signal_in_every_phase(name: str, tmp_path: Path) -> None:
    phase, out = PHASES[name], tmp_path / "out"
    number = [signal.SIGINT, signal.SIGTERM][list(PHASES).index(name) % 2]
    settings = Settings(items=8, heavy=0, latency=phase.latency, faults=phase.faults)
    async with Sandbox(settings) as sandbox:
        run = ("run", "--search", "survey", "-o", out, *phase.words)
        async with started((*run, *at(sandbox, rate=phase.rate))) as process:
            await until(lambda: phase.has_come(sandbox, out))
            process.send_signal(number)
            sandbox.meet({})
            with anyio.fail_after(13):
                assert await process.wait() == 130
        moment = recorded(out, sandbox)
        sandbox.settings = Settings(items=8, heavy=0)
        ended = await harvester(*run, *at(sandbox))
        assert ended.status == 0, ended.err
        ids = list(sandbox.world.search("survey"))
        assert_stats(out, sandbox, ids)
        if "metadata,stats" in phase.words:
            assert_records(out, sandbox, ids, set())
        elif "stats" not in phase.words:
            assert_complete(out, sandbox, ids)
        assert_nothing_recorded_was_requested_again(sandbox, [moment])


def late(number: signal.Signals) -> str:
    """Return a program that is the harvester and gets a signal when its work is done."""
    return f"""
import atexit, os, sys
from harvester.cli.main import main
atexit.register(os.kill, os.getpid(), {number:d})  # the first to be registered is the last to be called
status = main()
sys.exit(status)
"""


def late_twice(number: signal.Signals) -> str:
    return late(number).replace("sys.exit", f"os.kill(os.getpid(), {number:d}); sys.exit")


STATS = ("run", "--item", "1", "--tasks", "stats")


@pytest.mark.parametrize(
    ("words", "number", "program"),
    [
        (STATS, signal.SIGINT, late_twice),
        (STATS, signal.SIGTERM, late),
        (("export",), signal.SIGTERM, late_twice),
        (("status",), signal.SIGINT, late_twice),
        (("status",), signal.SIGTERM, late),
        *(
            pytest.param(words, number, program, marks=pytest.mark.nightly)
            for words, number, program in (
                (STATS, signal.SIGINT, late),
                (STATS, signal.SIGTERM, late_twice),
                (("export",), signal.SIGTERM, late),
                (("export",), signal.SIGINT, late),
                (("export",), signal.SIGINT, late_twice),
                (("status",), signal.SIGINT, late),
                (("status",), signal.SIGTERM, late_twice),
            )
        ),
    ],
)
async def test_a_signal_after_the_work_neither_kills_nor_shows_a_traceback(
    words: tuple[str, ...], number: signal.Signals, program: Callable[[signal.Signals], str], tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path)
    ledger.open()
    await ledger.close("finished")
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        options = ("-o", str(tmp_path), *(at(sandbox) if words[0] == "run" else ()))
        expected = (await harvester(*words, *options)).status
        done = await anyio.run_process(
            [sys.executable, "-c", program(number), *words, *options], env=environment(), check=False
        )
        assert done.returncode in {expected, *([130] if program is late_twice else [])}
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "seconds",
    [
        *(0.0, 0.02, 0.06),
        *(pytest.param(seconds, marks=pytest.mark.nightly) for seconds in (0.01, 0.03, 0.04, 0.08)),
    ],
)
async def test_a_signal_at_the_very_end_is_handled_or_too_late(seconds: float, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0)) as sandbox:
        words = ("run", "--item", str(sandbox.world.public_ids[0]), "--tasks", "stats", "-o", tmp_path)
        async with started((*words, *at(sandbox))) as process:
            await until((tmp_path / "summary.json").exists, every=0.001)
            await anyio.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            assert await process.wait() in {0, 130}


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=5, heavy=0, latency=2.0)) as sandbox:
        words = ("run", "--item", str(sandbox.world.public_ids[0]), "-o", tmp_path, *at(sandbox))
        async with started(words) as process:
            await until(lambda: bool(sandbox.requests))  # an item is in flight
            process.send_signal(signal.SIGINT)
            await anyio.sleep(0.3)
            began = anyio.current_time()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
            assert anyio.current_time() - began < 1


async def test_a_second_run_on_the_folder_is_refused_while_the_first_is_active(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path, *at(sandbox, rate="2"))
        async with started(words) as process:
            await until(lambda: bool(sandbox.requests))
            ended = await harvester(*words)
            assert ended.status == 3
            assert f"another run (process {process.pid} on" in ended.err
            assert ended.err.count("\n") == 1
            done = await harvester("status", "-o", tmp_path)
            assert done.status == 0
            assert f"running by process {process.pid}" in done.out
            assert process.returncode is None
        done = await harvester("status", "-o", tmp_path, "--json")
        assert orjson.loads(done.out)["last_run"]["state"] == "killed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_stops_it_cleanly_and_the_next_run_completes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = await anyio.run_process(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        async with Sandbox(Settings(items=16, heavy=0)) as sandbox:
            words = ("run", "--search", "survey", "-o", disk / "out", *at(sandbox))
            ended = await harvester(*words)
            assert ended.status == 3
            assert "make room" in ended.err or "check the disk" in ended.err
            assert "Traceback" not in ended.err
            assert_no_file_looks_whole_and_is_not(disk / "out", sandbox)
            status = await harvester("status", "-o", disk / "out")
            assert re.search("^last run  (killed, or )?stopped", status.out, re.MULTILINE), status.out
            moment = recorded(disk / "out", sandbox)
            await anyio.run_process(["mount", "-o", "remount,size=64m", str(disk)])
            ended = await harvester(*words)
            assert ended.status == 0, ended.err
            assert_complete(disk / "out", sandbox, sandbox.world.search("survey"))
            assert_nothing_recorded_was_requested_again(sandbox, [moment])
    finally:
        await anyio.run_process(["umount", str(disk)])


async def test_a_file_renamed_by_a_killed_run_is_verified_and_kept(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        item = sandbox.world.public_ids[0]
        words = ("run", "--item", str(item), "-o", tmp_path, *at(sandbox))
        assert (await harvester(*words)).status == 0
        with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
            db.execute("UPDATE files SET status = 'pending'")  # as if killed between rename and record
        before = len(sandbox.requests)
        assert (await harvester(*words)).status == 0
        assert [(seen.path, seen.status) for seen in sandbox.requests[before:]] == [
            (f"/v2/articles/{item}", 304)  # one that is named is asked whether it has changed; no file is
        ]
        assert {row["status"] for row in rows(tmp_path / "files.csv")} == {"done"}


@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.nightly)])
async def test_a_kill_during_a_segmented_download_loses_nothing(kills: int, tmp_path: Path) -> None:
    """What was here by then is not requested again, and the file is whole at the end."""
    settings = Settings(items=20, heavy=1, heavy_size=68_000_000, connection_rate=7e6)
    async with Sandbox(settings) as sandbox:
        item = sandbox.world.with_trait("heavy")[0]
        words = ("run", "--item", str(item), "-o", tmp_path, *at(sandbox))
        for _ in range(kills):
            before = stretches(tmp_path)
            asked = len(sandbox.requests)
            async with started(words) as process:
                with anyio.fail_after(60):
                    while sum(map(len, stretches(tmp_path)[1:])) < sum(map(len, before[1:])) + 4_000_000:
                        await anyio.sleep(0.05)
                process.kill()
                await process.wait()
            assert not (tmp_path / "files").exists()
            assert_asked_only_for_what_was_missing(sandbox, asked, before)
        before, asked = stretches(tmp_path), len(sandbox.requests)
        assert sum(map(len, before[1:])) > kills * 4_000_000
        sandbox.world.settings = replace(settings, connection_rate=inf)
        ended = await harvester(*words)
        assert ended.status == 0, ended.err
        assert_complete(tmp_path, sandbox, [item])
        assert_asked_only_for_what_was_missing(sandbox, asked, before)
        assert not list((tmp_path / ".partial").iterdir())


def stretches(folder: Path) -> list[range]:
    """The bytes of the one file that are here: its beginning, and pieces of what comes later."""
    found = []
    for path in (folder / ".partial").glob("*.part"):
        begin = int(path.stem.partition("@")[2] or 0)
        with contextlib.suppress(FileNotFoundError):
            found.append(range(begin, begin + path.stat().st_size))
    return sorted(found, key=lambda stretch: stretch.start)


def assert_asked_only_for_what_was_missing(sandbox: Sandbox, since: int, here: list[range]) -> None:
    """Assert that every request for a part begins where nothing is here, and ends before something is."""
    for seen in sandbox.requests[since:]:
        if seen.service == "storage" and here:
            first, last = seen.headers["Range"].removeprefix("bytes=").split("-")
            wanted = range(int(first), int(last) + 1 if last else 1 << 62)
            for stretch in here:
                assert wanted.start not in stretch
                assert stretch.start not in wanted


async def test_an_export_can_be_interrupted_and_leaves_the_old_tables(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open()
    await ledger.close("finished")
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:
        raw = '{"id": 1, "title": "' + "x" * 3000 + '"}'
        numbers = [(number,) for number in range(4_000)]
        db.executemany("INSERT INTO items (item_key, private) VALUES (?, 0)", numbers)
        db.execute("INSERT INTO records SELECT item_key, ?, NULL, '', 'v2' FROM items", (raw,))
    (tmp_path / "items.csv").write_text("the old table")
    config = load_config(options={"output": str(tmp_path), "export.formats": ["csv"]}, environ={})
    began = anyio.current_time()
    with anyio.move_on_after(0.02) as scope:
        await export(config)
    assert scope.cancelled_caught
    assert anyio.current_time() - began < 0.5
    assert (tmp_path / "items.csv").read_text() == "the old table"
    assert not list(tmp_path.glob(".*.new"))


@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("run", signal.SIGTERM),  # in its exports
        ("export", signal.SIGINT),
        ("verify", signal.SIGTERM),
        ("plan", signal.SIGINT),
        ("plan", signal.SIGTERM),
    ],
)
async def test_a_signal_ends_every_command_with_130(
    command: str, number: signal.Signals, tmp_path: Path
) -> None:
    """Nothing half-written is left, and the folder is let go."""
    async with Sandbox(Settings(items=5, heavy=0, latency=0.4 if command == "plan" else 0.0)) as sandbox:
        many_records(tmp_path, 10 if command == "plan" else 3_000)
        words = {
            "run": ("run", "--item", "1", "--tasks", "metadata", *at(sandbox)),
            "export": ("export",),
            "verify": ("verify",),
            "plan": ("plan", "--search", "survey", *at(sandbox)),
        }[command]
        async with started((*words, "-o", tmp_path)) as process:
            with anyio.fail_after(20):
                if command == "plan":
                    while not sandbox.requests:
                        await anyio.sleep(0.01)
                elif command == "verify":
                    while last_job(tmp_path)[0] != "verify":
                        await anyio.sleep(0.001)
                else:
                    while not list(tmp_path.glob(".*.new")):
                        await anyio.sleep(0.001)
            process.send_signal(number)
            with anyio.fail_after(5):
                assert await process.wait() == 130
        assert not list(tmp_path.glob(".*.new"))
        if command == "verify":
            assert last_job(tmp_path) == ("verify", "interrupted")
        ended = await harvester("verify", "-o", tmp_path)
        assert "another run" not in ended.err
        assert last_job(tmp_path) == ("verify", "finished")


def many_records(folder: Path, number: int) -> None:
    """Make a harvest of this number of records and files by hand."""
    ledger = Ledger(folder)
    ledger.open()
    ledger._lease.db.close()
    with closing(sqlite3.connect(folder / "harvest.db")) as db, db:
        raw = '{"id": 1, "title": "' + "x" * 3000 + '"}'
        ids = [(item_id,) for item_id in range(1, number + 1)]
        db.execute("UPDATE runs SET ended = '', outcome = 'finished'")
        db.executemany("INSERT INTO items (item_key, private) VALUES (?, 0)", ids)
        db.execute("INSERT INTO work (item_key, task, state) SELECT item_key, 'metadata', 'done' FROM items")
        db.execute("INSERT INTO records SELECT item_key, ?, NULL, '', 'v2' FROM items", (raw,))
        db.execute(
            "INSERT INTO files (item_key, file_id, name, folder, size, md5, url, path, status)"
            " SELECT item_key, item_key, 'x', '', 1, NULL, '', 'files/' || item_key || '/x', 'done'"
            " FROM items"
        )


def last_job(folder: Path) -> tuple[str, str | None]:
    """Tell what was done last, and how it ended."""
    with closing(sqlite3.connect(f"file:{folder}/harvest.db?mode=ro", uri=True)) as db:
        job, outcome = db.execute("SELECT job, outcome FROM runs ORDER BY id DESC LIMIT 1").fetchone()
        return job, outcome
