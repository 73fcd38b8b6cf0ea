"""
Progress display of a run: a live display on a terminal, plain lines elsewhere.

Both read the counters a few times a second or minute; the pipeline does not know them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import sys

import anyio

from harvester.cli.amounts_text import of_total, time_left_text
from harvester.client.limits import RateStatistics
from harvester.engine import amounts
from harvester.engine.progress import LINE_EVERY_SECONDS, ProgressSnapshot
from harvester.system.concurrency import background_tasks
from harvester.text.units import human_bytes

log = logging.getLogger("harvester")


def is_live_possible() -> bool:
    """Return whether standard error is a terminal that a display can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in {"dumb", "unknown"}


async def show(snapshot: ProgressSnapshot, args: argparse.Namespace) -> None:
    """Show the progress as the options of a command say, until cancelled."""
    lines = functools.partial(show_lines, snapshot, args.progress_every or LINE_EVERY_SECONDS)
    if args.quiet or args.log_json or not is_live_possible():
        await lines()
        return
    from harvester.cli.live import show_live  # noqa: PLC0415 - only a terminal needs it
    from harvester.cli.screen import screen  # noqa: PLC0415

    with contextlib.suppress(OSError):  # the terminal has gone: the work goes on
        async with background_tasks(*([lines] if args.log_file else [])):
            await show_live(functools.partial(screen, snapshot))
    await lines()


async def show_lines(snapshot: ProgressSnapshot, every_seconds: float = LINE_EVERY_SECONDS) -> None:
    """Log a line every `every_seconds`, until cancelled."""
    while True:
        await anyio.sleep(every_seconds)
        log.info("%s", line(snapshot), extra={"progress": snapshot.state()})


def report(snapshot: ProgressSnapshot) -> None:
    """Log a line now, whatever the log level is."""
    more = {"progress": snapshot.state(), "requested": True}
    record = log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (line(snapshot),), None, extra=more)
    log.handle(record)


def line(snapshot: ProgressSnapshot) -> str:
    """Return the progress of a run in one line."""
    items, files = amounts.items(snapshot), amounts.files(snapshot)
    parts = [f"{of_total(items)} items" + _percent(items)]
    if files.total:
        parts.append(f"{of_total(files)} files" + _percent(files))
        size = of_total(amounts.file_bytes(snapshot), human_bytes)
        speed = snapshot.bytes_a_second
        parts.append(size + (f" at {human_bytes(speed)}/s" if speed else ""))
    used = {name: rate for name, rate in snapshot.rates().items() if snapshot.traffic.requests[name]}
    if used:
        rates = (f"{name} {_rate(snapshot, name, rate)}" for name, rate in used.items())
        parts.append("requests/s: " + " ".join(rates))
    parts += [
        f"{name} pauses {rate.paused_seconds:.0f} s"
        for name, rate in snapshot.rates().items()
        if rate.paused_seconds
    ]
    if snapshot.counters.stopping:
        parts.append("stopping")
    elif (left := time_left_text(snapshot)) is not None:
        parts.append(left)
    return ", ".join(parts)


def _percent(amount: amounts.Amount) -> str:
    return "" if amount.percent is None else f" ({amount.percent} %)"


def _rate(snapshot: ProgressSnapshot, name: str, rate: RateStatistics) -> str:
    """Return the present rate of a service, and the allowed one if it is below the configured one."""
    is_lower = rate.per_second < rate.configured
    return f"{snapshot.requests_a_second(name):.1f}" + (f" (now {rate.per_second:.3g})" if is_lower else "")
