"""
Commands and exit statuses. `options.py` has the words, `job.py` does the work, `report.py` the talking; what
is heavy is imported only where there is work, so that `--help`, `status` and faults of a config come at once.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harvester.cli import console
from harvester.cli.console import print_error, print_json, print_note, print_raw, print_text
from harvester.cli.overrides import overrides
from harvester.cli.parser import DEFAULT_FILE, build_parser
from harvester.cli.signals import Signals
from harvester.config.secrets import lines_like_tokens
from harvester.errors import ExitStatus, FatalError, HarvestError, UsageError, exit_status

if TYPE_CHECKING:
    import logging

    from harvester.config import Config
    from harvester.engine.progress import ProgressSnapshot
    from harvester.models import Summary
    from harvester.sources import Listing

T = TypeVar("T")

PRINTING = {"plan", "list", "status", "failed"}
"""The commands that do nothing else."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; what follows is to be the end of the process."""
    try:
        _signals.begin()
        status = _run_command(argv, may_print=console.begin())
        try:
            console.flush()
        except BrokenPipeError:  # whoever read our output has gone
            pass
        except FatalError as error:
            status = _tell(error)
        console.flush_errors()
        _signals.ignore_one()
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    finally:
        gc.freeze()  # or Python would, as it ends, look through all that there is for what could go
    return status


def _run_command(argv: Sequence[str] | None, *, may_print: bool) -> int:
    args: argparse.Namespace | None = None
    try:
        args = build_parser().parse_args(argv)
        if args.command in PRINTING and not may_print:
            raise UsageError("standard output: is closed, and there is nowhere else to print")
        return _COMMANDS[args.command](args)
    except SystemExit as end:  # of argparse: after help, or wrong usage
        return end.code if isinstance(end.code, int) else 0
    except HarvestError as error:
        return _tell(error)
    except BrokenPipeError:  # whoever read our output has gone
        console.print_nowhere()
        return 0
    except Exception as error:  # noqa: BLE001 - Python's own status for it, 1, would say "finished"
        from harvester.system.resource_limits import no_threads  # noqa: PLC0415

        return _tell(told) if (told := no_threads(error) or _damage(args)) else _defect(error)


def _damage(args: argparse.Namespace | None) -> HarvestError | None:
    """Tell what is wrong with the ledger of a command, where nonsense in it may be why the command failed."""
    from harvester.ledger.database.integrity import damage_in  # noqa: PLC0415 - see the module's docstring

    with contextlib.suppress(Exception):  # of the two the first error is to be heard of
        return damage_in(_config(args).folder) if args and hasattr(args, "output") else None
    return None


def _tell(error: HarvestError) -> int:
    print_error("\n".join(f"harvester: {line}" for line in str(error).splitlines()))
    return exit_status(error)


def _defect(error: Exception) -> int:
    """Tell of an error that nobody foresaw: where it happened, and what it means for the user's work."""
    import traceback  # noqa: PLC0415 - see the module's docstring

    print_error("".join(traceback.format_exception(error)))
    print_error(
        "harvester: this is a defect of the program: please report it in its repository, with these lines\n"
        "harvester: what was done is in the ledger, and the same command goes on from there"
    )
    return ExitStatus.STOPPED


_signals = Signals()


# -- from words to a config -----------------------------------------------------------------------


def _config(args: argparse.Namespace, job: str | None = None) -> Config:
    from harvester.plugins import load_config  # noqa: PLC0415 - see the module's docstring

    path = args.config
    if path is None and Path(DEFAULT_FILE).is_file():
        path = DEFAULT_FILE
    config = load_config(path, options=overrides(args), job=job)
    if path is not None and Path(path).is_file():  # a pipe gives its text once, and keeps no token
        text = Path(path).read_text(encoding="utf-8")
        for number in lines_like_tokens(text, config.token, config.stats_credentials):
            _log(args).warning(
                "%s, line %d: looks like a token; keep it in the environment variable %s",
                path, number, config.services.token_env,
            )  # fmt: skip
    return config


# -- commands -------------------------------------------------------------------------------------


def _run(args: argparse.Namespace) -> int:
    config = _config(args, "harvest")
    try:
        summary = _in_loop(args, functools.partial(_harvest, config, args))
    except FatalError:
        _removes_nothing(args, "it could not go on")
        raise
    if summary is None:
        _removes_nothing(args, "it was interrupted")
        return ExitStatus.INTERRUPTED
    if not args.quiet and not args.log_json:
        from harvester.cli.render import closing  # noqa: PLC0415

        print_note(closing(summary, config))
    if args.prune:
        _prune(config, args)
    return summary.exit_status


def _removes_nothing(args: argparse.Namespace, why: str) -> None:
    if args.prune:
        from harvester.cli.render import nothing_removed  # noqa: PLC0415 - see the module's docstring

        print_note(nothing_removed([why]))


def _prune(config: Config, args: argparse.Namespace) -> None:
    from harvester.cli.prune_prompt import Offer  # noqa: PLC0415 - see the module's docstring

    days = args.trash_days
    Offer(
        config,
        says_yes=args.yes,
        await_work=functools.partial(_await, args),
        begin_to_wait=_signals.begin,  # the work is done, and to wait for an answer is no work
        **({} if days is None else {"trash_days": days}),
    ).make()


async def _harvest(config: Config, args: argparse.Namespace) -> Summary | None:
    """Harvest until done or told to stop: once for a clean end, twice for an end at once."""
    import anyio  # noqa: PLC0415 - see the module's docstring

    from harvester.cli import progress  # noqa: PLC0415
    from harvester.concurrency import run_with_background  # noqa: PLC0415
    from harvester.jobs.harvest import harvest  # noqa: PLC0415

    stop: Callable[[], None] | None = None

    async def show(snapshot: ProgressSnapshot, ask_to_stop: Callable[[], None]) -> None:
        nonlocal stop
        stop = ask_to_stop
        try:
            if progress.is_terminal() and not (args.quiet or args.log_json):
                await progress.show_live(snapshot)
            else:
                await progress.show_lines(snapshot)
        finally:
            stop = None  # what follows is not the pipeline's: it can only be cancelled

    async def heed_signals(scope: anyio.CancelScope) -> None:
        await _signals.first()
        print_error("stopping: what is in hand ends first; once more to stop at once")
        (stop or scope.cancel)()

    with anyio.CancelScope() as scope:
        work = functools.partial(
            harvest,
            config,
            refresh=frozenset(args.refresh),
            quick=args.quick,
            accept_withdrawals=args.accept_withdrawals,
            rebuild=args.rebuild,
            on_start=show,
        )
        return await run_with_background(work, functools.partial(heed_signals, scope))
    return None


def _plan(args: argparse.Namespace) -> int:
    config = _config(args, "plan")
    from harvester.cli.render import as_json, plan_text  # noqa: PLC0415
    from harvester.jobs.plan import make_plan  # noqa: PLC0415

    plan = _await(args, functools.partial(make_plan, config, sample_size=args.sample, quick=args.quick))
    print_json(as_json(plan.to_dict())) if args.json else print_text(plan_text(plan, config))
    return 1 if plan.incomplete else 0


def _list(args: argparse.Namespace) -> int:
    config = _config(args, "list")
    console.flush()  # from here on it is written to past Python's own buffer
    return 1 if _await(args, functools.partial(_print_selection, config, as_json=args.json)) else 0


def _warned(log: logging.Logger, listing: Listing) -> Listing:
    """Say of a listing that is about to be read what cannot be told before its records are here."""
    if "licence" in listing.client_side_filters:
        log.warning("%s: no listing tells its licences: a run will see, here all are named", listing.key)
    return listing


async def _print_selection(config: Config, *, as_json: bool) -> list[str]:
    """Print the items of all sources as their pages come; return what is missing."""
    import logging  # noqa: PLC0415 - see the module's docstring
    import time  # noqa: PLC0415

    from harvester.cli.lines import selected_line, write  # noqa: PLC0415
    from harvester.engine.progress import LINE_EVERY_SECONDS  # noqa: PLC0415
    from harvester.engine.survey import Survey  # noqa: PLC0415
    from harvester.jobs.services import connect  # noqa: PLC0415

    log = logging.getLogger("harvester")
    told = time.monotonic()
    async with connect(config) as connected:
        survey = Survey(
            connected.figshare,
            narrow=functools.partial(_warned, log),
            on_miss=functools.partial(log.warning, "incomplete: %s"),
        )
        async for refs in survey.pages(config.sources):
            text = b"".join(selected_line(ref, as_json=as_json) for ref in refs)
            await write(text, sys.stdout.fileno())
            if time.monotonic() - told > LINE_EVERY_SECONDS:
                told = time.monotonic()
                log.info("%d items", survey.items)
    return survey.incomplete


def _failed(args: argparse.Namespace) -> int:
    config = _config(args)
    from harvester.cli.lines import failed_lines, failed_objects  # noqa: PLC0415
    from harvester.ledger.reader import Reader  # noqa: PLC0415 - see the module's docstring

    with Reader(config.folder) as reader:
        for line in (failed_objects if args.json else failed_lines)(reader.failures()):
            print_raw(line)
    return 0


def _status(args: argparse.Namespace) -> int:
    from harvester.cli.render import as_json, status_text  # noqa: PLC0415
    from harvester.jobs.status import status  # noqa: PLC0415

    told = status(_config(args))
    print_json(as_json(told)) if args.json else print_text(status_text(told))
    return 0


def _verify(args: argparse.Namespace) -> int:
    config = _config(args)
    from harvester.jobs.verify import verify  # noqa: PLC0415

    found = _await(args, functools.partial(verify, config))
    more = ""
    if found.damaged:
        more = "\nrun again to fetch them"
    if found.damaged and not found.is_recorded:
        more = "\nnothing is recorded: you may only read here; who may write runs `verify` and `run`"
    print_note(f"{found.whole} files whole, {len(found.damaged)} damaged or gone{more}")
    return 1 if found.damaged else 0


def _export(args: argparse.Namespace) -> int:
    config = _config(args)
    from harvester.jobs.export import export  # noqa: PLC0415

    for path in _await(args, functools.partial(export, config, args.to)):
        print_raw(path)
    return 0


def _init(args: argparse.Namespace) -> int:
    from harvester.cli.example_config import write_example  # noqa: PLC0415 - see the module's docstring

    path = Path(args.file)
    write_example(path)
    print_raw(f"wrote {path}; edit it, then: harvester run -c {path}")
    return 0


def _sandbox(args: argparse.Namespace) -> int:
    from harvester.sandbox import FAULTS, Settings, serve  # noqa: PLC0415

    faults = dict(args.fault)
    if "help" in faults:
        for name, text in FAULTS.items():
            print_raw(f"{name:18} {text}")
        return 0
    if unknown := faults.keys() - FAULTS.keys():
        raise UsageError(f"--fault: unknown {', '.join(sorted(unknown))}; --fault help lists the names")
    port = args.port
    settings = Settings(
        items=args.items,
        seed=args.seed,
        ports=(port, port + 1, port + 2, port + 3) if port else (0, 0, 0, 0),
        latency=args.latency,
        rate_cap=args.rate_cap,
        faults=faults,
        record=False,
    )

    def announce(text: str) -> None:
        print_raw(text)
        console.flush()

    try:
        _await(args, functools.partial(serve, settings, announce=announce))
    except OSError as exc:
        raise UsageError(f"port {port}: {exc.strerror}; --port takes another, 0 a free one") from exc
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _plan,
    "list": _list,
    "status": _status,
    "failed": _failed,
    "verify": _verify,
    "export": _export,
    "init": _init,
    "sandbox": _sandbox,
}


def _await(args: argparse.Namespace, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end, or until Ctrl-C or SIGTERM: then what is open is closed first."""
    import anyio  # noqa: PLC0415 - see the module's docstring

    from harvester.concurrency import run_with_background  # noqa: PLC0415

    async def heed_signals(scope: anyio.CancelScope) -> None:
        await _signals.first()
        scope.cancel()

    async def interruptible() -> T:
        with anyio.CancelScope() as scope:
            return await run_with_background(work, functools.partial(heed_signals, scope))
        raise KeyboardInterrupt

    return _in_loop(args, interruptible)


def _in_loop(args: argparse.Namespace, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    from importlib.util import find_spec  # noqa: PLC0415 - see the module's docstring

    import anyio  # noqa: PLC0415

    _log(args)

    # Objects live as long as a request, and die without the collector, which would look at them all the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    _signals.ignore_one()  # the work looks for it; raised among the loop's own parts it would leave them open
    # uvloop, the extra "fast", where it is installed.
    return anyio.run(work, backend_options={"use_uvloop": find_spec("uvloop") is not None})


def _log(args: argparse.Namespace) -> logging.Logger:
    """Set up the log, as the options say, where there is something to tell."""
    from harvester.cli import log_format  # noqa: PLC0415 - see the module's docstring

    given = vars(args)
    return log_format.set_up(
        quiet=given.get("quiet", False),
        verbose=given.get("verbose", False),
        as_json=given.get("log_json", False),
    )
