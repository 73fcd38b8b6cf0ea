"""
Command dispatch: command line in, exit status out.

The config is read here, before the module of a command is imported: so `--help` and faults of a config appear
quickly. Each command is one module of `commands/` and imports what it needs at its top.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harvester.cli import console
from harvester.cli.arguments.common import config_file
from harvester.cli.events import EVENTS
from harvester.cli.parser import parse
from harvester.cli.signals import SIGNALS
from harvester.errors import (
    CommandLineError,
    ExitStatus,
    FatalError,
    HarvestError,
    UsageError,
    exit_status,
)
from harvester.system import failpoints

if TYPE_CHECKING:
    from harvester.config import Config

JOBS = {
    "run": "harvest",
    "plan": "plan",
    "list": "list",
    "status": None,
    "failed": None,
    "verify": None,
    "export": None,
    "doctor": None,
    "config": None,
}
"""The commands that read a config, and the job that it has to be complete for."""
PRINTING = {"plan", "list", "status", "failed", "doctor", "config", "completion"}
"""The commands that only print."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; the process must end after it."""
    try:
        SIGNALS.begin()
        may_print = console.begin()
        EVENTS.begin(sys.argv[1:] if argv is None else argv)
        status = _run_command(argv, may_print=may_print)
        try:
            console.flush()
        except BrokenPipeError:  # the reader of our output has gone
            pass
        except FatalError as error:
            status = _print(error)
        console.flush_errors()
        SIGNALS.ignore_one()
    except KeyboardInterrupt:
        status = ExitStatus.INTERRUPTED
        if not EVENTS.is_on:
            console.print_error("harvester: interrupted")
    finally:
        gc.freeze()  # else Python would run the garbage collector over all objects at exit
    EVENTS.end(status)
    return status


def _run_command(argv: Sequence[str] | None, *, may_print: bool) -> int:
    args: argparse.Namespace | None = None
    try:
        failpoints.arm(os.environ)
        args = dry_run_as_plan(parse(sys.argv[1:] if argv is None else argv))
        EVENTS.know(command=args.command, config=getattr(args, "config", None))
        if args.command in PRINTING and not may_print:
            raise UsageError("standard output is closed: there is nowhere to print")
        return _dispatch(args)
    except SystemExit as end:  # from argparse: after help, or wrong usage
        return end.code if isinstance(end.code, int) else 0
    except HarvestError as error:
        status = _print(error)
        if status == ExitStatus.USAGE and getattr(args, "log_file", None):
            from harvester.cli.log_format import discard_log_file  # noqa: PLC0415 - only with --log-file

            discard_log_file()
        return status
    except BrokenPipeError:  # the reader of our output has gone
        console.print_nowhere()
        return 0
    except Exception as error:  # noqa: BLE001 - Python's own status for it, 1, would mean "finished"
        known = _limit(error) or _damage(args)
        return _print(known) if known else _print_defect(error)


def dry_run_as_plan(args: argparse.Namespace) -> argparse.Namespace:
    """Return the options of `plan` for `run --dry-run`, and any others unchanged."""
    if args.command != "run" or not args.dry_run:
        return args
    for option in ("rebuild", "refresh", "accept_withdrawals", "prune"):
        if getattr(args, option):
            raise UsageError(f"--{option.replace('_', '-')} does not go with --dry-run")
    plan = parse(["plan"])
    return argparse.Namespace(**{**vars(plan), **vars(args), "command": "plan"})


def _dispatch(args: argparse.Namespace) -> int:
    if args.command in JOBS:
        config = _config(args, JOBS[args.command])
        args.output_folder = config.folder
        if EVENTS.is_on:
            from harvester.cli.run_events import start_fields, start_text  # noqa: PLC0415 - as the option

            EVENTS.start(start_fields(args, config), start_text(args, config))
        _warn_of_tokens(args, config)
        command: Callable[[argparse.Namespace, Config], int] = _command(args.command)
        return command(args, config)
    return int(_command(args.command)(args))


def _command(name: str) -> Callable[..., int]:
    run: Callable[..., int] = import_module(f"harvester.cli.commands.{name}").run
    return run


def _config(args: argparse.Namespace, job: str | None = None) -> Config:
    # `--help` and wrong usage need none of these.
    from harvester.cli.overrides import option_finder, overrides  # noqa: PLC0415
    from harvester.plugins import load_config  # noqa: PLC0415

    args.config = config_file(args)
    return load_config(args.config, options=overrides(args), job=job, option_of=option_finder(args))


def _warn_of_tokens(args: argparse.Namespace, config: Config) -> None:
    """Warn of tokens in the config file; a pipe can be read only once, and stores none."""
    from harvester.config.secrets import lines_like_tokens  # noqa: PLC0415 - see `_config`

    if args.config is None or not Path(args.config).is_file():
        return
    text = Path(args.config).read_text(encoding="utf-8-sig")
    if numbers := list(lines_like_tokens(text, config.token, config.stats_credentials)):
        from harvester.cli.log_format import set_up_as  # noqa: PLC0415 - where there is something to log

        for number in numbers:
            set_up_as(args).warning(
                "%s, line %d: looks like a token; keep it in the environment variable %s",
                args.config, number, config.services.token_env,
            )  # fmt: skip


def _limit(error: Exception) -> HarvestError | None:
    from harvester.system.resource_limits import no_threads  # noqa: PLC0415 - where a command failed

    return no_threads(error)


def _damage(args: argparse.Namespace | None) -> HarvestError | None:
    """Return an error for a damaged ledger, if that may be why the command failed."""
    from harvester.ledger.database.integrity import damage_in  # noqa: PLC0415 - where a command failed

    with contextlib.suppress(Exception):  # the first error matters more than one of this check
        return damage_in(_config(args).folder) if args and hasattr(args, "output") else None
    return None


def _print(error: HarvestError) -> int:
    if EVENTS.is_on:
        EVENTS.error(error)
        return exit_status(error)
    lines = [f"harvester: {line}" for line in str(error).splitlines()]
    if isinstance(error, CommandLineError):
        lines.append(error.usage)
    console.print_error("\n".join(lines))
    return exit_status(error)


def _print_defect(error: Exception) -> int:
    """Print an unexpected error, where it happened, and that the work so far is saved."""
    if EVENTS.is_on:
        EVENTS.crash(error)
        return ExitStatus.STOPPED
    import traceback  # noqa: PLC0415 - where a command failed

    console.print_error("".join(traceback.format_exception(error)))
    console.print_error(
        "harvester: this is a defect of the program: please report it in its repository, with these lines\n"
        "harvester: the ledger has all that was done; the same command continues from there"
    )
    return ExitStatus.STOPPED
