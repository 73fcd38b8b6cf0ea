"""Far away and without a limit: what workers are for."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import measure, network
from bench.harvesting import Harvest
from bench.machine import missing
from bench.measure import Failed, Numbers, Spread, alternate, spread
from bench.network import Line
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from bench.world import World

WORKERS = 64
ITEMS = {50: 4000, 200: 2000}
"""Milliseconds of an answer, and the number of items."""
SEED_ITEMS = 40
WRK_SECONDS = 10
LEAST_GAIN, LEAST_IN_FLIGHT = 50, 0.95


@dataclass(frozen=True)
class _Contest:
    """Everybody who takes part, at one distance."""

    line: Line
    seconds: float
    folder: Path
    seed_items: int

    @property
    def harvest(self) -> Harvest:
        at = self.line.served.at
        return Harvest(at.api, at.stats, self.folder / "out", workers=WORKERS, within=self.line.within)

    def everybody(self) -> dict[str, Callable[[], Numbers]]:
        found: dict[str, Callable[[], Numbers]] = {"harvester": self.harvester, "seed": self.seed}
        return found if missing(("wrk",)) else {**found, "wrk": self.wrk}

    def harvester(self) -> Numbers:
        served = self.line.served
        started = time.time()
        numbers = self.harvest.afresh(items=served.world.items)
        return {**numbers, **requests_since(started, self.line), "items": served.world.items}

    def seed(self) -> Numbers:
        at = self.line.served.at
        words = [sys.executable, "-m", "bench.seed", "--api", at.api, "--stats", at.stats]
        ended = measure.run([*self.line.within, *words, "--items", str(self.seed_items)])
        output = orjson.loads(ended.out)
        if output["items"] != self.seed_items:
            raise Failed(f"the seed's scripts found {output['items']} items")
        return {"wall": output["records"] + output["statistics"], "cpu": ended.cpu, "items": self.seed_items}

    def wrk(self) -> Numbers:
        """One address over and over: what that many connections can get at this distance."""
        address = f"{self.line.served.at.stats}/total/views/article/{self.line.served.world.ids[0]}"
        words = ["wrk", "-t1", f"-c{WORKERS}", f"-d{WRK_SECONDS}s", address]
        found = re.search(r"Requests/sec: +([\d.]+)", measure.run([*self.line.within, *words]).out)
        assert found
        return {"rate": float(found[1])}


def requests_since(moment: float, line: Line) -> Numbers:
    """
    Read from the server's log how many requests began since a moment, and how long they took together.

    Its times are those of nginx; what the network adds is outside of them.
    """
    lines = line.served.log.read_text().splitlines()
    every = ((float(end) - float(took), float(end)) for end, took, *_ in map(str.split, lines))
    times = [(begin, end) for begin, end in every if begin >= moment]
    span = max(end for _, end in times) - min(begin for begin, _ in times) + line.outside_seconds
    return {"requests": len(times), "span": span, "rate": len(times) / span}


def _measure(plan: Plan) -> Measured:
    parts, way, commands = {}, "", []
    for milliseconds, items in ITEMS.items():
        seconds = milliseconds / 1000
        world = World(plan.scaled(items))
        with network.far(world, seconds) as line, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            contest = _Contest(line, seconds, Path(folder), plan.scaled(SEED_ITEMS, 5))
            parts[str(milliseconds)] = alternate(contest.everybody(), plan.repeat, warm_up=False)
            way = line.how
            commands = [
                contest.harvest.shown,
                "python -m bench.seed --api http://127.0.0.1:8700/v2 --stats http://127.0.0.1:8701 "
                f"--items {contest.seed_items}",
                f"wrk -t1 -c{WORKERS} -d{WRK_SECONDS}s http://127.0.0.1:8701/total/views/article/{world.ids[0]}",
            ]
    return Measured(
        parts=parts,
        facts={"workers": WORKERS, "way": way},
        commands=commands,
        excluded=missing(("wrk",)),
    )


def _report(result: Result) -> Report:
    checks: list[Check] = []
    rows: list[tuple[str, ...]] = []
    workers = result.facts["workers"]
    for milliseconds, runs in result.parts.items():
        possible = workers / (int(milliseconds) / 1000)
        turns = zip(runs["seed"], runs["harvester"], strict=True)
        gain = Spread.of([_an_item(seed) / _an_item(mine) for seed, mine in turns])
        share = Spread.of([one["rate"] / possible for one in runs["harvester"]])
        checks += [
            Check.at_least(f"{milliseconds} ms: times the seed's scripts", gain, LEAST_GAIN, "{:.0f}"),
            Check.at_least(
                f"{milliseconds} ms: requests/s ÷ (workers ÷ latency)", share, LEAST_IN_FLIGHT, "{:.3f}"
            ),
        ]
        rows += [_row(f"{milliseconds} ms", name, one, possible) for name, one in runs.items()]
    columns = ("an answer takes", "", "ms an item", "requests/s", "÷ (workers ÷ latency)")
    return Report(checks, [Table(f"{workers} workers; the latency: {result.facts['way']}", columns, rows)])


def _row(latency: str, name: str, runs: list[Numbers], possible: float) -> tuple[str, ...]:
    if name == "seed":
        an_item = Spread.of([_an_item(one) for one in runs])
        return latency, "the seed's scripts", an_item.text("{:.0f}", 1000), f"{3 / an_item.median:.1f}", ""
    an_item_text = Spread.of([_an_item(one) for one in runs]).text("{:.2f}", 1000) if name != "wrk" else ""
    rate = spread(runs, "rate")
    return latency, name, an_item_text, rate.text("{:,.0f}"), f"{rate.median / possible:.3f}"


def _an_item(numbers: Numbers) -> float:
    """Seconds."""
    return numbers["wall"] / numbers["items"]


CASE = Case(
    name="latency",
    title="Latency-bound: far away, no limit",
    question="Do 64 workers keep 64 requests in flight, and what does that gain over one at a time?",
    needs=("nginx",),
    measure=_measure,
    report=_report,
)
