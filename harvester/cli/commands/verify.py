"""`harvester verify`: a fixity check of every file."""

from __future__ import annotations

import argparse
import contextlib
import functools

from harvester.cli.console import print_json, print_note
from harvester.cli.event_loop import run_until_signal
from harvester.cli.overrides import timing_of
from harvester.cli.render import as_json
from harvester.config import Config
from harvester.engine.activity import Activity
from harvester.errors import ExitStatus
from harvester.jobs.verify import Verified, verify
from harvester.text.wording import counted


def run(args: argparse.Namespace, config: Config) -> int:
    """Hash every file and print how many are intact."""
    activity = Activity()
    work = functools.partial(verify, config, timing=timing_of(args), activity=activity)
    found = run_until_signal(args, work, activity)
    if args.json:
        with contextlib.suppress(BrokenPipeError):  # the exit status says whether files are damaged
            print_json(as_json(_document(found, config)))
        return _status(found)
    more = ""
    if found.damaged and found.is_recorded:
        more = "\nrun again to fetch them"
    elif found.damaged:
        more = "\nnothing is recorded: you may only read here; a user who may write runs `verify` and `run`"
    if found.damaged or not args.quiet:
        print_note(f"{counted(found.whole, 'file')} intact, {len(found.damaged)} corrupt or missing{more}")
    return _status(found)


def _document(found: Verified, config: Config) -> dict[str, object]:
    return {
        "folder": str(config.folder),
        "intact": found.whole,
        "damaged": list(found.damaged),
        "recorded": found.is_recorded,
    }


def _status(found: Verified) -> ExitStatus:
    return ExitStatus.FAILURES if found.damaged else ExitStatus.COMPLETE
