"""Signals from a user, a terminal, or a container: how fast a run ends, and how far it is."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import anyio
import orjson
import pytest

from harvester.sandbox import Sandbox, Settings
from tests.support.forked import forked
from tests.support.program import at, environment
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TIME = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"


def outcome(folder: Path) -> object:
    return orjson.loads((folder / "summary.json").read_bytes())["run"]["outcome"]


async def test_a_run_with_slow_requests_in_flight_ends_within_8_seconds_of_sigterm(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12, heavy=0, faults={"stall": 1.0})) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path / "out", *at(sandbox))
        async with forked(words, tmp_path / "output") as running:
            await until(lambda: len(sandbox.requests_to("api")) >= 1)
            began = time.monotonic()
            running.terminate()
            assert await running.wait() == 130
            assert 4 < time.monotonic() - began < 8, "it waited for them, but not too long"
    assert outcome(tmp_path / "out") == "interrupted"
    assert "interrupted; state saved" in (tmp_path / "output").read_text()


async def test_sigusr1_prints_one_line_of_progress_and_sighup_stops_the_run(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30, heavy=0)) as sandbox:
        words = ("run", "--search", "survey", "-o", tmp_path / "out", *at(sandbox, "20"), "--quiet")
        async with forked(words, tmp_path / "output") as running:
            await until(lambda: len(sandbox.requests_to("stats")) > 2)
            running.process.send_signal(signal.SIGUSR1)
            await until(lambda: running.output.read_bytes().endswith(b"\n"))
            printed = running.output.read_text()
            assert re.fullmatch(TIME + r" \d+ of \d+\+? items \(\d+ %\), .*requests/s: api .*\n", printed), (
                printed
            )
            running.process.send_signal(signal.SIGHUP)
            assert await running.wait() == 130
    stopping = running.output.read_text().removeprefix(printed)
    assert re.match(TIME + r" stopping after in-flight work; press Ctrl-C again to abort\n", stopping)
    assert "exit status 130" in stopping, "--quiet says what went wrong"
    assert outcome(tmp_path / "out") == "interrupted"


async def test_sigusr1_kills_no_command_and_an_ignored_sighup_stays_ignored() -> None:
    program = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
from harvester.cli.signals import SIGNALS
SIGNALS.begin()
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGHUP)
print("still here")
"""
    ended = await anyio.run_process([sys.executable, "-c", program], env=environment())
    assert ended.stdout == b"still here\n"


async def test_a_closed_terminal_stops_the_run_cleanly(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    async with Sandbox(Settings(items=30, heavy=0)) as sandbox:
        words = ["run", "--search", "survey", "-o", str(tmp_path / "out"), *at(sandbox, "20")]
        process = await anyio.open_process(
            ["setsid", "--ctty", "--wait", sys.executable, "-m", "harvester", *words],
            stdin=terminal, stdout=terminal, stderr=terminal, env=environment(TERM="xterm"),
        )  # fmt: skip
        os.close(terminal)
        await until(lambda: len(sandbox.requests_to("stats")) > 2)
        os.close(ours)
        assert await process.wait() == 130
    assert outcome(tmp_path / "out") == "interrupted"
