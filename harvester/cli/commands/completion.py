"""`harvester completion`: the script that completes commands, options and values in a shell."""

from __future__ import annotations

import argparse

from harvester.cli.completion import completion_script
from harvester.cli.console import print_raw
from harvester.errors import ExitStatus


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print_raw(completion_script(args.shell))
    return ExitStatus.COMPLETE
