"""How the wall time falls with the number of workers: the measurements behind the chart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import network
from bench.harvesting import Harvest
from bench.measure import Numbers, alternate, spread
from bench.network import Line
from bench.result import Case, Measured, Plan, Report, Result, Table
from bench.world import World

ITEMS = 160
REQUESTS_AN_ITEM = 3
WORKERS = (1, 2, 4, 8, 16, 32, 64)
MILLISECONDS = (0, 50, 200)


def _measure(plan: Plan) -> Measured:
    world = World(plan.scaled(ITEMS, 20))
    parts, way = {}, ""
    for milliseconds in MILLISECONDS:
        with (
            network.far(world, milliseconds / 1000) as line,
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
        ):
            who = {str(workers): _with(line, Path(folder), workers) for workers in WORKERS}
            parts[str(milliseconds)] = alternate(who, plan.repeat, warm_up=False)
            way = line.how
    shown = Harvest("http://127.0.0.1:8700/v2", "http://127.0.0.1:8701", Path("out"), workers=64).shown
    return Measured(parts=parts, facts={"items": world.items, "way": way}, commands=[shown])


def _with(line: Line, folder: Path, workers: int) -> Callable[[], Numbers]:
    at, items = line.served.at, line.served.world.items
    harvest = Harvest(at.api, at.stats, folder / "out", workers=workers, within=line.within)
    return lambda: harvest.afresh(items=items)


def lower_bound(items: int, milliseconds: int, workers: int) -> float:
    """Return the seconds that the answers alone take with `workers` requests in flight."""
    return REQUESTS_AN_ITEM * items * milliseconds / 1000 / workers


def _report(result: Result) -> Report:
    items = result.facts["items"]
    rows = []
    for milliseconds, runs in result.parts.items():
        cells = (spread(runs[str(workers)]).text() for workers in WORKERS)
        rows.append((f"{milliseconds} ms", *cells))
        if int(milliseconds):
            bounds = (f"{lower_bound(items, int(milliseconds), workers):.2f}" for workers in WORKERS)
            rows.append(("at the least", *bounds))
    caption = (
        f"Wall seconds of {items:,} items, records and statistics, whole program; "
        f"the latency: {result.facts['way']}"
    )
    columns = (
        "an answer takes",
        *(f"{workers} workers" if workers > 1 else "1 worker" for workers in WORKERS),
    )
    return Report(tables=[Table(caption, columns, rows)])


CASE = Case(
    name="chart",
    title="Workers against latency",
    question="How many workers are enough, and what do they gain?",
    needs=("nginx",),
    measure=_measure,
    report=_report,
)
