"""The lines of the live display, from plain numbers: what fits, and what does not."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pyte

from harvester.cli.live import erase, rewraps
from harvester.cli.screen import WIDEST, screen
from harvester.client import Traffic, Transfer
from harvester.client.limits import Limiter, Rate
from harvester.engine.progress import Before, ProgressSnapshot, RunCounters
from tests.support.each import for_each

NOW = 64.0


def snapshot_of(counters: RunCounters, **requests: int) -> ProgressSnapshot:
    traffic = Traffic(Counter(requests), clock=lambda: NOW)
    limiters = {name: Limiter(name, 1, clock=lambda: NOW) for name in ("api", "stats", "files")}
    return ProgressSnapshot(counters, traffic, limiters, lambda: NOW)


def with_a_transfer(snapshot: ProgressSnapshot, path: str, size: int, received: int, began: float) -> None:
    upload: Any = SimpleNamespace(received=received, segments=lambda: None)
    transfers = snapshot.traffic.transfers
    transfers[len(transfers)] = Transfer(path, size, upload, began)


def texts(snapshot: ProgressSnapshot, columns: int = 80) -> list[str]:
    return [line.text.rstrip() for line in screen(snapshot, columns)]


def full(**more: Any) -> ProgressSnapshot:
    counters = RunCounters(
        before=Before(177, 300, 40_000_000_000),
        items_pending=117,
        items_done=10,
        items_failed=2,
        files_pending=608,
        files_done=101,
        bytes_left=72_000_000_000,
        bytes_done=1_200_000_000,
        **more,
    )
    snapshot = snapshot_of(counters, api=12, stats=20, files=110)
    snapshot.traffic.errors["files"] = 1
    with_a_transfer(snapshot, "files/1/data/a survey of everything.zip", 50_000_000_000, 12_000_000_000, 3.0)
    return snapshot


def test_only_what_is_used_has_a_line() -> None:
    assert texts(snapshot_of(RunCounters())) == ["items     0 of 0+", "time      1 min 04 s passed"]
    counters = RunCounters(items_pending=5, items_done=1, listing_ended=True)
    assert texts(snapshot_of(counters, api=6, stats=2)) == [
        "items     1 of 5   20 %",
        "api       0.1 requests/s of 1",
        "stats     0.0 requests/s of 1",
        "time      1 min 04 s passed",
    ]


def test_a_large_file_moves_and_earlier_runs_count() -> None:
    shown = texts(full())
    assert shown[0] == "items     187 of 294+, 2 failed   64 %"
    assert "bytes     53.2 GB of 113.2 GB+" in shown[2]
    assert shown[3] == "  a survey of everything.zip  12.0 GB of 50.0 GB   24 %"


def test_a_transfer_that_is_over_in_a_moment_is_not_shown_and_three_at_most() -> None:
    snapshot = full()
    with_a_transfer(snapshot, "files/1/new.bin", 99_000_000_000, 5, NOW - 0.5)
    with_a_transfer(snapshot, "files/1/waiting.bin", 98_000_000_000, 0, 1.0)
    for number in range(3):
        with_a_transfer(snapshot, f"files/1/small-{number}.bin", 1000 + number, 5, 1.0)
    names = [text.split()[0] for text in texts(snapshot) if text.startswith("  ")]
    assert names == ["a", "small-2.bin", "small-1.bin"]


@for_each("columns", range(20, 131))
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    for line in screen(full(listing_ended=True), columns):
        assert len(line.text) + line.bar < columns, line
        assert len(line.text) + line.bar <= WIDEST, line


def test_a_narrow_terminal_keeps_the_names_ends_and_the_pauses() -> None:
    rate = Rate(1)
    rate.throttle(NOW, NOW, 12)
    snapshot = full()
    paused = Limiter("files", rate, clock=lambda: NOW)
    narrow = texts(ProgressSnapshot(snapshot.counters, snapshot.traffic, {"files": paused}, lambda: NOW), 40)
    assert narrow[0] == "items     187 of 294+, 2 failed   64 %"
    assert narrow[3] == "  a su…g.zip  12.0 GB of 50.0 GB   24 %"
    assert narrow[4] == "downloads pauses 12 s  1 error  1.7/s"


def test_while_it_stops_there_is_no_time_left() -> None:
    assert texts(full(stopping=True))[-1] == "time      1 min 04 s passed, stopping after in-flight work"
    assert texts(full(stopping=True), 30)[-1] == "time      stopping"


def test_a_display_that_a_narrower_terminal_has_wrapped_leaves_no_rest() -> None:
    old, new = screen(full(), 80), screen(full(), 40)
    shown = pyte.Screen(40, 24)
    stream = pyte.Stream(shown)
    whole = [line.text + "-" * line.bar for line in old]
    stream.feed("above\r\n" + "\r\n".join(whole))  # what is too wide is wrapped, as by the terminal
    assert sum(map(bool, map(str.strip, shown.display))) > 1 + len(old)
    stream.feed(str(erase(old, 40)))
    stream.feed("\r" + "\x1b[2K\x1b[A" * (len(old) - 1) + "\r\n".join(line.text for line in new))
    assert [line.rstrip() for line in shown.display if line.strip()] == ["above", *texts(full(), 40)]


def test_a_terminal_that_cuts_lines_is_known() -> None:
    assert rewraps({"TERM": "xterm-256color"})
    assert not rewraps({"TERM": "xterm-256color", "XTERM_VERSION": "370"})
    assert rewraps({"TMUX": "a", "XTERM_VERSION": "370"}), "inside of it"
    assert not rewraps({"TERM": "linux"})
