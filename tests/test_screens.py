"""
What a person sees while a run works: screens of a terminal, compared with stored ones.

The files come so slowly that nothing moves after the first one: the screen stands still. The time and the
present rates are masked. ``WRITE_SCREENS=1`` writes the screens again.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harvester.engine.activity import Activity
from harvester.jobs.harvest import harvest
from harvester.jobs.verify import verify
from harvester.sandbox import Sandbox, Settings
from tests.support.forked import forked
from tests.support.program import TOKEN, at, config
from tests.support.terminal import Terminal, on_terminal
from tests.support.waiting import side_by_side, until

pytestmark = pytest.mark.anyio

SCREENS = Path(__file__).parent / "fixtures" / "screens"
MASKS = {
    r"\b(\d+ min )?\d+ s passed": "N s passed",
    r"(about|at least) \d+ h \d+ min left": r"\1 N h N min left",
    r"\d+\.\d(?= requests/s|/s of)": "N.N",
    r"(api|stats|files) \d+\.\d(?= |,|$)": r"\1 N.N",
    r"(?m)^(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d ": "<time> ",
    r"in (\d+ min )?\d+ s,": "in N s,",
    r" at [\d.]+ (kB|bytes)/s": "",
}
STILL = r"^items +29 of 29(.|\n)*^api +0\.0 (.|\n)*^downloads +0\.0 "
"""Nothing has moved for a while."""


ALIKE = ("--min-size", "1 kB", "--max-size", "9 kB", "--include", "*file_*.csv")
"""Which file is the first is left to chance: their names and sizes have the same length."""


def masked(text: str) -> str:
    for pattern, mask in MASKS.items():
        text = re.sub(pattern, mask, text)
    return "\n".join(_without_chance(line) for line in text.split("\n"))


def _without_chance(line: str) -> str:
    """Mask the size of what has come in the lines of bytes and of a file in transfer."""
    if line.startswith(("bytes ", "  file")):
        line = re.sub(r"[ \d]{3} %", "### %", line)
        return re.sub(r"\d", "#", line).replace("━", "─")
    return re.sub(r"\d\.\d(?= kB (of|here))", "#.#", line)


def check_screen(name: str, text: str) -> None:
    """Compare a screen with the stored one."""
    shown, path = masked(text) + "\n", SCREENS / f"{name}.txt"
    if os.environ.get("WRITE_SCREENS"):
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8"), name


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(Settings(items=30, heavy=0)) as sandbox:
        yield sandbox


def words(sandbox: Sandbox, folder: Path) -> list[object]:
    """A run that reads all records, and then waits for days between two files."""
    rates = ("--rate", "api=100", "--rate", "stats=100", "--rate", "files=0.0001")
    return ["run", "--search", "survey", "-o", folder.name, *at(sandbox), *rates, "--workers", 1, *ALIKE]


@asynccontextmanager
async def standing_still(
    sandbox: Sandbox, folder: Path, columns: int = 80, *, still: str = STILL
) -> AsyncIterator[Terminal]:
    async with on_terminal(*words(sandbox, folder), cwd=folder.parent, columns=columns) as terminal:
        await terminal.shows(still)
        yield terminal


async def test_the_display_fits_a_terminal_of_any_width(sandbox: Sandbox, tmp_path: Path) -> None:
    async def one(columns: str) -> None:
        async with standing_still(sandbox, tmp_path / f"out-{columns}", int(columns)) as terminal:
            check_screen(f"{columns}-columns", terminal.text)
            assert TOKEN.encode() not in terminal.written

    await side_by_side(("40", "60", "80", "120"), one)


async def test_a_resized_terminal_shows_no_rest_of_the_old_display(sandbox: Sandbox, tmp_path: Path) -> None:
    async with standing_still(sandbox, tmp_path / "out", 120) as terminal:
        for columns in (50, 100):
            terminal.resize(columns)
            await terminal.redrawn(2)
            check_screen(f"resized-to-{columns}", terminal.text)


async def test_ctrl_c_says_that_it_stops_and_the_next_run_resumes(sandbox: Sandbox, tmp_path: Path) -> None:
    async with standing_still(sandbox, tmp_path / "out") as terminal:
        terminal.process.send_signal(signal.SIGUSR1)
        await terminal.shows(r"29 of 29 items \(100 %\)")
        terminal.process.send_signal(signal.SIGINT)
        check_screen("stopping", await terminal.shows("passed, stopping"))
        assert await terminal.process.wait() == 130
        check_screen("stopped", await terminal.shows("run the same command again to continue"))
    sandbox.meet({"stall": 1.0})  # half of a file comes, and then nothing for as long as the test lasts
    after_10_seconds = r"^bytes .* 0 bytes/s (.|\n)* (1[1-9]|2\d) s passed"
    async with standing_still(sandbox, tmp_path / "out", still=after_10_seconds) as terminal:
        check_screen("resumed-with-a-file-in-transfer", terminal.text)


async def test_no_color_is_respected(sandbox: Sandbox, tmp_path: Path) -> None:
    colour = re.compile(rb"\x1b\[(?:\d+;)*[349]\dm")
    async with on_terminal(*words(sandbox, tmp_path / "1"), cwd=tmp_path, NO_COLOR="1") as terminal:
        await terminal.shows("^files .*─")
        assert not colour.search(terminal.written)
    async with on_terminal(*words(sandbox, tmp_path / "2"), cwd=tmp_path) as terminal:
        await terminal.shows("^files .*─")
        assert colour.search(terminal.written), "else it shows some"


async def test_a_terminal_that_cannot_draw_gets_lines_with_the_time(sandbox: Sandbox, tmp_path: Path) -> None:
    lines = [*words(sandbox, tmp_path / "out"), "--progress-every", "0.5s"]
    async with on_terminal(*lines, cwd=tmp_path, columns=300, TERM="dumb") as terminal:
        shown = await terminal.shows(r"^\d\d:\d\d:\d\d 29 of 29 items .* left$")
        assert b"\x1b" not in terminal.written
    check_screen("dumb", shown.splitlines()[-1])


async def test_without_a_terminal_lines_have_a_date_and_come_as_often_as_wanted(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    output, log = tmp_path / "output", tmp_path / "log"
    folder = tmp_path / "out"
    run = [folder if word == folder.name else word for word in words(sandbox, folder)]
    lines = (*run, "--progress-every", "0.5 s")
    complete = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 29 of 29 items .* left$", re.MULTILINE)
    async with forked((*lines, "--log-file", log), output) as running:
        await until(lambda: len(complete.findall(output.read_text())) >= 2)
        running.terminate()
        assert await running.wait() == 130
    check_screen("no-terminal", complete.findall(output.read_text())[-1])
    assert complete.search(log.read_text()), "the log file has the same"
    assert "interrupted; state saved: run the same command again to continue" in log.read_text()


async def test_plan_shows_what_it_does_on_a_terminal_and_in_lines_elsewhere(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    plan = ("plan", "--search", "survey", "-o", tmp_path / "out", *at(sandbox, "4"), "--sample", 8)
    async with on_terminal(*plan) as terminal:
        await terminal.shows(r"^record [2-8] of 8 of the sample$")
        shown = await terminal.shows("limited by")
        assert "of the sample" not in shown, "nothing stays"
    output = tmp_path / "output"
    async with forked((*plan, "--progress-every", "0.3"), output) as running:
        assert await running.wait() == 0
    assert re.search(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d record \d of 8 of the sample$", output.read_text(), re.MULTILINE
    )


async def test_list_shows_how_many_items_there_are_while_a_pipe_takes_them(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    words = ("list", "--search", "survey", *at(sandbox, "0.5"), "--progress-every", "0.2 s")
    output = tmp_path / "output"
    async with forked(words, output) as running:
        await until(lambda: " 29 items listed\n" in output.read_text())
        running.terminate()
        assert await running.wait() == 130


async def test_verify_tells_how_far_it_is(sandbox: Sandbox, tmp_path: Path) -> None:
    settings = config(sandbox, tmp_path, **{"files.max_size": "5 kB"})
    assert (await harvest(settings)).exit_status == 0
    activity = Activity()
    assert activity.describe() == ""
    files = (await verify(settings, activity=activity)).whole
    assert re.fullmatch(rf"file {files} of {files}, (\d+\.\d kB) of \1", activity.describe())
    next(path for path in (tmp_path / "files").rglob("*.*") if path.stat().st_size).unlink()
    await verify(settings, activity=activity)
    assert activity.describe().endswith(" kB, 1 corrupt or missing")
