"""Monitoring check: the state of a folder as one line and an exit status, as plug-ins of Nagios give them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from harvester.summary import LastRun, Status
from harvester.text.units import human_seconds
from harvester.text.wording import counted


class Level(IntEnum):
    """How bad the state is; the values are the exit statuses of a plug-in."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Problem(NamedTuple):
    """One thing that is wrong."""

    level: Level
    text: str


def check_line(status: Status, *, now: float, max_age: float = 0) -> tuple[Level, str]:
    """
    Return the level and the line of a folder.

    `now`: seconds since 1970.
    `max_age`: seconds since the last run ended, or the present one began, after which the state is critical;
    0 for no limit.
    """
    problems = sorted(_problems(status, now, max_age), reverse=True)
    level = problems[0].level if problems else Level.OK
    text = ", ".join(problem.text for problem in problems) or _good(status)
    return level, f"{first_words(level, text)}{_ago(status.last_run, now)} | {_performance(status, now)}"


def first_words(level: Level, text: str) -> str:
    """Return the beginning of a line, which says the level."""
    return f"HARVESTER {level.name} - {text}"


def _good(status: Status) -> str:
    is_running = status.last_run is not None and status.last_run.state == "running"
    contents = status.contents
    done = contents.files.get("done")
    numbers = f"{counted(contents.items, 'item')}, {counted(done.files if done else 0, 'file')}"
    return f"running: {numbers}" if is_running else f"complete: {numbers}"


def _problems(status: Status, now: float, max_age: float) -> Iterator[Problem]:
    run, contents = status.last_run, status.contents
    if run is None:
        yield Problem(Level.CRITICAL, "no run yet")
        return
    if run.state in _ENDED_BADLY:
        yield _ENDED_BADLY[run.state]
    if max_age and _age(run, now) > max_age:
        yield Problem(Level.CRITICAL, f"the last run is older than {human_seconds(max_age)}")
    if contents.failures:
        yield Problem(Level.WARNING, counted(contents.failures, "failure"))
    if run.state == "running":
        return
    if not contents.items:
        yield Problem(Level.WARNING, "no items were found")
    for pending, noun in zip(_pending(status), ("item", "file"), strict=True):
        if pending:
            yield Problem(Level.WARNING, f"{counted(pending, noun)} pending")
    if contents.listings_open:
        yield Problem(Level.WARNING, f"{counted(contents.listings_open, 'listing')} not read to the end")


_ENDED_BADLY = {
    "stopped": Problem(Level.CRITICAL, "the last run could not continue"),
    "killed": Problem(Level.CRITICAL, "the last run was killed"),
    "interrupted": Problem(Level.WARNING, "the last run was interrupted"),
}


def _pending(status: Status) -> tuple[int, int]:
    outcomes = status.contents.outcomes
    return outcomes.items.get("pending", 0), outcomes.files.get("pending", 0)


def _age(run: LastRun, now: float) -> float:
    """Return how many seconds ago a run ended, or began if it has no end."""
    return max(0.0, now - datetime.fromisoformat(run.ended or run.started).timestamp())


def _ago(run: LastRun | None, now: float) -> str:
    if run is None:
        return ""
    return f"; the last run {'ended' if run.ended else 'began'} {human_seconds(_age(run, now))} ago"


def _performance(status: Status, now: float) -> str:
    """Return the numbers that a monitoring system draws."""
    contents, run = status.contents, status.last_run
    done = contents.files.get("done")
    numbers = {
        "items": contents.items,
        "files": done.files if done else 0,
        "failures": contents.failures,
        "pending": sum(_pending(status)),
    }
    age = [] if run is None else [f"age={_age(run, now):.0f}s"]
    return " ".join([*(f"{name}={number}" for name, number in numbers.items()), *age])
