"""An unknown rate limit: how soon it is found, and how well it is kept afterwards."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import sandboxes
from bench.harvesting import Harvest, environment
from bench.measure import Failed, Numbers, alternate, spread
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from harvester.sandbox import Sandbox, Settings

CAPS = (20, 100)
CEILING = 1000
SECONDS = 180
START_SECONDS = 3
"""Until the first request, at the most; the clock that ends a run counts them too."""
WINDOW_SECONDS = 5
ITEMS = 100_000
"""More than anybody can have in that time."""
LEAST_SHARE, MOST_SECONDS, MOST_REFUSED = 0.9, 60, 0.01


def _once(cap: int, seconds: float) -> Numbers:
    """Harvest for some time from a service that answers 429 beyond `cap` requests a second."""
    with (
        sandboxes.within(Settings(items=ITEMS, rate_cap=cap)) as sandbox,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        words = _harvest(sandbox.api, sandbox.stats, Path(folder) / "out").words
        process = subprocess.Popen(
            words,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, said = process.communicate(timeout=seconds)
            raise Failed(f"it ended by itself: {said.decode()[-500:]}")
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.communicate()
        return _read(sandbox, cap, seconds)


def _harvest(api: str, stats: str, out: Path) -> Harvest:
    return Harvest(api, stats, out, rate="auto", workers=64, more=("--ceiling", str(CEILING)))


def _read(sandbox: Sandbox, cap: int, seconds: float) -> Numbers:
    """Look at the statistics, whose two requests an item make them the service that decides."""
    seen = sandbox.requests_to("stats")
    begin = seen[0].at
    good = [one.at - begin for one in seen if one.status == 200]
    late = [one for one in sandbox.requests if one.at - begin > MOST_SECONDS]
    end = seconds - START_SECONDS
    settled = [at for at in good if MOST_SECONDS < at <= end]
    return {
        "found": _first_time(good, LEAST_SHARE * cap),
        "refused": sum(one.status == 429 for one in late) / max(1, len(late)),
        "refused before": sum(one.status == 429 for one in seen if one.at - begin <= MOST_SECONDS),
        "rate": len(settled) / (end - MOST_SECONDS),
    }


def _first_time(times: Sequence[float], rate: float) -> float:
    """Return the end of the first window with `rate` answers a second; infinity if there is none."""
    wanted = round(rate * WINDOW_SECONDS)
    for first, last in zip(times, times[wanted - 1 :], strict=False):
        if last - first <= WINDOW_SECONDS:
            return last
    return float("inf")


def _measure(plan: Plan) -> Measured:
    seconds = SECONDS if plan.scale >= 1 else MOST_SECONDS + 20
    parts = {}
    for cap in CAPS:

        def again(cap: int = cap) -> Numbers:
            return _once(cap, seconds)

        parts[str(cap)] = alternate({"harvester": again}, plan.repeat, warm_up=False)
    shown = _harvest("http://127.0.0.1:8700/v2", "http://127.0.0.1:8701", Path("out")).shown
    return Measured(
        parts=parts,
        facts={"seconds": seconds, "ceiling": CEILING},
        commands=[f"harvester sandbox --items {ITEMS} --rate-cap {CAPS[0]}", shown],
    )


def _report(result: Result) -> Report:
    checks, rows = [], []
    for cap, runs in result.parts.items():
        mine = runs["harvester"]
        found, refused = spread(mine, "found"), spread(mine, "refused")
        checks += [
            Check.at_most(f"{cap}/s: seconds until ≥ {LEAST_SHARE} of it", found, MOST_SECONDS, "{:.0f}"),
            Check.at_most(f"{cap}/s: refused after the first minute", refused, MOST_REFUSED, "{:.2%}"),
        ]
        rate = spread(mine, "rate").text("{:.1f}")
        before = spread(mine, "refused before").text("{:.0f}")
        rows.append((f"{cap}/s", found.text("{:.1f}"), rate, before, refused.text("{:.2%}")))
    columns = (
        "refused beyond", f"seconds until {LEAST_SHARE} of it, over {WINDOW_SECONDS} s",
        "answers/s after the first minute", "refused in the first minute", "share refused afterwards",
    )  # fmt: skip
    ceiling, seconds = result.facts["ceiling"], result.facts["seconds"]
    caption = f'`rate = "auto"`, ceiling {ceiling:,}; {seconds:.0f} s each; the statistics'
    return Report(checks, [Table(caption, columns, rows)])


CASE = Case(
    name="auto",
    title="Adaptive rate",
    question="How soon is an unknown limit found, and how well is it kept?",
    needs=(),
    measure=_measure,
    report=_report,
)
