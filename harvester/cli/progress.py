"""
Progress display of a run: a live display on a terminal, plain lines elsewhere.

Both read the counters a few times a second or minute; the pipeline does not know them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import anyio

from harvester.client.limits import RateStatistics
from harvester.engine.progress import LINE_EVERY_SECONDS, ProgressSnapshot
from harvester.text.display import one_line
from harvester.text.units import human_bytes, human_seconds

log = logging.getLogger("harvester")

DRAW_EVERY_SECONDS = 0.2


async def show_lines(snapshot: ProgressSnapshot, every_seconds: float = LINE_EVERY_SECONDS) -> None:
    """Log a line every `every_seconds`, until cancelled."""
    while True:
        await anyio.sleep(every_seconds)
        log.info("%s", line(snapshot), extra={"progress": snapshot.state()})


def line(snapshot: ProgressSnapshot) -> str:
    """Return the progress of a run in one line."""
    counters, traffic = snapshot.counters, snapshot.traffic
    more = "" if counters.listing_ended else "+"
    parts = [f"{counters.items_done} of {counters.items_pending}{more} items"]
    if counters.files_pending:
        parts.append(f"{counters.files_done} of {counters.files_pending}{more} files")
        parts.append(human_bytes(traffic.file_bytes))
    if failed := counters.items_failed + counters.files_failed:
        parts.append(f"{failed} failed")
    parts.append(
        "requests/s: "
        + " ".join(
            f"{name} {snapshot.requests_a_second(name):.1f}{_allowed_now(rate)}"
            for name, rate in snapshot.rates().items()
        )
    )
    parts += [
        f"{name} pauses {rate.paused_seconds:.0f} s"
        for name, rate in snapshot.rates().items()
        if rate.paused_seconds
    ]
    if (left := snapshot.seconds_left) is not None:
        parts.append(f"{human_seconds(left)} left")
    return ", ".join(parts)


def _allowed_now(rate: RateStatistics) -> str:
    """Return the present rate of a service if it is below the configured one, else ""."""
    return f" (now {rate.per_second:.3g})" if rate.per_second < rate.configured else ""


def report(snapshot: ProgressSnapshot) -> None:
    """Log a line now, whatever the log level is."""
    more = {"progress": snapshot.state(), "requested": True}
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (line(snapshot),), None, extra=more)
    log.handle(record)


async def show_live(snapshot: ProgressSnapshot) -> None:
    """Show a live display on standard error, until cancelled; log lines appear above it."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.live import Live  # noqa: PLC0415

    console = Console(stderr=True)
    live = Live(
        _table(snapshot),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,  # a closed terminal is replaced while it runs, see `console.leave_terminal`
        redirect_stderr=False,
    )
    with live:
        handler = _Above(live)
        log.addHandler(handler)
        others = [other for other in log.handlers if other is not handler]
        for other in others:
            log.removeHandler(other)
        try:
            while True:
                live.update(_table(snapshot), refresh=True)
                await anyio.sleep(DRAW_EVERY_SECONDS)
        finally:
            log.removeHandler(handler)
            for other in others:
                log.addHandler(other)


class _Above(logging.Handler):
    """Prints warnings above a live display."""

    def __init__(self, live: Any) -> None:
        super().__init__()
        self._live = live
        self.addFilter(lambda record: record.levelno >= logging.WARNING or hasattr(record, "requested"))

    def emit(self, record: logging.LogRecord) -> None:
        self._live.console.print(one_line(record.getMessage()), markup=False, highlight=False)


def _table(snapshot: ProgressSnapshot) -> Any:
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    counters, traffic = snapshot.counters, snapshot.traffic
    more = "" if counters.listing_ended else "+"
    grid = Table.grid(padding=(0, 2))
    for name, done, failed, pending in (
        ("items", counters.items_done, counters.items_failed, counters.items_pending),
        ("files", counters.files_done, counters.files_failed, counters.files_pending),
    ):
        bar = ProgressBar(total=max(pending, 1), completed=done + failed, width=30)
        said = f"{done} of {pending}{more}" + (f", {failed} failed" if failed else "")
        grid.add_row(name, bar, said, human_bytes(traffic.file_bytes) if name == "files" else "")
    for name, limit in snapshot.rates().items():
        paused = limit.paused_seconds
        state = f"pauses {paused:.0f} s" if paused else ""
        errors = f"{traffic.errors[name]} errors" if traffic.errors[name] else ""
        rate = f"{snapshot.requests_a_second(name):.1f} requests/s of {limit.per_second:.3g}"
        grid.add_row(name if name != "files" else "downloads", rate, state, errors)
    left = snapshot.seconds_left
    passed = f"{human_seconds(snapshot.seconds)} passed"
    grid.add_row("time", passed, "" if left is None else f"about {human_seconds(left)}{more} left", "")
    return grid


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()
