"""The cores are shared: what a request costs where the server runs on the same core as the program."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import raw
from bench.cases.cpu import MEMORY, RECORDING, WORKERS, Contest, row
from bench.measure import alternate, ratio
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from bench.world import World

ITEMS = 2000
MOST_WALL = 1.25
COLUMNS = (
    "", "wall, s", "CPU, s", "CPU µs a request", "requests/s",
    "wall ÷ bare", "CPU ÷ bare", "server CPU, s",
)  # fmt: skip


@contextmanager
def _one_core() -> Iterator[None]:
    """Keep this process, and all that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure(plan: Plan) -> Measured:
    world = World(plan.scaled(ITEMS))
    with (
        _one_core(),
        raw.serve(world) as served,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        contest = Contest(served, Path(folder))
        items = world.items
        runs = alternate(
            contest.with_server(
                {
                    "harvester": lambda: contest.harvest().afresh(items=items),
                    "bare aiohttp loop": contest.bare,
                    RECORDING: contest.bare_recording,
                }
            ),
            plan.repeat,
            memory=MEMORY,
        )
        asked = len(contest.addresses)
        return Measured(
            parts={"": runs},
            facts={
                "items": items,
                "requests": {name: asked + world.pages * (name == "harvester") for name in runs},
            },
            commands=[
                contest.harvest().shown,
                f"python -m bench.bare addresses --workers {WORKERS}",
                f"python -m bench.bare addresses --workers {WORKERS} --sqlite bodies.db",
                f"python -m bench.raw --items {items}",
            ],
            excluded=[],
        )


def _report(result: Result) -> Report:
    runs, requests = result.parts[""], result.facts["requests"]
    wall = ratio(runs["harvester"], runs["bare aiohttp loop"])
    caption = f"{result.facts['items']:,} items, {WORKERS} workers, program and server on one core"
    table = Table(caption, COLUMNS, [row(name, runs, requests[name]) for name in runs])
    return Report([Check.at_most("wall time ÷ bare aiohttp loop", wall, MOST_WALL)], [table])


CASE = Case(
    name="shared",
    title="Shared core: what a request costs on the server's core",
    question="How much longer does a harvest take than a bare loop where the server is on the same core?",
    needs=(),
    measure=_measure,
    report=_report,
)
