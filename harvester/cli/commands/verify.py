"""`harvester verify`: a fixity check of every file."""

from __future__ import annotations

import argparse
import functools

from harvester.cli.console import print_note
from harvester.cli.event_loop import run_until_signal
from harvester.cli.overrides import timing_of
from harvester.config import Config
from harvester.engine.activity import Activity
from harvester.errors import ExitStatus
from harvester.jobs.verify import verify
from harvester.text.wording import counted


def run(args: argparse.Namespace, config: Config) -> int:
    """Hash every file and print how many are intact."""
    activity = Activity()
    work = functools.partial(verify, config, timing=timing_of(args), activity=activity)
    found = run_until_signal(args, work, activity)
    more = ""
    if found.damaged and found.is_recorded:
        more = "\nrun again to fetch them"
    elif found.damaged:
        more = "\nnothing is recorded: you may only read here; a user who may write runs `verify` and `run`"
    if found.damaged or not args.quiet:
        print_note(f"{counted(found.whole, 'file')} intact, {len(found.damaged)} corrupt or missing{more}")
    return ExitStatus.FAILURES if found.damaged else ExitStatus.COMPLETE
