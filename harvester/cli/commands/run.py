"""`harvester run`: the whole job, once; the first signal ends it cleanly, the second immediately."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
from collections.abc import Callable

import anyio

from harvester.cli import event_loop, progress
from harvester.cli.closing import closing, ending, statistics_age
from harvester.cli.console import print_error, print_json, print_note, print_progress_note
from harvester.cli.events import EVENTS
from harvester.cli.log_format import log_to_file
from harvester.cli.overrides import timing_of
from harvester.cli.prune_prompt import PrunePrompt
from harvester.cli.render import as_json, nothing_removed
from harvester.cli.run_events import RunResult, start_text
from harvester.cli.signals import SIGNALS
from harvester.config import Config
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import ExitStatus, FatalError
from harvester.jobs.harvest import harvest
from harvester.jobs.services import RunHooks
from harvester.storage.trash import TRASH_DAYS
from harvester.summary import Summary
from harvester.system.concurrency import background_tasks

log = logging.getLogger("harvester")


def run(args: argparse.Namespace, config: Config) -> int:
    """Harvest, print the result, and prune with ``--prune``."""
    result = RunResult(config.folder)
    EVENTS.set_result(result.fields)
    try:
        summary = event_loop.run(args, functools.partial(_harvest, config, args, result))
    except FatalError:
        _print_not_pruned(args, "it could not continue")
        raise
    result.summary = summary
    if summary is None:
        _print_not_pruned(args, "it was interrupted")
        return ExitStatus.INTERRUPTED
    _report(summary, config, args)
    if args.prune:
        _prune(config, args)
    return summary.exit_status


def _report(summary: Summary, config: Config, args: argparse.Namespace) -> None:
    """Print the closing report; with ``--quiet`` only how a run ended that was not complete."""
    log_to_file(closing(summary, config))
    if args.json:
        with contextlib.suppress(BrokenPipeError):  # the work is done, and its exit status counts
            print_json(as_json(summary.to_dict()))
    if args.log_json:
        for text in statistics_age(summary):
            EVENTS.emit("note", "info", text)
        return
    if not (args.quiet or args.json):
        print_note(closing(summary, config))
    elif status := summary.exit_status:
        print_error(f"harvester: exit status {status:d}\n" + "\n".join(ending(summary, config)))


def _print_not_pruned(args: argparse.Namespace, why: str) -> None:
    if args.prune:
        print_progress_note(nothing_removed([why]))


def _prune(config: Config, args: argparse.Namespace) -> None:
    PrunePrompt(
        config,
        says_yes=args.yes,
        await_work=functools.partial(event_loop.run_until_signal, args),
        begin_to_wait=SIGNALS.begin,  # the work is done: Ctrl-C may end the prompt
        trash_days=TRASH_DAYS if args.trash_days is None else args.trash_days,
    ).make()


async def _harvest(config: Config, args: argparse.Namespace, result: RunResult) -> Summary | None:
    """Return the summary, or None if a second signal cancelled the run."""
    stop: Callable[[], None] | None = None

    async def show(snapshot: ProgressSnapshot, ask_to_stop: Callable[[], None]) -> None:
        nonlocal stop
        stop, result.snapshot = ask_to_stop, snapshot
        if not EVENTS.is_on:
            log.info("%s", start_text(args, config))
        try:
            with SIGNALS.reporting(functools.partial(progress.report, snapshot)):
                await progress.show(snapshot, args)
        finally:
            stop = None  # after the pipeline the work can only be cancelled

    async def stop_on_signal(scope: anyio.CancelScope) -> None:
        await SIGNALS.first()
        log.warning("stopping after in-flight work; press Ctrl-C again to abort", extra={"event": "stopping"})
        (stop or scope.cancel)()

    with anyio.CancelScope() as scope:
        async with background_tasks(functools.partial(stop_on_signal, scope)):
            return await harvest(
                config,
                refresh=frozenset(args.refresh),
                quick=args.quick,
                accept_withdrawals=args.accept_withdrawals,
                rebuild=args.rebuild,
                fail_if_empty=args.fail_if_empty,
                on_start=show,
                hooks=RunHooks(timing=timing_of(args), log_file=args.log_file),
            )
    return None
