"""`harvester init`: a commented config to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from harvester.cli.console import print_raw
from harvester.cli.example_config import write_example
from harvester.errors import ExitStatus


def run(args: argparse.Namespace) -> int:
    """Write the config; never overwrite a file."""
    path = Path(args.file)
    write_example(path)
    print_raw(f"wrote {path}; edit it, then: harvester run -c {path}")
    return ExitStatus.COMPLETE
