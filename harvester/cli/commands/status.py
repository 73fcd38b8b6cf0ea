"""`harvester status`: what a folder holds; works while a run is active."""

from __future__ import annotations

import argparse

from harvester.cli.console import print_json, print_text
from harvester.cli.render import as_json, status_text
from harvester.config import Config
from harvester.errors import ExitStatus
from harvester.jobs.status import status


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the state of the folder."""
    state = status(config)
    if args.json:
        print_json(as_json(state.to_dict()))
    else:
        print_text(status_text(state))
    return ExitStatus.COMPLETE
