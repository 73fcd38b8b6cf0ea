"""The time left that a run says, compared with the time that it then took."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import installed, sandboxes
from bench.harvesting import environment
from bench.measure import Failed, Numbers, Spread
from bench.result import Case, Check, Measured, Plan, Report, Result, Table

EVERY_SECONDS = 2
SHOWN_EVERY_SECONDS = 20
FIRST_SECONDS = 60
LAST_SECONDS = 15
"""So close to the end a second more or less is a large share."""
MOST_ERROR = MOST_GROWTH = 0.10


@dataclass(frozen=True)
class Scenario:
    """What is harvested, from a sandbox with how many public items, and at which rates."""

    items: int
    words: tuple[str, ...]


SCENARIOS = {
    "statistics bind": Scenario(
        150, ("--search", "data", "--rate", "api=5", "--rate", "stats=2", "--rate", "files=20")
    ),
    "files bind": Scenario(300, ("--search", "data", "--rate", "10", "--rate", "files=5")),
    "an account at 1/s": Scenario(300, ("--account",)),
}


def _measure(plan: Plan) -> Measured:
    program = str(installed.programs() / "harvester")
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:  # each waits nearly all of the time
        said = dict(
            zip(SCENARIOS, pool.map(lambda one: _run(program, one, plan), SCENARIOS.values()), strict=True)
        )
    return Measured(
        parts={name: {"harvester": runs} for name, runs in said.items()},
        facts={"every": EVERY_SECONDS},
        commands=[
            f"harvester sandbox --items {one.items}\nharvester run {' '.join(one.words)} --log-json "
            f"--progress-every {EVERY_SECONDS}"
            for one in SCENARIOS.values()
        ],
    )


def _run(program: str, scenario: Scenario, plan: Plan) -> list[Numbers]:
    """Harvest; return what was said of the time left, with the time that was left."""
    with (
        sandboxes.apart(plan.scaled(scenario.items, 20)) as (api, stats),
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        out = str(Path(folder) / "out")
        words = [program, "run", *scenario.words, "-o", out, "--api", api, "--stats", stats]
        log = ["--log-json", "--progress-every", str(EVERY_SECONDS)]
        process = subprocess.Popen(
            [*words, *log], env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        lines = [(time.monotonic(), orjson.loads(line).get("progress")) for line in process.stderr]
        status, ended = process.wait(), time.monotonic()
    if status:
        raise Failed(f"it ended with status {status}")
    said = [(at, progress["seconds_left"]) for at, progress in lines if progress]
    begin = said[0][0] - EVERY_SECONDS
    return [{"after": at - begin, "said": left, "left": ended - at} for at, left in said if left is not None]


def error(runs: Sequence[Numbers]) -> float:
    """Return the largest error after the first minute, as a share of the time that was left."""
    late = [one for one in runs if one["after"] >= FIRST_SECONDS and one["left"] >= LAST_SECONDS]
    return max(abs(one["said"] / one["left"] - 1) for one in late)


def growth(runs: Sequence[Numbers]) -> float:
    """Return how far the time left has grown after the first minute, as a share of the least one before."""
    late = [one["said"] for one in runs if one["after"] >= FIRST_SECONDS and one["left"] >= LAST_SECONDS]
    return max(said / min(late[: place + 1]) - 1 for place, said in enumerate(late))


def _report(result: Result) -> Report:
    checks, tables = [], []
    for name, runs in result.parts.items():
        mine = runs["harvester"]
        checks.append(
            Check.at_most(f"{name}: error after the first minute", _one(error(mine)), MOST_ERROR, "{:.1%}")
        )
        checks.append(Check.at_most(f"{name}: growth after it", _one(growth(mine)), MOST_GROWTH, "{:.1%}"))
        tables.append(_curve(name, mine))
    return Report(checks, tables)


def _one(value: float) -> Spread:
    return Spread.of([value])


def _curve(name: str, runs: Sequence[Numbers]) -> Table:
    shown = [
        next(one for one in runs if one["after"] >= moment)
        for moment in range(SHOWN_EVERY_SECONDS, int(runs[-1]["after"]), SHOWN_EVERY_SECONDS)
    ]
    rows = [
        (f"{one['after']:.0f} s", f"{one['said']:.0f} s", f"{one['left']:.0f} s",
         f"{one['said'] / one['left'] - 1:+.0%}")
        for one in shown
    ]  # fmt: skip
    return Table(f"The time left, {name}", ("after", "said", "was", "error"), rows)


CASE = Case(
    name="time-left",
    title="Time left",
    question="How near is the time left that a run says to the time that it takes?",
    needs=(),
    measure=_measure,
    report=_report,
)
