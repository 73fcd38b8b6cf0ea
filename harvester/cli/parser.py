"""
Argument parser: commands, options and their help texts.

The destination of an option is the full name of the config key that it sets (``concurrency.workers``), so no
mapping table is needed. `arguments/` has the options, one file for each group.
"""

from __future__ import annotations

import argparse
from typing import Any

from harvester.cli.arguments.checks import add_doctor
from harvester.cli.arguments.common import DEFAULT_FILE, add_config, add_formats, add_output, add_output_style
from harvester.cli.arguments.help_format import Help
from harvester.cli.arguments.sandbox import add_sandbox
from harvester.cli.arguments.sources import add_sources
from harvester.cli.arguments.this_run import add_quick, add_this_run
from harvester.cli.arguments.values import folder_path
from harvester.cli.arguments.work import add_files, add_services, add_statistics, add_work
from harvester.system.version import __version__


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and options."""
    parser = argparse.ArgumentParser(
        prog="harvester",
        formatter_class=Help,
        description="Harvest records, statistics and verified files from figshare.",
        epilog="exit status: 0 all is there; 1 finished, and failures.csv says what is missing; "
        "2 wrong usage or config; 3 could not continue, state saved; 130 interrupted, state saved",
    )
    parser.add_argument("--version", action="version", version=f"harvester {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", "harvest; run it again to continue where it stopped")
    _add_job(run)
    add_formats(run)
    add_this_run(run)
    add_output_style(run)
    plan = _command(commands, "plan", "dry run: requests, time, and the service that limits it")
    _add_job(plan)
    add_quick(plan)
    plan.add_argument(
        "--sample", type=int, default=20, metavar="N",
        help="records to request for the estimate of files and bytes (20)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    selection = _command(commands, "list", "print the ids of a selection, one a line; nothing is written")
    add_config(selection)
    add_sources(selection)
    add_services(selection)
    selection.add_argument(
        "--json", action="store_true", help="one JSON object a line: id, title, DOI, dates"
    )
    add_output_style(selection)
    _add_commands_on_a_folder(commands)
    doctor = _command(
        commands, "doctor", "check token, services, network, disk and terminal; for bug reports"
    )
    add_doctor(doctor)
    init = _command(commands, "init", "write a commented config to start from")
    init.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"where to ({DEFAULT_FILE})")
    sandbox = _command(commands, "sandbox", "serve a figshare look-alike on localhost")
    add_sandbox(sandbox)
    return parser


def _add_commands_on_a_folder(commands: Any) -> None:
    status = _command(commands, "status", "what a folder holds, what is pending and what failed")
    failed = _command(commands, "failed", "what failed, one name a line, as input for `run --items -`")
    verify = _command(commands, "verify", "hash every file again; corrupt ones are fetched by the next run")
    export = _command(commands, "export", "write the tables and records again")
    for command in (status, failed, verify, export):
        add_config(command)
        add_output(command)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    failed.add_argument("--json", action="store_true", help="one JSON object a line, with the reason")
    add_formats(export)
    export.add_argument(
        "--to", type=folder_path, metavar="FOLDER",
        help="write them to this folder instead; the harvest may be read-only",
    )  # fmt: skip


def _command(commands: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        formatter_class=Help,
    )
    parser.set_defaults(command=name)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` and `plan` share."""
    add_config(parser)
    add_output(parser)
    add_sources(parser)
    add_work(parser)
    add_services(parser)
    add_statistics(parser)
    add_files(parser)
