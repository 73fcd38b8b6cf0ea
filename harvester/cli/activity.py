"""Activity display of `plan`, `list` and `verify`: one live line on a terminal, lines elsewhere."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys

import anyio

from harvester.cli.progress import is_live_possible
from harvester.cli.screen import ScreenLine, one_row
from harvester.engine.activity import Activity
from harvester.engine.progress import LINE_EVERY_SECONDS
from harvester.text.display import one_line

log = logging.getLogger("harvester")

LIVE_AFTER_SECONDS = 0.5
"""What is over sooner needs no display."""


async def show(activity: Activity, args: argparse.Namespace) -> None:
    """Show what a command is doing, until cancelled."""
    prints_there = args.command == "list" and sys.stdout.isatty()
    if args.quiet or args.log_json or prints_there or not is_live_possible():
        await _show_lines(activity, args.progress_every or LINE_EVERY_SECONDS)
        return
    await anyio.sleep(LIVE_AFTER_SECONDS)
    from harvester.cli.live import show_live  # noqa: PLC0415 - only a terminal needs it

    def draw(columns: int) -> list[ScreenLine]:
        return [one_row(one_line(activity.describe()), columns)]

    with contextlib.suppress(OSError):  # the terminal has gone: the work goes on
        await show_live(draw)
    await anyio.sleep_forever()


async def _show_lines(activity: Activity, every_seconds: float) -> None:
    while True:
        await anyio.sleep(every_seconds)
        if text := activity.describe():
            log.info("%s", text)


def report(activity: Activity) -> None:
    """Log what the command is doing now, whatever the log level is."""
    more = {"requested": True}
    text = activity.describe() or "starting"
    log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, "%s", (text,), None, extra=more))
