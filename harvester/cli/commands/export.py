"""`harvester export`: tables and records, written again from the ledger."""

from __future__ import annotations

import argparse
import functools

from harvester.cli.console import print_raw
from harvester.cli.event_loop import run_until_signal
from harvester.config import Config
from harvester.errors import ExitStatus
from harvester.jobs.export import export


def run(args: argparse.Namespace, config: Config) -> int:
    """Write the files and print their paths."""
    for path in run_until_signal(args, functools.partial(export, config, args.to)):
        print_raw(path)
    return ExitStatus.COMPLETE
