"""Under a limit: is every request used that may be made, and none made that need not be?"""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import sandboxes
from bench.harvesting import Harvest
from bench.measure import Numbers, Spread, alternate, spread
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from bench.sandboxes import busiest_second
from harvester.figshare.cursor import PAGE_SIZE
from harvester.sandbox import Sandbox, Settings
from harvester.sandbox.catalogue import LISTED_FILES

ITEMS = {20: 1000, 200: 10_000}
"""Requests a second, and the number of items."""
SERVICES = ("api", "stats", "files")
QUERY = "data"
HEAVY_SIZE = 100_000
"""Bytes of the largest file: the limit is what decides, not the line."""
MOST_WALL = 1.03
DOWNLOADS = 32
"""At 200 a second a file may take 160 ms, most of which the disk takes to make it last."""


@dataclass(frozen=True)
class _Need:
    """What there is to be had, and the requests that it takes, from the sandbox's truth."""

    items: int
    files: int
    requests: dict[str, int]

    @classmethod
    def of(cls, sandbox: Sandbox) -> _Need:
        world = sandbox.world
        ids = world.search(QUERY)
        cut = files = 0
        for item_id in ids:
            listed = world.files(item_id)
            cut += len(listed) >= LISTED_FILES or world.trait(item_id) == "files null"
            files += 0 if world.is_withheld(item_id) else sum(not file["is_link_only"] for file in listed)
        pages = max(1, math.ceil(len(ids) / PAGE_SIZE))
        return cls(len(ids), files, {"api": pages + len(ids) + cut, "stats": 2 * len(ids), "files": files})

    def bound(self, rate: int) -> float:
        """Seconds that it takes at the least."""
        return max(self.requests.values()) / rate


def once(items: int, rate: int, folder: Path) -> Numbers:
    """Harvest a sandbox of `items` items, everything, at `rate` requests a second a service."""
    with sandboxes.within(Settings(items=items, heavy_size=HEAVY_SIZE)) as sandbox:
        need = _Need.of(sandbox)
        out = folder / "out"
        numbers = _harvest(sandbox.api, sandbox.stats, out, rate).again()
        arrived = {name: [seen.at for seen in sandbox.requests_to(name)] for name in SERVICES}
        last = max(*map(max, arrived.values()), _last_byte(out / "files"))
        _harvest(sandbox.api, sandbox.stats, out, rate).must_hold(need.items, need.files)
    first = min(times[0] for times in arrived.values())
    return {
        **numbers,
        "span": last - first,
        "bound": need.bound(rate),
        **{f"made {name}": len(times) for name, times in arrived.items()},
        **{f"needed {name}": number for name, number in need.requests.items()},
        **{f"busiest {name}": busiest_second(times) for name, times in arrived.items()},
    }


def _harvest(api: str, stats: str, out: Path, rate: int) -> Harvest:
    more = ("--downloads", str(DOWNLOADS))
    return Harvest(api, stats, out, tasks="metadata,stats,files", rate=str(rate), workers=64, more=more)


def _last_byte(files: Path) -> float:
    """When the last file was written to, on the clock of `time.monotonic`."""
    newest = max((path.stat().st_mtime for path in files.rglob("*") if path.is_file()), default=0.0)
    return newest - time.time() + time.monotonic()


def _measure(plan: Plan) -> Measured:
    parts = {}
    for rate, items in ITEMS.items():
        number = plan.scaled(items, 60)

        def again(number: int = number, rate: int = rate) -> Numbers:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                return once(number, rate, Path(folder))

        parts[str(rate)] = alternate({"harvester": again}, plan.repeat, warm_up=False)
    shown = _harvest("http://127.0.0.1:8700/v2", "http://127.0.0.1:8701", Path("out"), 20).shown
    return Measured(
        parts=parts,
        facts={"items": {str(rate): plan.scaled(items, 60) for rate, items in ITEMS.items()}},
        commands=["harvester sandbox --items 1000", shown],
    )


def _report(result: Result) -> Report:
    checks: list[Check] = []
    rows: list[tuple[str, ...]] = []
    for rate, runs in result.parts.items():
        checks += _checks(int(rate), runs["harvester"])
        rows += _rows(int(rate), runs["harvester"])
    columns = ("limit", "service", "requests needed", "made", "seconds at the least", "busiest second")
    items = ", ".join(f"{number:,} at {rate}/s" for rate, number in result.facts["items"].items())
    return Report(
        checks, [Table(f"items of the sandbox: {items}; records, statistics, files", columns, rows)]
    )


def _seconds(rate: int) -> str:
    """Which number tells how long it took; 200/s are over so soon that starting up would count too much."""
    return "span" if rate >= 200 else "wall"


def _checks(rate: int, mine: list[Numbers]) -> list[Check]:
    key = _seconds(rate)
    seconds = "first request to last byte" if key == "span" else "wall time"
    over = Spread.of([one[key] / one["bound"] for one in mine])
    busiest = Spread.of([max(one[f"busiest {name}"] for name in SERVICES) for one in mine])
    share = Spread.of([_all(one, "made") / _all(one, "needed") for one in mine])
    most = rate + 1 if rate < 200 else rate * 1.05
    return [
        Check.at_most(f"{rate}/s: {seconds} ÷ lower bound", over, MOST_WALL, "{:.3f}"),
        Check.at_most(f"{rate}/s: busiest second of any service", busiest, most, "{:.0f}"),
        Check.at_most(f"{rate}/s: requests made ÷ needed", share, 1.0, "{:.4f}"),
    ]


def _all(numbers: Numbers, what: str) -> float:
    return sum(numbers[f"{what} {name}"] for name in SERVICES)


def _rows(rate: int, mine: list[Numbers]) -> list[tuple[str, ...]]:
    needed = {name: mine[0][f"needed {name}"] for name in SERVICES}
    rows = [
        (
            f"{rate}/s",
            name,
            f"{needed[name]:,.0f}",
            spread(mine, f"made {name}").text("{:,.0f}"),
            f"{needed[name] / rate:.1f}",
            spread(mine, f"busiest {name}").text("{:.0f}"),
        )
        for name in SERVICES
    ]
    measured = spread(mine, _seconds(rate)).text("{:.1f}")
    return [*rows, ("", "all", f"{sum(needed.values()):,.0f}", "", f"measured: {measured}", "")]


CASE = Case(
    name="limit",
    title="Under a limit",
    question="Does a run use every request that the limit allows, and make none that it does not need?",
    needs=(),
    measure=_measure,
    report=_report,
)
