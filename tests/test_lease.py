"""The lease: of two runs on one folder one is active, whatever their clocks, names and numbers say."""

from __future__ import annotations

import os
import shutil
import signal
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
from harvester.ledger.database.heartbeat import Timing
from harvester.ledger.ledger import Ledger
from harvester.ledger.reader import Reader
from tests.support.forked import forked
from tests.support.program import environment
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
        await until(lambda: "watching its heartbeat for 30 s" in printed.read_text())
        began = anyio.current_time()
        running.process.send_signal(signal.SIGINT)
        assert await running.wait() == 130
        assert anyio.current_time() - began < 5
    assert f"process {os.getpid()} on " in printed.read_text()
    await ledger.close("finished")  # no other run has taken it over
