"""`harvester list`: the items of a selection, one a line, printed while their pages arrive."""

from __future__ import annotations

import argparse
import functools
import logging
import sys

from harvester.cli import console
from harvester.cli.event_loop import run_until_signal
from harvester.cli.lines import selected_line, write
from harvester.config import Config
from harvester.engine.activity import Activity
from harvester.engine.dry_run import DryRunReader
from harvester.errors import ExitStatus
from harvester.figshare.protocol import Listing
from harvester.jobs.services import connect
from harvester.models import ItemRef
from harvester.text.wording import counted

log = logging.getLogger("harvester")


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the ids, or with ``--json`` the listed fields of each item."""
    console.flush()  # from here on output bypasses Python's own buffer
    activity = Activity()
    work = functools.partial(_print_selection, config, activity, as_json=args.json)
    read = run_until_signal(args, work, activity)
    is_failed = read.incomplete or (read.empty and args.fail_if_empty)
    return ExitStatus.FAILURES if is_failed else ExitStatus.COMPLETE


async def _print_selection(config: Config, activity: Activity, *, as_json: bool) -> DryRunReader:
    """Print the items of all sources as their pages arrive; return what was read."""
    async with connect(config) as connected:
        dry_run = DryRunReader(
            connected.figshare,
            on_listing=_warn_of_unknown_licences,
            on_miss=functools.partial(log.warning, "incomplete: %s"),
            on_empty=functools.partial(log.warning, "%s"),
        )

        activity.begin(lambda: f"{counted(dry_run.items, 'item')} listed")

        async def show(refs: list[ItemRef]) -> None:
            text = b"".join(selected_line(ref, as_json=as_json) for ref in refs)
            await write(text, sys.stdout.fileno())

        await dry_run.read(config.sources, show)
    return dry_run


def _warn_of_unknown_licences(listing: Listing) -> None:
    if "licence" in listing.client_side_filters:
        log.warning(
            "%s: listings do not show licences: all items are printed, and a run checks their records",
            listing.display_name,
        )
