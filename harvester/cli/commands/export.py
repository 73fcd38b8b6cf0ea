"""`harvester export`: tables and records, written again from the ledger."""

from __future__ import annotations

import argparse
import functools

from harvester.cli.console import print_json, print_raw
from harvester.cli.event_loop import run_until_signal
from harvester.cli.render import as_json
from harvester.config import Config
from harvester.errors import ExitStatus
from harvester.jobs.export import export


def run(args: argparse.Namespace, config: Config) -> int:
    """Write the files and print their paths."""
    paths = run_until_signal(args, functools.partial(export, config, args.to))
    if args.json:
        print_json(as_json({"folder": str(config.folder), "files": [str(path) for path in paths]}))
    else:
        for path in paths:
            print_raw(path)
    return ExitStatus.COMPLETE
