"""
Argument parser: commands, options and their help texts.

The destination of an option is the full name of the config key that it sets (``concurrency.workers``), so no
mapping table is needed. `arguments/` has the options, one file for each group.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harvester.cli.arguments.checks import add_check, add_completion, add_doctor
from harvester.cli.arguments.command_parser import CommandParser, meant_option, unknown_option
from harvester.cli.arguments.common import (
    DEFAULT_FILE,
    add_config,
    add_folder,
    add_formats,
    add_log_json,
    add_output,
    add_output_style,
    add_wait,
)
from harvester.cli.arguments.examples import BY_ROLE, EXAMPLES, examples_text
from harvester.cli.arguments.sandbox import add_sandbox
from harvester.cli.arguments.sources import add_sources
from harvester.cli.arguments.this_run import add_fail_if_empty, add_quick, add_this_run
from harvester.cli.arguments.values import folder_path, natural
from harvester.cli.arguments.work import add_files, add_services, add_statistics, add_work
from harvester.system.version import __version__
from harvester.text.wording import may_be_secret, quoted, suggest

ABOUT = "Harvest records, statistics and verified files from figshare."
STATUSES = (
    "exit status: 0 all is there; 1 finished, and failures.csv says what is missing;\n"
    "2 wrong usage or config; 3 could not continue, state saved; 130 interrupted, state saved"
)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """
    Return the command and its options.

    Raises:
        CommandLineError: a word is wrong.
        SystemExit: help or the version was printed.
    """
    parser = build_parser()
    words = _as_typed(words)
    if words and words[0] not in {"-h", "--help", "--version"}:
        _check_command(parser, words[0])
    return parser.parse_args(words)


def _as_typed(words: Sequence[str]) -> Sequence[str]:
    """Return the words for argparse: no words and `help [COMMAND]` show a help text."""
    if not words:
        return ["--help"]
    if words[0] == "help" and not {"-h", "--help"} & set(words):
        return [*words[1:], "--help"] if len(words) < 3 else words
    return words


def _check_command(parser: CommandParser, word: str) -> None:
    """Check the first word: a command, and nothing else, has to stand there."""
    commands = commands_of(parser)
    if word in commands:
        return
    for each in (parser, *commands.values()):
        if meant := meant_option(word, each._option_string_actions):
            parser.fail(meant)
    if word.startswith("-"):
        name = word.partition("=")[0]
        for command, sub in commands.items():
            if name in sub._option_string_actions:
                parser.fail(f"{name}: stands after a command, such as: harvester {command} {name} …")
        parsers = [parser, *commands.values()]
        known = [option for each in parsers for option in each._option_string_actions]
        parser.fail(unknown_option(name, known))
    if may_be_secret(word):
        parser.fail(f"unknown command: {quoted(word)}")
    hint = ' (did you mean "--version"?)' if word.lower() == "version" else suggest(word, commands)
    parser.fail(f"unknown command {quoted(word)}{hint}")


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    return next(
        dict(action.choices) for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )


def build_parser() -> CommandParser:
    """Return the parser of all commands and options."""
    parser = CommandParser(
        prog="harvester",
        usage="harvester COMMAND [options]",
        description=ABOUT,
        epilog=f"{examples_text(BY_ROLE)}\n\n{STATUSES}",
    )
    parser.add_argument(
        "--version", action="version", version=f"harvester {__version__}", help="print the version"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND", prog="harvester")
    _add_harvesting_commands(commands)
    _add_commands_on_a_folder(commands)
    _add_commands_around(commands)
    return parser


def _add_harvesting_commands(commands: Any) -> None:
    """Add the commands that read sources: run, plan, list."""
    run = _command(commands, "run", "harvest; run it again to continue where it stopped")
    _add_run(run)
    run.add_argument("--dry-run", action="store_true", help="the same as harvester plan")
    run.add_argument("--json", action="store_true", help="print the summary as JSON at the end")
    plan = _command(commands, "plan", "dry run: requests, time, and the service that limits it")
    _add_job(plan)
    add_quick(plan)
    add_fail_if_empty(plan)
    plan.add_argument(
        "--sample", type=natural, default=20, metavar="N",
        help="records to request for the estimate of files and bytes (20)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    add_output_style(plan)
    selection = _command(commands, "list", "print the ids of a selection, one a line; nothing is written")
    add_config(selection)
    add_sources(selection)
    add_services(selection)
    add_fail_if_empty(selection)
    selection.add_argument(
        "--json", action="store_true", help="one JSON object a line: id, title, DOI, dates"
    )
    add_output_style(selection)


def _add_commands_around(commands: Any) -> None:
    """Add the commands that help to set up and use the others."""
    doctor = _command(
        commands, "doctor", "check token, services, network, disk and terminal; for bug reports"
    )
    add_doctor(doctor)
    add_log_json(doctor)
    config = _command(
        commands,
        "config",
        "print every value that `run` with the same options would use, and where it was set",
    )
    _add_run(config)
    config.add_argument("--json", action="store_true", help="print the values as JSON")
    init = _command(commands, "init", "write a commented config to start from")
    init.add_argument(
        "file", nargs="?", type=folder_path, default=Path(DEFAULT_FILE), metavar="FILE",
        help=f"where to ({DEFAULT_FILE})",
    )  # fmt: skip
    add_sandbox(_command(commands, "sandbox", "serve a figshare look-alike on localhost"))
    add_completion(_command(commands, "completion", "print the script that completes commands in a shell"))
    help_ = _command(commands, "help", "show the help of a command")
    help_.add_argument("of", nargs="?", metavar="COMMAND", help="the command (the list of all commands)")


def _add_commands_on_a_folder(commands: Any) -> None:
    status = _command(commands, "status", "what a folder holds, what is pending and what failed")
    failed = _command(commands, "failed", "what failed, one name a line, as input for `run --items -`")
    verify = _command(commands, "verify", "hash every file again; corrupt ones are fetched by the next run")
    export = _command(commands, "export", "write the tables and records again")
    for command in (status, failed, verify, export):
        add_config(command)
        add_folder(command)
        (add_output_style if command is verify else add_log_json)(command)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    add_check(status)
    add_wait(verify)
    failed.add_argument("--json", action="store_true", help="one JSON object a line, with the reason")
    verify.add_argument("--json", action="store_true", help="print the result as JSON")
    export.add_argument("--json", action="store_true", help="print the paths as JSON")
    add_formats(export)
    export.add_argument(
        "--to", type=folder_path, metavar="FOLDER",
        help="write them to this folder instead; the harvest may be read-only",
    )  # fmt: skip


_SOURCES, _FOLDER = "[SOURCES] [options]", "[FOLDER] [options]"
USAGE = {
    "run": _SOURCES, "plan": _SOURCES, "list": _SOURCES, "config": _SOURCES, "status": _FOLDER,
    "failed": _FOLDER, "verify": _FOLDER, "export": _FOLDER, "doctor": _FOLDER,
    "init": "[FILE]", "completion": "SHELL", "help": "[COMMAND]",
}  # fmt: skip
"""What follows each command, in one line."""


def _command(commands: Any, name: str, help_text: str) -> CommandParser:
    parser: CommandParser = commands.add_parser(
        name,
        usage=f"harvester {name} {USAGE.get(name, '[options]')}",
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=examples_text(EXAMPLES[name]) if name in EXAMPLES else None,
    )
    parser.set_defaults(command=name)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_job(parser)
    add_formats(parser)
    add_this_run(parser)
    add_output_style(parser)


def option_names() -> dict[str, str]:
    """Return the option that sets each key of the config."""
    parser = commands_of(build_parser())["run"]
    named = {action.dest: action.option_strings[-1] for action in parser._actions}
    return {**named, **{f"rate.{service}": "--rate" for service in ("api", "stats", "files")}}


def _add_job(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` and `plan` share."""
    add_config(parser)
    add_output(parser)
    add_sources(parser)
    add_work(parser)
    add_services(parser)
    add_statistics(parser)
    add_files(parser)
