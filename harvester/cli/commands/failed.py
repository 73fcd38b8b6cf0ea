"""`harvester failed`: the failed items and files, one name a line, as input for `run --items -`."""

from __future__ import annotations

import argparse

from harvester.cli.console import print_raw
from harvester.cli.lines import failed_lines, failed_objects
from harvester.config import Config
from harvester.errors import ExitStatus
from harvester.ledger.reader import Reader


def run(args: argparse.Namespace, config: Config) -> int:
    """Print each failure once."""
    write = failed_objects if args.json else failed_lines
    with Reader(config.folder) as reader:
        for line in write(reader.failures()):
            print_raw(line)
    return ExitStatus.COMPLETE
