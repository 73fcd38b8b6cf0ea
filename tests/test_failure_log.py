"""One cause that fails many items or files is one message with a count; other failures have few lines."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from harvester.engine.failure_log import FailureLog
from harvester.engine.progress import RunCounters
from harvester.models import Failure, ItemId
from harvester.sandbox import Sandbox, Settings
from harvester.text.repeats import is_milestone, is_shown
from tests.support.program import Ended, at, environment, harvester
from tests.support.schemas import check_events
from tests.support.truth import rows

pytestmark = pytest.mark.anyio


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the failure log logs in this block, as warnings."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment,method-assign]
    logger = logging.getLogger("harvester.engine.failure_log")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def missing(number: int) -> Failure:
    return Failure("metadata", f"not found: {number}", "not_found", ItemId(number))


def homeless(number: int) -> Failure:
    return Failure("files", "no room", "transient", ItemId(1), number, common_cause="a full disk")


def test_which_lines_are_shown() -> None:
    assert [number for number in range(1, 20) if is_shown(number)] == list(range(1, 11))
    assert [number for number in range(1, 20) if is_shown(number, 1)] == [1]
    assert [number for number in range(1, 20_000) if is_milestone(number)] == [100, 1_000, 10_000]
    assert [number for number in range(1, 200) if is_milestone(number, 100)] == []


def test_a_common_cause_is_one_line_and_a_count() -> None:
    log = FailureLog()
    with logged() as records:
        for number in range(1, 25_001):
            log.add(homeless(number))
        log.end()
        log.end()
    assert [record.getMessage() for record in records] == [
        "item 1, file 1: no room",
        "100 files so far: a full disk; harvester failed lists them",
        "1,000 files so far: a full disk; harvester failed lists them",
        "10,000 files so far: a full disk; harvester failed lists them",
        "25,000 files in all: a full disk; harvester failed lists them",
    ]


def test_failures_of_their_own_are_ten_lines_and_a_count_for_each_kind() -> None:
    log = FailureLog()
    with logged() as records:
        for number in range(1, 13):
            log.add(missing(number))
        log.add(Failure("stats", "server error", "transient", ItemId(5)))
        log.add(Failure("listing", "server error", "transient", subject="search x"))
        log.add(Failure("resolve", "no such DOI", "not_found", subject="10.1/x"))
        log.end()
    messages = [record.getMessage() for record in records]
    assert messages[:10] == [f"item {number}, metadata: not found: {number}" for number in range(1, 11)]
    assert messages[10:] == [
        "item 5, stats: server error",
        "search x: incomplete: server error",
        "10.1/x: no such DOI",
        "12 items in all: metadata: not found; harvester failed lists them",
    ]


def test_warnings_about_single_items_are_ten_lines_and_a_count() -> None:
    counters = RunCounters()
    with logged() as records:
        for number in range(1, 151):
            counters.warn_of_item(f"item {number}: odd")
        counters.warn_of_item("item 1: odd")  # the same again
        counters.failures.end()
    messages = [record.getMessage() for record in records]
    assert messages[:10] == [f"item {number}: odd" for number in range(1, 11)]
    assert messages[10:] == [
        "100 warnings about single items so far",
        "150 warnings about single items in all",
    ]
    assert counters.warnings == [f"item {number}: odd" for number in range(1, 101)]


def test_what_is_tried_a_second_time_is_counted_once() -> None:
    log = FailureLog()
    with logged() as records:
        for number in range(1, 31):
            log.add(homeless(number))
        for number in range(1, 13):
            log.add(missing(number))
        log.begin_again({"transient"})
        for number in range(1, 26):  # five of them succeed now
            log.add(homeless(number))
        log.end()
    messages = [record.getMessage() for record in records]
    assert messages.count("item 1, file 1: no room") == 1
    assert messages[-2:] == [
        "12 items in all: metadata: not found; harvester failed lists them",
        "25 files in all: a full disk; harvester failed lists them",
    ]


def test_what_succeeds_at_the_second_try_is_not_counted() -> None:
    log = FailureLog()
    with logged() as records:
        for number in range(1, 31):
            log.add(homeless(number))
        log.begin_again({"transient"})
        log.end()
    assert [record.getMessage() for record in records] == ["item 1, file 1: no room"]


# -- the whole program ----------------------------------------------------------------------------


def counted(ended: Ended) -> list[tuple[int, str]]:
    """The number and the cause of each count."""
    events = check_events(ended.err)
    return [(event["count"], event["error"]) for event in events if event.get("count", 1) > 1]


async def test_statistics_that_do_not_answer_are_one_message(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=40, heavy=0)) as sandbox:
        there = ("--api", sandbox.api, "--stats", "http://127.0.0.1:9", "--rate", "inf", "--attempts", "1")
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", tmp_path, *there)
        ended = await harvester(*words, "--log-json", env=environment(HARVESTER_RETRY_MAX_WAIT="0.05"))
        items = len(sandbox.world.search("survey"))
    assert ended.status == 1
    events = check_events(ended.err)
    pauses = [event for event in events if event["event"] == "pause"]
    assert [(pause["service"], pause["seconds"]) for pause in pauses] == [("stats", None)]
    failures = [event for event in events if event["event"] == "failure"]
    assert [failure["count"] for failure in failures] == [1, items]
    assert failures[1]["error"] == "127.0.0.1: connection failed (Connection refused)"
    assert len(rows(tmp_path / "failures.csv")) == items


async def test_statistics_that_are_refused_are_one_message(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        there = ("--api", sandbox.api, "--stats", f"{sandbox.stats}/iastate", "--rate", "inf")
        words = ("run", "--search", "survey", "--tasks", "metadata,stats", "-o", tmp_path, *there)
        ended = await harvester(*words, "--log-json")
        items = len(sandbox.world.search("survey"))
    assert ended.status == 1
    failures = [event for event in check_events(ended.err) if event["event"] == "failure"]
    assert [failure["count"] for failure in failures] == [1, items]
    assert "may need your institution's credentials" in failures[0]["error"]
    assert failures[1]["error"].startswith("the service refuses them; ")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if (await anyio.run_process(mount, check=False)).returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        async with Sandbox(Settings(items=600, heavy=12, heavy_size=6_000_000)) as sandbox:
            heavy = sandbox.world.with_trait("heavy")
            named = [word for item_id in heavy for word in ("--item", item_id)]
            words = ("run", *named, "--tasks", "metadata,files", "-o", disk / "out", *at(sandbox))
            ended = await harvester(*words, "--log-json")
            assert len(rows(disk / "out" / "failures.csv")) == len(heavy)
    finally:
        await anyio.run_process(["umount", "-l", str(disk)], check=False)
    assert ended.status == 3
    events = check_events(ended.err)
    full = [event for event in events if event["event"] == "failure" and "are needed" in event["error"]]
    assert len(full) == 1
    assert not re.search(r"-[\d.]+ \w+ are free", ended.err)
    assert counted(ended) == [(len(heavy), "not enough space on the disk")]
    assert events[-2]["kind"] == "storage_error"
    assert events[-2]["message"].startswith(f"{len(heavy)} files without room on the disk: ")
