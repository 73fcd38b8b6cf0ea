"""The lease: of two runs on one folder one is active, whatever their clocks, names and numbers say."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from math import inf
from pathlib import Path

import anyio
import pytest

from harvester.errors import FolderLocked
from harvester.ledger.database.connection import NAME
from harvester.ledger.database.heartbeat import Sign, Timing, Watch
from harvester.ledger.database.waiting import when_free
from harvester.ledger.ledger import Ledger
from harvester.ledger.reader import Reader
from harvester.sandbox import Sandbox, Settings
from harvester.system.process import Process
from tests.support.forked import forked
from tests.support.program import at, environment, harvester
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

QUICK = Timing(watch_seconds=1.0, beat_seconds=0.1)

OPEN = """
import os, sys, time, anyio
from pathlib import Path
from threading import Thread
from harvester.errors import FolderLocked
from harvester.ledger.database.heartbeat import Timing, Watch
from harvester.ledger.database.lease_file import LeaseFile
from harvester.ledger.ledger import Ledger

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once: others print there too

def hold(folder, how="log", seconds=3.0):
    try:
        if how == "log":
            ledger = Ledger(Path(folder), timing=Timing(watch_seconds=seconds))
            ledger.open()
        else:
            ledger = LeaseFile(Path(folder), Watch(Path(folder), seconds=seconds))
            ledger.take()
    except FolderLocked as error:
        say("refused", os.getpid(), error)
    else:
        say("held", os.getpid())
        while how != "log" and ledger.renew():
            time.sleep(0.1)
        return ledger
"""


@contextmanager
def python(code: str, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Run some code in a process of its own; it is killed at the end."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", OPEN + code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split(maxsplit=2)


def forget_identity(folder: Path) -> None:
    """Make the last run one of which nothing can be proven, as of another machine."""
    with closing(sqlite3.connect(folder / NAME)) as db, db:
        db.execute("UPDATE runs SET machine = '', began = ''")


@pytest.mark.parametrize("ahead", [-45.0, 45.0, 365 * 86400.0])
async def test_the_folder_of_a_live_run_is_locked_with_any_clock(ahead: float, tmp_path: Path) -> None:
    first = Ledger(tmp_path, clock=lambda: time.time() + ahead, timing=QUICK)
    first.open()
    forget_identity(tmp_path)
    with pytest.raises(FolderLocked, match=f"process {os.getpid()} on .* is using this folder"):
        Ledger(tmp_path, timing=QUICK).open()
    with Reader(tmp_path) as reader:
        assert (found := reader.last_run()) is not None
        assert found.state == "running"
    await first.close("finished")


@pytest.mark.parametrize("ahead", [-45.0, 0.0, 365 * 86400.0])
async def test_the_lease_of_a_silent_run_on_another_machine_is_taken_over_with_any_clock(
    ahead: float, tmp_path: Path
) -> None:
    first = Ledger(tmp_path, clock=lambda: time.time() + ahead, timing=Timing(beat_seconds=inf))
    first.open()
    forget_identity(tmp_path)
    second = Ledger(tmp_path, timing=Timing(watch_seconds=0.4))
    began = time.monotonic()
    second.open()
    assert time.monotonic() - began >= 0.4
    await second.close("finished")
    with pytest.raises(FolderLocked, match="took this folder over"):
        await first.close("finished")


async def test_a_long_transaction_does_not_lose_the_lease(tmp_path: Path) -> None:
    first = Ledger(tmp_path, timing=QUICK)
    first.open()
    began = threading.Event()

    def work_long() -> None:
        with first._lease.transaction():
            began.set()
            time.sleep(1)

    thread = threading.Thread(target=work_long)
    thread.start()
    began.wait()
    with pytest.raises(FolderLocked, match="is using this folder"):
        Ledger(tmp_path, timing=Timing(watch_seconds=0.5)).open()
    thread.join()
    await first.close("finished")


THREE_AT_ONCE = """
waiting, all_here = os.pipe()
for _ in range(3):
    if not os.fork():
        os.close(all_here)
        os.read(waiting, 1)
        Thread(target=lambda: os._exit(len(sys.stdin.read())), daemon=True).start()  # with the test
        hold({folder!r}, {how!r}, 2.0)
        time.sleep(60)
os.close(all_here)
time.sleep(60)
"""


@pytest.mark.parametrize("how", ["log", "claim"])
@pytest.mark.parametrize("after", ["nothing", "a killed run", "a silent run elsewhere"])
def test_of_many_runs_that_start_at_once_exactly_one_gets_the_lease(
    how: str, after: str, tmp_path: Path
) -> None:
    if after != "nothing":
        with python(f"hold({str(tmp_path)!r}, {how!r}); time.sleep(60)") as killed:
            assert said(killed)[0] == "held"
        if after == "a silent run elsewhere" and how == "log":
            forget_identity(tmp_path)
        elif after == "a silent run elsewhere":
            (tmp_path / "harvest.db.claim").write_text("elsewhere 1 0123456789abcdef")
    with python(THREE_AT_ONCE.format(folder=str(tmp_path), how=how)) as three:
        assert sorted(said(three)[0] for _ in range(3)) == ["held", "refused", "refused"]


async def test_a_killed_run_is_taken_over_at_once(tmp_path: Path) -> None:
    with python(f"hold({str(tmp_path)!r}); time.sleep(60)") as killed:
        assert said(killed)[0] == "held"
        killed.kill()
        killed.wait()
        began = time.monotonic()
        ledger = Ledger(tmp_path)
        ledger.open()
        assert time.monotonic() - began < 5
        await ledger.close("finished")


async def test_a_suspended_run_that_lost_its_lease_writes_nothing_when_it_resumes(tmp_path: Path) -> None:
    code = f"""
async def main():
    ledger = hold({str(tmp_path)!r})
    try:
        await ledger.keep()
    except FolderLocked as error:
        say("lost", os.getpid(), error)
anyio.run(main)
"""
    with python(code) as first:
        assert said(first)[0] == "held"
        first.send_signal(signal.SIGSTOP)
        second = Ledger(tmp_path, timing=QUICK)
        second.open()
        first.send_signal(signal.SIGCONT)
        assert said(first)[0] == "lost"
        await second.close("finished")


# -- two containers -----------------------------------------------------------------------------------

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture(scope="module")
def container() -> tuple[str, ...]:
    """A command that runs another one in a pid namespace of its own, under this host's name."""
    for words in (CONTAINER, ("unshare", "--user", "--map-root-user", *CONTAINER[1:])):
        if (
            shutil.which("unshare")
            and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
        ):
            return words
    pytest.skip("this machine does not let a test have a pid namespace")


@pytest.mark.parametrize("how", ["log", "claim"])
async def test_two_containers_of_one_name_are_kept_apart(
    container: tuple[str, ...], how: str, tmp_path: Path
) -> None:
    """Each counts its processes from 1: the first one's number is the second one's own."""
    code = f"hold({str(tmp_path)!r}, {how!r}, 2.0); time.sleep(60)"
    with python(code, *container) as first:
        assert said(first) == ["held", "1"]
        with python(code, *container) as second:
            word, number, why = said(second)
            assert (word, number) == ("refused", "1")
            assert "another run (process 1 on " in why
        assert first.poll() is None
        first.kill()  # and what it runs with it
        first.wait()
    with python(code, *container) as third:
        began = time.monotonic()
        assert said(third) == ["held", "1"]
        assert time.monotonic() - began > 1.5, "nothing was proven, so its heartbeat was watched"


async def test_watching_can_be_interrupted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, timing=Timing(beat_seconds=inf))
    ledger.open()
    forget_identity(tmp_path)
    printed = tmp_path.parent / f"{tmp_path.name}.err"
    async with forked(("run", "--item", "1", "-o", tmp_path), printed) as running:
        await until(lambda: "silent for 2 s; it can be taken over in 28 s" in printed.read_text())
        began = anyio.current_time()
        running.process.send_signal(signal.SIGINT)
        assert await running.wait() == 130
        assert anyio.current_time() - began < 5
    assert f"process {os.getpid()} on " in printed.read_text()
    await ledger.close("finished")  # no other run has taken it over


# -- waiting for another run ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("run",), ("verify",), pytest.param(("run", "--rebuild"), marks=pytest.mark.nightly)]
)
async def test_with_wait_a_command_begins_when_the_other_run_has_ended(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    async with Sandbox(Settings(items=2, private_items=0, heavy=0)) as sandbox:
        item = sandbox.world.public_ids[0]
        job = ("--item", item, "--tasks", "metadata", *at(sandbox)) if words[0] == "run" else ()
        ledger = Ledger(tmp_path / "out")
        (tmp_path / "out").mkdir()
        ledger.open()
        async with forked((*words, *job, "-o", tmp_path / "out", "--wait"), tmp_path / "printed") as running:
            await until(lambda: "is using this folder (silent for" in (tmp_path / "printed").read_text())
            assert "less than 1 s); waiting\n" in (tmp_path / "printed").read_text()
            assert running.process.returncode is None
            await ledger.close("finished")
            assert await running.wait() == 0
    with Reader(tmp_path / "out") as reader:
        assert (found := reader.last_run()) is not None
        assert found.state == "finished"


async def test_with_a_limited_wait_a_run_is_refused_after_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.open()
    try:
        began = time.monotonic()
        ended = await harvester("run", "--item", "1", "-o", tmp_path, "--wait", "1")
        assert time.monotonic() - began >= 1
        refused = await harvester("run", "--item", "1", "-o", tmp_path, "-q")
    finally:
        await ledger.close("finished")
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    for each, advice in (
        (ended, "it did not end within 1 s"),
        (refused, "wait for it with --wait, or give this one its own folder with --output"),
    ):
        assert each.status == 3
        assert each.err.splitlines()[-1] == (
            f"harvester: {tmp_path}: another run ({holder}) is using this folder (silent for less than 1 s); "
            f"{advice}"
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
async def test_a_signal_ends_the_wait_at_once(number: signal.Signals, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "out")
    (tmp_path / "out").mkdir()
    ledger.open()
    words = ("run", "--item", "1", "-o", tmp_path / "out", "--wait", "60")
    async with forked(words, tmp_path / "printed") as running:
        await until(lambda: "; waiting" in (tmp_path / "printed").read_text())
        began = anyio.current_time()
        running.process.send_signal(number)
        assert await running.wait() == 130
        assert anyio.current_time() - began < 5
    await ledger.close("finished")  # no other run has taken it over


class _Locked:
    """A folder that another run uses until a moment of a clock that only `sleep` moves."""

    def __init__(self, free_at: float) -> None:
        self.now = 100.0
        self.attempts = 0
        self._free_at = self.now + free_at

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def acquire(self) -> str:
        self.attempts += 1
        if self.now < self._free_at:
            raise FolderLocked("out: another run (x) is using this folder (silent for less than 1 s); advice")
        return "acquired"


def test_a_wait_lasts_until_the_folder_is_free_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    folder = _Locked(free_at=1199.5)
    with caplog.at_level("INFO", logger="harvester"):
        acquired = when_free(
            folder.acquire, seconds=inf, checkpoint=lambda: None, clock=folder.clock, sleep=folder.sleep
        )
    assert (acquired, folder.attempts) == ("acquired", 1201)
    using = "out: another run (x) is using this folder (silent for less than 1 s); waiting"
    assert [record.getMessage() for record in caplog.records] == [using, f"{using} for 10 min 00 s"]


def test_a_wait_without_seconds_is_one_attempt() -> None:
    folder = _Locked(free_at=1)
    with pytest.raises(FolderLocked):
        when_free(folder.acquire, seconds=0, checkpoint=lambda: None, clock=folder.clock, sleep=folder.sleep)
    assert (folder.attempts, folder.now) == (1, 100.0)


def watched(changes_after: float, tmp_path: Path) -> Sign | None:
    """Watch a process of which nothing can be proven, and whose heartbeat changes after some seconds."""
    slept = 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    def look() -> Sign:
        return Sign(Process("elsewhere", 7), "later" if slept > changes_after else "first")

    return Watch(tmp_path, sleep=sleep).judge(look)


def test_while_a_run_is_silent_the_time_until_it_is_taken_over_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="harvester"):
        assert watched(inf, tmp_path) == Sign(Process("elsewhere", 7), "first")
    assert [record.getMessage().partition("active: ")[2] for record in caplog.records] == [
        f"silent for {silent} s; it can be taken over in {30 - silent} s" for silent in (2, 12, 22)
    ]


def test_a_refusal_says_for_how_long_the_other_run_had_been_silent(tmp_path: Path) -> None:
    with pytest.raises(
        FolderLocked, match=r"another run \(process 7 on elsewhere\) .* \(silent for 12 s\); "
    ):
        watched(11.95, tmp_path)
