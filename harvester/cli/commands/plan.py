"""`harvester plan`: a dry run."""

from __future__ import annotations

import argparse
import functools

from harvester.cli.console import print_json, print_text
from harvester.cli.event_loop import run_until_signal
from harvester.cli.render import as_json, plan_text
from harvester.config import Config
from harvester.engine.activity import Activity
from harvester.errors import ExitStatus
from harvester.jobs.plan import plan


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the requests that a run would make, and how long they take."""
    activity = Activity()
    work = functools.partial(plan, config, sample_size=args.sample, quick=args.quick, activity=activity)
    made = run_until_signal(args, work, activity)
    if args.json:
        print_json(as_json(made.to_dict()))
    else:
        print_text(plan_text(made, config))
    is_failed = made.incomplete or (made.empty and args.fail_if_empty)
    return ExitStatus.FAILURES if is_failed else ExitStatus.COMPLETE
