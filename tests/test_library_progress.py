"""Progress for programs: the callback of a harvest, and the bar outside notebooks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from harvester import Progress, harvest, status
from harvester.jobs.progress_bar import progress_bar
from harvester.sandbox import Sandbox, Settings
from tests.support.program import config

pytestmark = pytest.mark.anyio


async def test_a_callback_receives_the_progress_up_to_the_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    async with Sandbox(Settings(items=20, heavy=0, latency=0.05)) as sandbox:
        summary = await harvest(config(sandbox, tmp_path), on_progress=seen.append)
    first, *_, last = seen
    assert str(first) == "reading the listings"
    assert (first.items_done, first.fraction, first.has_ended) == (0, None, False)
    assert [each.has_ended for each in seen] == [False] * (len(seen) - 1) + [True]
    assert (last.items_done, last.files_done) == (summary.run.items.done, summary.run.files.done)
    assert last.requests == {name: number for name, number in summary.run.requests.items() if number}
    assert (last.file_bytes, last.is_done, last.fraction) == (summary.run.bytes, True, 1.0)
    assert str(last).startswith(f"{last.items_done} of {last.items_done} items, {last.files_done} of ")


async def test_an_error_of_the_callback_stops_the_run_and_is_raised(tmp_path: Path) -> None:
    def refuse(progress: Progress) -> None:
        raise ValueError(str(progress))

    async with Sandbox(Settings(items=6, heavy=0)) as sandbox:
        job = config(sandbox, tmp_path)
        with pytest.raises(ValueError, match="reading the listings"):
            await harvest(job, on_progress=refuse)
    last = status(job).last_run
    assert last is not None
    assert last.state == "stopped"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def report(done: int, *, seconds: float, seconds_left: float | None, has_ended: bool = False) -> Progress:
    return Progress(
        has_ended=has_ended, items_before=0, items_done=done, items_failed=1, items_pending=10,
        listing_ended=done > 0, files_before=0, files_done=2 * done, files_failed=0, files_pending=18,
        files_to_come=None, file_bytes=done * 1_000_000, file_bytes_before=0, file_bytes_to_come=None,
        file_bytes_per_second=0, requests={}, errors={}, rates={}, seconds=seconds, seconds_left=seconds_left,
    )  # fmt: skip


RUN = [
    report(0, seconds=0.0, seconds_left=None),
    report(3, seconds=5.0, seconds_left=15.0),
    report(6, seconds=11.0, seconds_left=11.0),
    report(9, seconds=20.0, seconds_left=0.2, has_ended=True),
]


def test_the_text_is_about_the_whole_folder() -> None:
    resumed = report(3, seconds=5.0, seconds_left=95.0)._replace(
        items_before=100, files_before=200, files_to_come=40, listing_ended=False
    )
    assert str(resumed) == (
        "103 of 110+ items, 206 of 246+ files, 3.0 MB, 1 failed, at least 1 min 35 s left"
    )


def test_the_fraction_is_that_of_the_time() -> None:
    assert [each.fraction for each in RUN] == [None, 0.25, 0.5, 1.0]


def test_a_terminal_shows_one_line_that_is_replaced() -> None:
    screen = Terminal()
    show = progress_bar(screen, term="xterm", columns=59)
    for each in RUN:
        show(each)
    assert screen.getvalue().split("\r\x1b[K") == [
        "",
        "0 of 10+ items, 0 of 18+ files, 0 bytes, 1 failed",
        "3 of 10 items, 6 of 18 files, 3.0 MB, 1 failed, about 15 s",
        "6 of 10 items, 12 of 18 files, 6.0 MB, 1 failed, about 11 ",
        "9 of 10 items, 18 of 18 files, 9.0 MB, 1 failed\n",
    ]


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["file", "dumb terminal"])
def test_a_file_gets_a_line_every_ten_seconds_and_one_at_the_end(stream: type[io.StringIO]) -> None:
    file = stream()
    show = progress_bar(file, term="dumb")
    for each in RUN:
        show(each)
    assert file.getvalue().splitlines() == [
        "0 s: 0 of 10+ items, 0 of 18+ files, 0 bytes, 1 failed",
        "11 s: 6 of 10 items, 12 of 18 files, 6.0 MB, 1 failed, about 11 s left",
        "20 s: 9 of 10 items, 18 of 18 files, 9.0 MB, 1 failed",
    ]
