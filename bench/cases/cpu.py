"""What the program itself costs: no delay, no limit, records and statistics, everything written."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import measure, nginx, raw
from bench.harvesting import Harvest
from bench.machine import missing
from bench.measure import Numbers, Runs, alternate, ratio, spread
from bench.nginx import Served
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from bench.world import World

ITEMS = 4000
WORKERS = 32
WRK_SECONDS = 5
MOST_WALL, MOST_CPU = 1.25, 1.5
MEMORY = 512 << 20
RECORDING = "bare loop that records in SQLite"
_WRK_SCRIPT = """\
local requests, number = {}, 0
function init(args)
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format("GET", path) end
end
function request()
  number = number % #requests + 1
  return requests[number]
end
"""


@dataclass(frozen=True)
class Contest:
    """Everybody who takes part, over one world and one list of addresses."""

    served: Served | raw.Served
    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "addresses").write_text("\n".join(self.addresses))
        paths = [re.sub(r"^http://[^/]*", "", address) for address in self.addresses]
        (self.folder / "paths").write_text("\n".join(paths))
        (self.folder / "cycle.lua").write_text(_WRK_SCRIPT)
        lines = [f'url = "{address}"\noutput = "/dev/null"' for address in self.addresses]
        (self.folder / "curl.txt").write_text("\n".join(lines))

    @property
    def addresses(self) -> list[str]:
        """A record and two totals an item, as a harvest requests them."""
        world, at = self.served.world, self.served.at
        records, totals = world.record_addresses(at), world.total_addresses(at)
        return [
            address
            for place, record in enumerate(records)
            for address in (record, *totals[2 * place : 2 * place + 2])
        ]

    def harvest(self, *packages: str) -> Harvest:
        at = self.served.at
        return Harvest(at.api, at.stats, self.folder / "out", workers=WORKERS, packages=packages)

    def everybody(self) -> dict[str, Callable[[], Numbers]]:
        items = self.served.world.items
        found: dict[str, Callable[[], Numbers]] = {
            "harvester": lambda: self.harvest().afresh(items=items),
            "bare aiohttp loop": self.bare,
            RECORDING: self.bare_recording,
        }
        if importlib.util.find_spec("uvloop"):
            found["harvester, uvloop"] = lambda: self.harvest("uvloop").afresh(items=items)
            found["bare aiohttp loop, uvloop"] = lambda: self.bare("--uvloop")
        if not missing(("curl",)):
            found["curl --parallel"] = self.curl
        if not missing(("wrk",)):
            found["wrk"] = self.wrk
        return self.with_server(found)

    def with_server(self, found: dict[str, Callable[[], Numbers]]) -> dict[str, Callable[[], Numbers]]:
        """Count the server's processor seconds to each."""
        return {name: self._counted(once) for name, once in found.items()}

    def _counted(self, once: Callable[[], Numbers]) -> Callable[[], Numbers]:
        def counted() -> Numbers:
            before = self.served.cpu
            numbers = once()
            share = numbers.pop("share", 1)
            return {**numbers, "server_cpu": (self.served.cpu - before) * share}

        return counted

    def bare(self, *more: str) -> Numbers:
        words = [sys.executable, "-m", "bench.bare", f"{self.folder}/addresses", "--workers", str(WORKERS)]
        return measure.run([*words, *more]).numbers

    def bare_recording(self) -> Numbers:
        return self.bare("--sqlite", f"{self.folder}/bodies-{time.monotonic_ns()}.db")

    def curl(self) -> Numbers:
        words = ["curl", "--parallel", "--parallel-max", str(WORKERS), "--silent", "--fail"]
        return measure.run([*words, "--config", f"{self.folder}/curl.txt"]).numbers

    def wrk(self) -> Numbers:
        """Request as long as wrk does, and return the time for the same number of requests."""
        address = self.served.at.api.removesuffix("/v2")
        words = ["wrk", "-t1", f"-c{WORKERS}", f"-d{WRK_SECONDS}s", "-s", f"{self.folder}/cycle.lua", address]
        ended = measure.run([*words, f"{self.folder}/paths"])
        found = re.search(r"(\d+) requests in", ended.out)
        assert found, ended.out
        share = len(self.addresses) / int(found[1])
        return {"wall": ended.wall * share, "cpu": ended.cpu * share, "share": share}


def _measure(plan: Plan) -> Measured:
    world = World(plan.scaled(ITEMS))
    with nginx.serve(world) as served, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        contest = Contest(served, Path(folder))
        runs = alternate(contest.everybody(), plan.repeat, memory=MEMORY)
        asked = len(contest.addresses)
        return Measured(
            parts={"": runs},
            facts={
                "items": world.items,
                "workers": WORKERS,
                "requests": {
                    name: asked + world.pages if name.startswith("harvester") else asked for name in runs
                },
            },
            commands=[
                contest.harvest().shown,
                f"python -m bench.bare addresses --workers {WORKERS}",
                f"python -m bench.bare addresses --workers {WORKERS} --sqlite bodies.db",
                f"curl --parallel --parallel-max {WORKERS} --silent --fail --config curl.txt",
                f"wrk -t1 -c{WORKERS} -d{WRK_SECONDS}s -s cycle.lua http://127.0.0.1:8700 paths",
            ],
            excluded=missing(("wrk", "curl")),
        )


def _report(result: Result) -> Report:
    runs, requests = result.parts[""], result.facts["requests"]
    bare = runs["bare aiohttp loop"]
    wall, cpu = (ratio(runs["harvester"], bare, key) for key in ("wall", "cpu"))
    checks = [
        Check.at_most("wall time ÷ bare aiohttp loop", wall, MOST_WALL),
        Check.at_most("CPU time ÷ bare aiohttp loop", cpu, MOST_CPU),
    ]
    columns = (
        "", "wall, s", "CPU, s", "CPU µs a request", "requests/s",
        "wall ÷ bare", "CPU ÷ bare", "nginx CPU, s",
    )  # fmt: skip
    caption = f"{result.facts['items']:,} items, {result.facts['workers']} workers, loopback"
    return Report(checks, [Table(caption, columns, [row(name, runs, requests[name]) for name in runs])])


def row(name: str, runs: Runs, requests: int) -> tuple[str, ...]:
    mine, bare = runs[name], runs["bare aiohttp loop"]
    wall, cpu = spread(mine), spread(mine, "cpu")
    return (
        name,
        wall.text(),
        cpu.text(),
        f"{1e6 * cpu.median / requests:.0f}",
        f"{requests / wall.median:,.0f}",
        f"{ratio(mine, bare).median:.2f}",
        f"{ratio(mine, bare, 'cpu').median:.2f}",
        spread(mine, "server_cpu").text(),
    )


CASE = Case(
    name="cpu",
    title="CPU-bound: what a request costs",
    question="What share of the speed of bare Python and aiohttp is left when everything is recorded?",
    needs=("nginx",),
    measure=_measure,
    report=_report,
)
