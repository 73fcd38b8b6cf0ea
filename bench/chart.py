"""The chart: wall time against workers for several latencies, with the lower bound drawn in."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

from bench.cases.chart import WORKERS, lower_bound
from bench.measure import spread
from bench.result import Result

mpl.use("svg")
mpl.rcParams["svg.fonttype"] = "path"  # independent of the installed fonts
mpl.rcParams["svg.hashsalt"] = "harvester"  # the same picture is the same file

from matplotlib.axes import Axes  # noqa: E402 - after the choice of how to draw
from matplotlib.figure import Figure  # noqa: E402

INK, PALE = "#24292f", "#d0d7de"
COLOURS = {"0": "#57606a", "50": "#0969da", "200": "#bc4c00"}


def draw(result: Result, path: Path) -> None:
    """Draw what the case `chart` measured; the ending of the path says in which format."""
    figure = Figure(figsize=(8, 4.8), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    for milliseconds in result.parts:
        _line(axes, result, milliseconds)
    _dress(axes, result)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _line(axes: Axes, result: Result, milliseconds: str) -> None:
    runs, colour = result.parts[milliseconds], COLOURS.get(milliseconds, INK)
    spreads = [spread(runs[str(workers)]) for workers in WORKERS]
    walls = [one.median for one in spreads]
    axes.plot(WORKERS, walls, color=colour, marker="o", markersize=5, linewidth=2, zorder=3)
    least, most = [one.least for one in spreads], [one.most for one in spreads]
    axes.fill_between(WORKERS, least, most, color=colour, alpha=0.2, linewidth=0, zorder=2)
    name = f"{milliseconds} ms an answer" if milliseconds != "0" else "no delay"
    axes.annotate(name, (WORKERS[0], walls[0]), xytext=(8, 10), textcoords="offset points", color=colour)
    if milliseconds != "0":
        bounds = [lower_bound(result.facts["items"], int(milliseconds), workers) for workers in WORKERS]
        axes.plot(WORKERS, bounds, color=colour, linewidth=1, linestyle=(0, (5, 3)), zorder=1)


def _dress(axes: Axes, result: Result) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(WORKERS, [str(workers) for workers in WORKERS])
    low, high = axes.get_ylim()
    ticks = [
        seconds for seconds in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= seconds <= high
    ]
    axes.set_yticks(ticks, [f"{seconds:g} s" for seconds in ticks])
    axes.minorticks_off()
    axes.set_ylim(low, high * 1.3)
    axes.grid(color=PALE, linewidth=0.6)
    axes.tick_params(colors=INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel("workers (items processed at once)", color=INK)
    axes.set_title(
        f"Time to harvest {result.facts['items']:,} items: records, views and downloads",
        loc="left", color=INK, fontsize=13,
    )  # fmt: skip
    axes.plot([], [], color=INK, linewidth=2, marker="o", markersize=5, label="measured, whole program")
    axes.plot(
        [],
        [],
        color=INK,
        linewidth=1,
        linestyle=(0, (5, 3)),
        label="lower bound: requests × latency ÷ workers",
    )
    axes.legend(
        loc="upper right", frameon=True, facecolor="white", edgecolor="none", labelcolor=INK, fontsize=9
    )
