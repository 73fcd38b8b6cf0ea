"""The time left, decided from plain numbers and a clock that the test turns."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import nullcontext

import pytest

from harvester.cli.amounts_text import time_left_text
from harvester.cli.progress import line
from harvester.cli.screen import screen
from harvester.client import BYTES, Traffic, note_files
from harvester.client.limits import Limiter
from harvester.client.traffic import Usage
from harvester.engine.progress import Before, ProgressSnapshot, RunCounters
from harvester.engine.time_left import Allowed, Meter, Sample, achieved, seconds_needed, smoothed, speed
from harvester.engine.workload import Found, Pending, StageRequests, Stages, estimate


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def stage(finished: int, **requests: int) -> StageRequests:
    return StageRequests(finished, Counter(requests))


def test_requests_to_come_are_those_of_the_finished_units_on_average() -> None:
    items = stage(10, api=15, stats=20)
    assert items.to_come(30) == {"api": 45, "stats": 60}
    assert items.to_come(0) == {}
    assert stage(0).to_come(5) == {}
    assert stage(0).to_come(5, {"files": 1.0}) == {"files": 5}


def test_requests_that_a_unit_in_flight_has_made_are_not_still_to_come() -> None:
    traffic, items = Traffic(), stage(10, api=10, stats=20)
    with items.unit():
        traffic.count("api")
        traffic.count("stats")
        assert items.to_come(2) == {"api": 1, "stats": 3}
        assert items.finished == 10
    assert (items.finished, items.requests) == (11, {"api": 11, "stats": 21})
    traffic.count("api")
    assert (items.requests["api"], traffic.requests["api"]) == (11, 2), "outside of a unit"


def test_files_of_items_that_were_not_processed_are_estimated_from_those_that_were() -> None:
    stages = Stages(items=stage(20, api=20, stats=40), files=stage(10, files=10))
    pending = Pending(items=80, files=50, bytes=5_000)
    found = Found(items=20, firsts=20, files=60, bytes=6_000)
    workload = estimate(pending, found, stages)
    assert workload is not None
    assert workload.requests == {"api": 80, "stats": 160, "files": 50 + 80 * 3}
    assert (workload.items, workload.files, workload.bytes) == (80, 290, 5_000 + 80 * 300)


def test_files_of_an_item_in_flight_count_as_soon_as_its_record_was_read() -> None:
    stages = Stages(items=stage(2, api=2, stats=4))
    found = Found(items=2, firsts=2, files=2, bytes=200)
    with stages.items.unit():
        note_files(7, 700)
        workload = estimate(Pending(items=3), found, stages)
    assert workload is not None
    assert (workload.files, workload.bytes) == (7 + 2 * 3, 700 + 2 * 300), "3 an item, for two more"


def test_versions_and_entries_to_come_add_items() -> None:
    stages = Stages(listing=stage(50, api=50), items=stage(10, api=20))
    # Of 10 processed items 2 are versions, of 6 found: 4 of the 14 pending ones are versions too.
    found = Found(items=10, firsts=8, versions=6)
    workload = estimate(Pending(items=14), found, stages)
    assert workload is not None
    assert workload.items == 14 + 10 * 6 / 8
    workload = estimate(Pending(entries=100, items_per_entry=0.5), Found(items=10, firsts=10), stages)
    assert workload is not None
    assert (workload.items, workload.requests) == (50, {"api": 100 + 100})


def test_nothing_is_known_before_an_item_was_processed() -> None:
    assert estimate(Pending(items=5), Found(), Stages()) is None
    assert estimate(Pending(entries=5), Found(), Stages()) is None
    only_files = estimate(Pending(files=5), Found(), Stages())
    assert only_files is not None
    assert only_files.requests == {"files": 5}


def sample(at: float, used: float | None = None, **done: float) -> Sample:
    return Sample(at, done, dict.fromkeys(done, at if used is None else used))


def test_the_slowest_service_decides() -> None:
    first, last = sample(0, api=0, stats=0), sample(100, api=100, stats=100)
    allowed = {"api": Allowed(1.0), "stats": Allowed(1.0)}
    assert seconds_needed({"api": 30, "stats": 60}, first, last, allowed) == 60
    assert seconds_needed({"api": 90, "stats": 60}, first, last, allowed) == 90
    assert seconds_needed({}, first, last, allowed) == 0


def test_the_present_rate_is_the_lower_one_of_what_is_allowed_and_what_is_achieved() -> None:
    first = sample(0, api=0)
    assert seconds_needed({"api": 60}, first, sample(100, api=50), {"api": Allowed(1.0)}) == 120
    assert seconds_needed({"api": 60}, first, sample(100, api=90), {"api": Allowed(0.5)}) == 120
    assert seconds_needed({"api": 60}, first, sample(100, api=50), {}) == 120, "without a limit"


def test_a_service_that_had_little_to_do_is_not_slow_because_of_that() -> None:
    first, last = sample(0, used=0, files=0), sample(100, used=4, files=4)
    assert achieved(first, last, "files") == 1.0
    assert achieved(first, first, "files") == math.inf


def test_a_pause_counts() -> None:
    still = sample(0, api=0)
    assert seconds_needed({"api": 10}, still, still, {"api": Allowed(1.0, paused_seconds=30)}) == 40


def test_bytes_of_large_files_count_where_the_bandwidth_binds() -> None:
    first, last = sample(0, files=0, **{BYTES: 0}), sample(10, files=2, **{BYTES: 1_000_000})
    to_come = {"files": 1, BYTES: 50_000_000}
    assert seconds_needed(to_come, first, last, {"files": Allowed(1.0)}) == 500


def test_usage_is_the_time_in_which_a_service_had_a_request() -> None:
    clock = Clock()
    usage = Usage(clock)
    with usage.of(("api",)):
        clock.now = 2
        with usage.of(("api", "files")):
            clock.now = 5
            assert (usage.seconds("api"), usage.seconds("files"), usage.seconds("stats")) == (5, 3, 0)
    clock.now = 60
    assert (usage.seconds("api"), usage.seconds("files")) == (5, 3)


def test_an_estimate_is_smooth() -> None:
    assert smoothed(100, 90, passed=1, age=1000) == pytest.approx(99 - 9 * (1 - math.exp(-0.2)))
    assert smoothed(100, 99, passed=1, age=1000) == 99
    assert smoothed(100, 50, passed=1, age=1) == 50, "the second number replaces the first"
    assert smoothed(0.5, 0, passed=1, age=1000) == 0


def test_the_window_forgets_what_is_long_ago() -> None:
    meter = Meter()
    for at in range(0, 301, 10):
        meter.add(sample(at, api=at if at < 180 else 180 + (at - 180) / 10))
    meter.update({"api": 12}, {"api": Allowed(1.0)})
    assert meter.seconds_left(300) == 120, "a tenth a second, as in the last 120 s"
    assert meter.seconds_left(310) == 110
    assert meter.seconds_left(1000) == 0
    meter.update(None, {})
    assert meter.seconds_left(300) is None


def test_the_speed_is_that_of_the_last_seconds() -> None:
    samples = [sample(at, bytes=1000 * at if at < 50 else 50_000 + 10 * (at - 50)) for at in range(0, 101, 5)]
    assert speed(samples, "bytes") == 10
    assert speed(samples[:1], "bytes") is None
    assert speed([], "bytes") is None
    assert speed([sample(0, bytes=0), sample(60, bytes=600)], "bytes") == 10, "lines may be minutes apart"


def run(items: int, files_an_item: int, *, rate: float, clock: Clock) -> list[tuple[float, float | None]]:
    """Play a run in which every request takes its turn; return the estimate of every second."""
    traffic, counters = Traffic(clock=clock), RunCounters()
    limiters = {name: Limiter(name, rate, clock=clock) for name in ("stats", "files")}
    snapshot = ProgressSnapshot(counters, traffic, limiters, clock)
    counters.items_pending = items
    said: list[tuple[float, float | None]] = []
    while counters.items_left or counters.files_left:
        with traffic.usage.of(("stats", "files")):
            if counters.items_left:
                with counters.stages.items.unit():
                    traffic.count("stats")
                counters.items_done += 1
                counters.firsts_seen += 1
                counters.add_files(files_an_item, files_an_item * 100)
            if counters.files_left:
                with counters.stages.files.unit():
                    traffic.count("files")
                counters.files_done += 1
                counters.bytes_left -= 100
            clock.now += 1 / rate
        snapshot.measure()
        said.append((clock.now, snapshot.seconds_left))
    return said


def test_the_time_left_is_right_from_the_first_item_on_where_all_items_are_alike() -> None:
    clock = Clock()
    said = run(40, 3, rate=2.0, clock=clock)
    for at, left in said:
        assert left == pytest.approx(clock.now - at, abs=1.5), at


def test_there_is_no_time_left_before_anything_was_answered() -> None:
    clock = Clock()
    traffic, counters = Traffic(clock=clock), RunCounters()
    snapshot = ProgressSnapshot(counters, traffic, {"files": Limiter("files", 1, clock=clock)}, clock)
    snapshot.measure()
    assert snapshot.seconds_left is None, "offline, not 0 s"
    counters.files_pending = 10
    traffic.count("files")
    traffic.errors["files"] += 1
    clock.now = 1
    snapshot.measure()
    assert snapshot.seconds_left is None, "only errors"
    traffic.count("api")
    clock.now = 2
    snapshot.measure()
    assert snapshot.seconds_left == pytest.approx(10.0)
    counters.stopping = True
    assert snapshot.seconds_left is None, "work in flight ends, and nothing else"


def test_there_is_no_time_left_while_a_needed_service_does_not_answer() -> None:
    clock = Clock()
    traffic, counters, missing = Traffic(clock=clock), RunCounters(listing_ended=True), Counter[str]()
    limiters = {"files": Limiter("files", 5, clock=clock)}
    snapshot = ProgressSnapshot(counters, traffic, limiters, clock, missing=lambda: missing)
    counters.files_pending = 150

    def second(*, answered: bool) -> None:
        with traffic.usage.of(("files",)):
            for _ in range(5):
                with counters.stages.files.unit() if answered else nullcontext():
                    traffic.count("files")
                counters.files_done += answered
                traffic.unanswered["files"] += not answered
            clock.now += 1
        snapshot.measure()

    for _ in range(10):
        second(answered=True)
    assert time_left_text(snapshot) == "about 20 s left"
    for silent in range(1, 41):
        missing["files"] = silent
        second(answered=False)
    assert snapshot.seconds_left is None
    assert snapshot.requests_a_second("files") == 0, "those that got no answer do not count"
    assert snapshot.state()["waiting_seconds"] == {"files": 40}
    assert time_left_text(snapshot) == "waiting for files for 40 s"
    assert line(snapshot).endswith(", waiting for files for 40 s")
    shown = [each.text for each in screen(snapshot, 80)]
    assert shown[-2] == "downloads 0.0 requests/s of 5  no answer for 40 s"
    assert shown[-1].endswith(" passed, waiting for files for 40 s")
    missing["api"], missing["stats"], missing["files"] = 50, 50, 0
    assert snapshot.waiting_seconds() == {}, "the others are not needed any more"
    for _ in range(2):
        second(answered=True)
    assert time_left_text(snapshot) == "about 18 s left", "the outage does not make it slower"


def test_progress_tells_what_earlier_runs_have_done() -> None:
    counters = RunCounters(before=Before(items=177, files=401, bytes=5_000))
    counters.items_pending = 117
    state = ProgressSnapshot(counters, Traffic(), {}).state()
    assert (state["items_before"], state["files_before"], state["file_bytes_before"]) == (177, 401, 5_000)
    assert state["files_to_come"] is None
