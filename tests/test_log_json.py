"""With `--log-json` standard error is one JSON object a line, from `start` to `end`, whatever happens."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from harvester.cli.events import is_wanted
from harvester.sandbox import Sandbox, Settings
from tests.support.each import for_each
from tests.support.fork_server import fork
from tests.support.forked import forked
from tests.support.orphans import harvest_with_orphans, run_words
from tests.support.program import TOKEN, at, environment, harvester
from tests.support.schemas import SCHEMAS, check_events
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9/v2"


@pytest.fixture
def world() -> Settings:
    return Settings(items=20, heavy=0)


async def events_of(*words: object, cwd: Path, status: int, **more: Any) -> list[Any]:
    ended = await harvester(*words, "--log-json", cwd=cwd, **more)
    assert ended.status == status, ended
    events = check_events(ended.err)
    assert events[-1]["exit_status"] == status
    assert TOKEN not in ended.err
    return events


def named(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["event"] == name]


# -- a run ----------------------------------------------------------------------------------------


async def test_a_run_says_what_it_does_and_how_it_ended(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "harvest.toml").write_text('output = "here"\n[rate]\nstats = "auto"\n')
    item_id = sandbox.world.public_ids[0]
    where = ("--api", sandbox.api, "--stats", sandbox.stats, "--rate", "api=inf", "--rate", "files=50")
    words = (
        "run",
        "--item",
        item_id,
        "--item",
        "4999999",
        "--group",
        "11963",
        "--tasks",
        "metadata,files",
        *where,
    )
    events = await events_of(*words, cwd=tmp_path, status=1)
    start, end = events[0], events[-1]
    del start["time"], start["level"], start["message"]
    assert start == {
        "event": "start",
        "version": "0.1.0",
        "command": "run",
        "config": "harvest.toml",
        "folder": "here",
        "sources": ["group 11963", f"items {item_id} and 1 more"],
        "tasks": ["metadata", "files"],
        "rates": {"api": None, "stats": "auto", "files": 50.0},
        "services": {"api": sandbox.api, "stats": sandbox.stats},
        "has_token": True,
        "has_stats_credentials": False,
    }
    (failure,) = named(events, "failure")
    assert (failure["item_id"], failure["file_id"], failure["count"]) == (4999999, None, 1)
    assert (failure["task"], failure["failure_kind"], failure["attempts"]) == ("metadata", "not_found", 1)
    assert "/articles/4999999: not found (404)" in failure["error"]
    assert (end["outcome"], end["summary"]) == ("finished", "here/summary.json")
    counts = end["counts"]
    assert counts["items_done"] == len({item_id, *sandbox.world.group_items(11963)})
    assert (counts["items_failed"], counts["failures"], counts["files_failed"]) == (1, 1, 0)
    assert counts["requests"]["api"] == len(sandbox.requests_to("api"))
    assert counts["bytes"] > 0


async def test_a_run_says_in_its_first_line_what_it_does(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('output = "humanities"\n')
    where = ("--api", sandbox.api, "--stats", sandbox.stats, "--rate", "api=inf", "--tasks", "metadata")
    words = ("run", "--group", "11963", "--type", "dataset", *where)
    ended = await harvester(*words, "-c", "mine.toml", cwd=tmp_path)
    assert ended.status == 0
    start = "harvester 0.1.0 · mine.toml · → humanities · group 11963 (type dataset) · rate: api unlimited"
    assert ended.err.splitlines()[0].endswith(f" {start} · token: set")
    assert TOKEN not in ended.err
    env = {name: text for name, text in environment().items() if name != "FIGSHARE_TOKEN"}
    words_b = ("run", "--search", "survey", "--item", "5000001", "-o", "b", "--tasks", "metadata")
    ended = await harvester(*words_b, *at(sandbox, "1000"), cwd=tmp_path, env=env)
    start = "harvester 0.1.0 · no config file · → b · search survey · items 5000001"
    rates = "rate: api 1000, stats 1000, files 1000"
    assert ended.err.splitlines()[0].endswith(f" {start} · {rates} · token: not set")
    assert (await harvester(*words_b, *at(sandbox), "-q", cwd=tmp_path, env=env)).err == ""


async def test_every_command_on_a_harvest_begins_and_ends_with_an_event(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    item = ("--item", sandbox.world.public_ids[0], "--tasks", "metadata", *at(sandbox))
    for words in (("run", *item), ("plan", *item), ("run", "--dry-run", *item)):
        await events_of(*words, cwd=tmp_path, status=0)
    for command in ("status", "failed", "verify", "export", "config"):
        events = await events_of(command, cwd=tmp_path, status=0)
        assert [event["event"] for event in events] == ["start", "end"], command
        assert (events[0]["command"], events[0]["folder"]) == (command, "harvest")
        assert (events[-1]["outcome"], events[-1]["counts"]) == ("finished", None)
    await events_of("list", *item[:2], *at(sandbox), cwd=tmp_path, status=0)


async def test_a_run_that_is_stopped_says_so_and_how_far_it_came(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=60, heavy=0, latency=0.05)) as sandbox:
        words = ("run", "--log-json", "--search", "survey", "-o", tmp_path / "a", *at(sandbox, "50"))
        for signals in ([signal.SIGTERM], [signal.SIGINT, signal.SIGINT]):
            sandbox.requests.clear()
            async with forked(words, tmp_path / "output") as running:
                await until(lambda: len(sandbox.requests_to("api")) > 10)
                for number in signals:
                    os.kill(running.process.pid, number)
                    await until(lambda: b'"stopping"' in running.output.read_bytes())
                assert await running.wait() == 130
            events = check_events(running.output.read_bytes())
            assert [event["event"] for event in events[-2:]] == ["stopping", "end"]
            assert (events[-1]["exit_status"], events[-1]["outcome"]) == (130, "interrupted")
            assert 0 < events[-1]["counts"]["requests"]["api"] < 60
            assert (events[-1]["summary"] is None) == (len(signals) > 1)
            assert ("state saved" in events[-1]["message"]) == (len(signals) > 1)


async def test_a_pause_says_for_how_long_and_why(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=8, heavy=0, faults={"429": 0.3})) as sandbox:
        words = ("run", "--search", "survey", "--tasks", "metadata", *at(sandbox))
        env = environment(HARVESTER_RETRY_MAX_WAIT="0.05")
        events = await events_of(*words, cwd=tmp_path, status=0, env=env)
    pause = named(events, "pause")[0]
    assert (pause["service"], pause["level"]) == ("api", "warning")
    assert 0 < pause["seconds"] <= 1
    assert pause["until"] >= pause["time"]
    assert "too many requests (429)" in pause["reason"]


async def test_pruning_is_reported_in_events_too(sandbox: Sandbox, tmp_path: Path) -> None:
    _, old = await harvest_with_orphans(sandbox, tmp_path)
    ended = await harvester(*run_words(sandbox, tmp_path, "--prune", "--yes"), "--log-json")
    assert (ended.status, ended.out) == (0, "")
    notes = [note["message"] for note in named(check_events(ended.err), "note")]
    assert any(message.startswith(f"{len(old)} files removed") for message in notes)


async def test_a_log_file_has_the_events_too_and_quiet_hides_none_of_them(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("run", "--search", "survey", "--item", "4999999", "--tasks", "metadata", *at(sandbox))
    ended = await harvester(*words, "-q", "--log-json", "--log-file", "run.log", cwd=tmp_path)
    assert ended.status == 1
    shown, kept = (
        [event["event"] for event in check_events(text)]
        for text in (ended.err, (tmp_path / "run.log").read_bytes())
    )
    assert shown == ["start", "failure", "end"]
    assert [name for name in kept if name in shown] == shown


async def test_a_log_file_of_plain_lines_says_how_a_run_ended(tmp_path: Path) -> None:
    words = ("run", "--item", "5", "--api", NOWHERE, "--attempts", "1", "--rate", "inf")
    ended = await harvester(*words, "--log-file", "run.log", cwd=tmp_path)
    assert ended.status == 3
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert " harvester 0.1.0 · " in lines[0]
    assert lines[-1].partition(" harvester: ")[2] == ended.err.splitlines()[-1].removeprefix("harvester: ")


# -- what ends a command early --------------------------------------------------------------------


async def test_wrong_usage_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("tasks = 1\nx = 2\n")
    for words in (
        ("run", "--serch", "x"),
        ("run", "--workers", "many"),
        ("run",),
        ("run", "-c", "none.toml"),
        ("run", "-c", "wrong.toml"),
        ("run", "--search", "x", "--yes"),
        ("list", "--account"),
        ("nothing",),
    ):
        env = {name: text for name, text in environment().items() if name != "FIGSHARE_TOKEN"}
        events = await events_of(*words, cwd=tmp_path, status=2, env=env)
        assert [event["event"] for event in events] == ["start", "error", "end"], words
        assert (events[1]["kind"], events[1]["level"]) == ("usage_error", "error")
        assert "usage:" not in events[1]["message"]
        assert not events[1]["message"].startswith("harvester")
        assert (events[-1]["outcome"], events[-1]["counts"]) == ("refused", None)
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]


async def test_an_error_that_ends_the_work_says_its_kind(sandbox: Sandbox, tmp_path: Path) -> None:
    item = ("--item", sandbox.world.public_ids[0])
    refused = environment(FIGSHARE_TOKEN="not-the-token")
    patient = environment(HARVESTER_RETRY_MAX_WAIT="0.05")
    unreachable = ("--api", NOWHERE, "--attempts", "2", "--rate", "inf")
    for words, env, kind in (
        (("run", "--account", *at(sandbox)), refused, "token_rejected"),
        (("list", "--account", *at(sandbox)), refused, "token_rejected"),
        (("run", *item, *unreachable), patient, "unreachable"),
        (("list", "--search", "x", *unreachable), patient, "unreachable"),
    ):
        events = await events_of(*words, cwd=tmp_path, status=3, env=env)
        assert [event["kind"] for event in named(events, "error")] == [kind], words
        assert (events[-1]["outcome"], events[-1]["level"]) == ("stopped", "error")


async def test_a_defect_is_an_error_with_its_traceback(sandbox: Sandbox, tmp_path: Path) -> None:
    words = (
        "run",
        "--item",
        sandbox.world.public_ids[0],
        "-o",
        tmp_path,
        "--tasks",
        "metadata",
        *at(sandbox),
    )
    assert (await harvester(*words)).status == 0
    with closing(sqlite3.connect(tmp_path / "harvest.db")) as db, db:  # what no run writes
        db.execute("UPDATE listings SET position = '[1]', complete = 0")
        db.execute("UPDATE runs SET outcome = 'interrupted'")
    events = await events_of(*words, cwd=tmp_path, status=3)
    (error,) = named(events, "error")
    assert error["kind"] == "defect"
    assert "\nValueError: invalid literal for int()" in error["traceback"]
    assert events[-1]["outcome"] == "crashed"
    assert events[-1]["summary"] is None


def test_every_error_that_ends_a_command_has_its_kind_in_the_schema() -> None:
    from harvester.cli.events import kind_of
    from harvester.errors import FatalError, UsageError
    from harvester.ledger.database import integrity

    found = {UsageError, FatalError}
    while more := {sub for each in found for sub in each.__subclasses__()} - found:
        found |= more
    assert integrity.LedgerDamaged in found
    assert {kind_of(each) for each in found} | {"library", "defect"} == set(
        SCHEMAS["log-line"]["properties"]["kind"]["enum"]
    )


# -- what else writes to standard error -----------------------------------------------------------

OTHERS = """
import asyncio, logging, sys, threading, warnings
from harvester.cli.events import EVENTS
from harvester.cli.log_format import set_up
EVENTS.begin(["run", "--log-json"])
print("größe", file=sys.stderr)
set_up(as_json=True)
warnings.warn("an old call", DeprecationWarning, stacklevel=1)
logging.getLogger("asyncio").error("a task %s", "was lost")
logging.getLogger("harvester.x").info("a note\\nof two \\x1b lines")
sys.stderr.write("half a")
sys.stderr.write(" line\\nnext\\n")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
many = lambda: [EVENTS.emit("note", "info", "x" * 9000) for _ in range(9)]
crowd = [threading.Thread(target=many) for _ in range(9)]
for each in crowd:
    each.start()
for each in crowd:
    each.join()
EVENTS.end(0)
print("after the end", file=sys.stderr)
logging.getLogger("asyncio").error("too late")
"""


async def test_text_of_libraries_threads_and_python_becomes_events() -> None:
    env = environment(PYTHONIOENCODING="ascii:strict")  # JSON is UTF-8 all the same
    done = await anyio.run_process([sys.executable, "-W", "always", "-c", OTHERS], env=env)
    events = check_events(done.stderr)
    assert [(event["event"], event["message"]) for event in events[1:6]] == [
        ("warning", "größe"),
        ("warning", "an old call"),
        ("error", "a task was lost"),
        ("note", "a note\nof two   lines"),
        ("warning", "half a line"),
    ]
    assert events[7]["traceback"].endswith("ZeroDivisionError: division by zero\n")
    assert [len(event["message"]) for event in events[8:-1]] == [9000] * 81
    assert events[-1]["outcome"] == "crashed"


async def test_a_standard_error_that_is_closed_or_full_changes_no_exit_status(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("run", "--log-json", "--item", "99999999", "--tasks", "metadata", *at(sandbox))
    with (tmp_path / "out").open("wb") as out, Path("/dev/full").open("wb", buffering=0) as full:
        reading, broken = os.pipe()
        os.close(reading)
        for err in (None, full.fileno(), broken):
            streams = (None, out.fileno(), err)
            process = fork(words, env=environment(), cwd=tmp_path, streams=streams)
            assert await process.wait() == 1
        os.close(broken)
    assert (tmp_path / "out").read_bytes() == b""


@for_each(
    ("words", "wanted"),
    [
        (["run", "--log-json"], True),
        (["--log-json"], True),
        (["run", "--", "--log-json"], False),
        (["run", "--log-jsonx"], False),
        ([], False),
    ],
)
def test_the_option_is_found_before_the_command_line_is_understood(words: list[str], wanted: bool) -> None:
    assert is_wanted(words) == wanted


def test_the_option_is_found_whatever_is_given_to_it() -> None:
    for words in (["run", "--log-json"], ["run", "--log-json=yes"], ["--log-json=", "run"]):
        assert is_wanted(words)
    for words in (["run"], ["run", "--", "--log-json"], ["run", "--log-json-lines"]):
        assert not is_wanted(words)
