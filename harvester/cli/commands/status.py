"""`harvester status`: what a folder holds; works while a run is active."""

from __future__ import annotations

import argparse
import time
from contextlib import suppress
from pathlib import Path

from harvester.cli.console import print_json, print_text
from harvester.cli.monitoring import Level, check_line, first_words
from harvester.cli.render import as_json, status_text
from harvester.config import Config
from harvester.errors import ExitStatus, HarvestError, UsageError
from harvester.jobs.status import status

FULL_BYTES = 100_000


def run(args: argparse.Namespace, config: Config) -> int:
    """Print the state of the folder, or with ``--check`` a line for a monitoring system."""
    if args.max_age is not None and not args.check:
        raise UsageError("--max-age requires --check")
    return _check(args, config) if args.check else _show(args, config)


def _show(args: argparse.Namespace, config: Config) -> int:
    state = status(config)
    if args.json:
        print_json(as_json(state.to_dict()))
    else:
        is_killed = state.last_run is not None and state.last_run.state == "killed"
        print_text(status_text(state, is_disk_full=is_killed and _is_full(config.folder)))
    return ExitStatus.COMPLETE


def _is_full(folder: Path) -> bool:
    """Return whether there is no room for a few pages of the ledger."""
    import shutil  # noqa: PLC0415 - a killed run is rare, and the import is slow

    with suppress(OSError):
        return shutil.disk_usage(folder).free < FULL_BYTES
    return False


def _check(args: argparse.Namespace, config: Config) -> int:
    try:
        state = status(config)
    except HarvestError as error:  # a monitoring system reads standard output
        level = Level.CRITICAL if isinstance(error, UsageError) else Level.UNKNOWN
        print_text(first_words(level, str(error)))
        return level
    level, line = check_line(state, now=time.time(), max_age=args.max_age or 0)
    if args.json:
        print_json(as_json(state.to_dict()))
    else:
        print_text(line)
    return level
