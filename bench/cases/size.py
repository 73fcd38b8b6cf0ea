"""Size: what a million items cost in memory, disk and patience."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import measure, sandboxes
from bench.harvesting import Harvest, environment
from bench.measure import Failed, Numbers, Runs, Spread, say, spread
from bench.result import Case, Check, Measured, Plan, Report, Result, Table

SIZES = (10_000, 100_000)
MOST_GROWTH, MOST_OPEN_SECONDS, MOST_STATUS_SECONDS = 1.10, 10, 1
PATIENCE_SECONDS = 120


def _sizes(plan: Plan) -> list[int]:
    largest = plan.scaled(plan.items)
    return [*(size for size in SIZES if size < largest), largest]


def _harvest_size(items: int, repeat: int, folder: Path) -> tuple[Runs, int]:
    """Harvest `items` listed items, then use the folder; return the runs and the number of items found."""
    with sandboxes.apart(items) as (api, stats):
        harvest = Harvest(api, stats, folder / "out")
        runs: Runs = {"harvest": [_first(harvest)]}
        found = int(harvest.summary()["folder"]["items"])
        harvest.must_hold(found)
        say(f"{items:,} items: {runs['harvest'][0]}")
        runs["second run"] = [harvest.again(memory=True)]
    runs["first request"] = [{"wall": _until_first_request(harvest)} for _ in range(repeat)]
    runs["status"] = [_command(harvest, "status") for _ in range(repeat)]
    runs["export"] = [_command(harvest, "export") for _ in range(repeat if items <= SIZES[-1] else 1)]
    for name in ("second run", "first request", "status", "export"):
        say(f"{items:,} items, {name}: {runs[name][0]}")
    shutil.rmtree(harvest.out)
    return runs, found


def _first(harvest: Harvest) -> Numbers:
    numbers = harvest.again(memory=True)
    return {**numbers, "database": sum(path.stat().st_size for path in harvest.out.glob("harvest.db*"))}


def _command(harvest: Harvest, name: str) -> Numbers:
    words = [*harvest.program, name, "-o", str(harvest.out)]
    return measure.run(words, env=environment(), memory=True).numbers


def _until_first_request(harvest: Harvest) -> float:
    """Start a second run, and kill it when its first connection arrives; return the seconds until then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_SECONDS)
        port = listener.getsockname()[1]
        words = replace(harvest, api=f"http://127.0.0.1:{port}/v2").words
        started = time.perf_counter()
        process = subprocess.Popen(
            words, env=environment(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            listener.accept()
            return time.perf_counter() - started
        except TimeoutError as exc:
            raise Failed(f"no request in {PATIENCE_SECONDS} s") from exc
        finally:
            process.kill()
            process.wait()


def _measure(plan: Plan) -> Measured:
    parts, found = {}, {}
    for items in _sizes(plan):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            parts[str(items)], found[str(items)] = _harvest_size(items, plan.repeat, Path(folder))
    shown = Harvest("http://127.0.0.1:8700/v2", "http://127.0.0.1:8701", Path("out")).shown
    return Measured(
        parts=parts,
        facts={"found": found},
        commands=[
            f"harvester sandbox --items {_sizes(plan)[-1]}",
            shown,
            f"{shown}  # again",
            "harvester status -o out",
            "harvester export -o out",
        ],
    )


def _report(result: Result) -> Report:
    sizes = sorted(result.parts, key=int)
    few, many = result.parts[sizes[0]], result.parts[sizes[-1]]
    growth = _most(many["harvest"]) / _most(few["harvest"])
    opened, status = spread(many["first request"]), spread(many["status"])
    items = f"{int(sizes[-1]):,} items"
    what = f"{items}: peak memory ÷ that of {int(sizes[0]):,}"
    checks = [
        Check.at_most(what, Spread.of([growth]), MOST_GROWTH, "{:.3f}"),
        Check.at_most(f"{items}: seconds until the next run's first request", opened, MOST_OPEN_SECONDS),
        Check.at_most(f"{items}: `harvester status`, seconds", status, MOST_STATUS_SECONDS),
    ]
    columns = (
        "listed", "found", "harvest, s", "items/s", "peak memory, MB", "database, bytes an item",
        "next run: first request, s", "next run, s", "status, s", "export, s", "export: peak memory, MB",
    )  # fmt: skip
    rows = [_row(size, result.facts["found"][size], result.parts[size]) for size in sizes]
    caption = "items of the sandbox, listed by a search; records and statistics, 32 workers"
    return Report(checks, [Table(caption, columns, rows)])


def _most(runs: Sequence[Numbers]) -> float:
    return max(one["memory"] for one in runs)


def _row(size: str, found: int, runs: Runs) -> tuple[str, ...]:
    harvest = runs["harvest"][0]
    return (
        f"{int(size):,}",
        f"{found:,}",
        f"{harvest['wall']:.0f}",
        f"{found / harvest['wall']:.0f}",
        f"{harvest['memory'] / 1e6:.1f}",
        f"{harvest['database'] / found:,.0f}",
        spread(runs["first request"]).text(),
        f"{runs['second run'][0]['wall']:.1f}",
        spread(runs["status"]).text(),
        spread(runs["export"]).text("{:.1f}"),
        f"{_most(runs['export']) / 1e6:.1f}",
    )


CASE = Case(
    name="size",
    title="Size",
    question="What do a million items cost in memory, disk space and time?",
    needs=(),
    measure=_measure,
    report=_report,
)
