"""
Harvest job: opens the ledger, the storage and the services, runs the pipeline, and writes the outputs.

The callers are `cli/commands/run.py` and programs that use the library. `jobs/services.py` opens the HTTP
session for all requests.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import anyio
from anyio import to_thread

from harvester.client import Client
from harvester.config import Config
from harvester.engine.executor import Executor
from harvester.engine.listing import Producer
from harvester.engine.pipeline import Pipeline
from harvester.engine.progress import Before, ProgressSnapshot, RunCounters
from harvester.errors import (
    DoubtfulResponse,
    ExitStatus,
    FailureKind,
    FatalError,
    HarvestError,
    StorageError,
    UsageError,
)
from harvester.figshare.identifier_listing import IdentifierListing
from harvester.figshare.protocol import Figshare
from harvester.jobs.config_argument import checked
from harvester.jobs.export import make_exporters, write_outputs
from harvester.jobs.output_folder import prepare, removed_if_unused
from harvester.jobs.progress import Companion, OnProgress, reporter
from harvester.jobs.progress_bar import progress_bar
from harvester.jobs.prune import recover
from harvester.jobs.run_spec import run_spec
from harvester.jobs.services import DEFAULT_HOOKS, RunHooks, fit_to_limits
from harvester.jobs.summary import Ended, summarise
from harvester.jobs.task_services import TaskServices, open_task_services
from harvester.jobs.withdrawals import decide, resolve_suspected
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RECORD, RequeuedWork
from harvester.models import ItemId
from harvester.plugins import item_task_names
from harvester.storage.disk_errors import map_disk_errors
from harvester.storage.orphans import delete_orphans
from harvester.summary import Summary
from harvester.system.concurrency import background_tasks
from harvester.tasks.placement import Placement
from harvester.text.wording import counted

log = logging.getLogger(__name__)


async def harvest(
    config: Config,
    *,
    refresh: Collection[str] = (),
    quick: bool = False,
    accept_withdrawals: int = 0,
    rebuild: bool = False,
    fail_if_empty: bool = False,
    progress: bool = False,
    on_progress: OnProgress | None = None,
    on_start: Companion | None = None,
    hooks: RunHooks | None = None,
) -> Summary:
    """
    Do the whole job once: the pending work of an earlier run, and the new items of the listings.

    `refresh`: item tasks to do again for all items, such as `["stats"]`.
    `quick`: list only items modified since the last run without errors; withdrawn items are not found then.
    `accept_withdrawals`: how many withdrawn items to accept at once; the default is 5 % of all, and 20.
    `rebuild`: rebuild the ledger; files that are here and verified are not fetched again.
    `fail_if_empty`: the exit status is 1 if a source has no items, or filters exclude everything.
    `progress`: show a progress bar, in a notebook or a terminal.
    `on_progress`: called twice a second with a `Progress`; an error that it raises stops the run.
    `on_start`: runs during the job, and is cancelled at its end; for the command line.
    `hooks`: the environment of the run, for tests.

    Raises:
        UsageError: the output folder cannot be used, or there is nothing to harvest.
        FatalError: the run could not continue; its state is saved.
    """
    hooks = hooks or DEFAULT_HOOKS
    checked(config).check_for("harvest")
    make_exporters(config)  # an exporter that fails must fail before the work
    config = fit_to_limits(config)
    if idle := sorted(set(refresh).difference(item_task_names(config.tasks))):
        raise UsageError(f"--refresh: {', '.join(idle)}: not among the tasks: --tasks names them")
    companions = _companions(on_start, on_progress, progress=progress)
    with removed_if_unused(config.folder, hooks.log_file):
        with map_disk_errors(str(config.folder)):
            make_ready = partial(prepare, rebuild=rebuild, timing=hooks.timing, log_file=hooks.log_file)
            await to_thread.run_sync(make_ready, config.folder)
        ledger = Ledger(config.folder, clock=hooks.wall_clock, timing=hooks.timing)
        async with ledger.hold() as end:
            if ledger.drawback:
                log.warning("%s: %s", ledger.path, ledger.drawback)
            options = _Options(frozenset(refresh), quick, accept_withdrawals, fail_if_empty)
            summary = await _Run(config, ledger, options, companions, hooks).go()
            if summary.exit_status == ExitStatus.INTERRUPTED:
                end.outcome = "interrupted"
            end.is_clean = summary.is_complete
    return summary


def _companions(
    on_start: Companion | None, on_progress: OnProgress | None, *, progress: bool
) -> list[Companion]:
    """Return what runs during the job."""
    if callable(progress):
        raise UsageError("progress: expected True or False; on_progress= takes a function")
    listeners = [on_progress] if on_progress else []
    if progress:
        listeners.append(progress_bar())
    return ([on_start] if on_start else []) + [reporter(listener) for listener in listeners]


RETRIED_KINDS = (FailureKind.TRANSIENT, FailureKind.BLOCKED, FailureKind.SUSPECTED)


class _Options(NamedTuple):
    """The options of one run: see `harvest`."""

    refresh: frozenset[str]
    quick: bool
    accept_withdrawals: int
    fail_if_empty: bool


class _Run:
    """One run over an open ledger."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        options: _Options,
        companions: Sequence[Companion],
        hooks: RunHooks,
    ) -> None:
        self._config = config
        self._hooks = hooks
        self._ledger = ledger
        self._options = options
        self._companions = companions
        self._counters = RunCounters()
        self._started = hooks.wall_clock()

    async def go(self) -> Summary:
        config, hooks = self._config, self._hooks
        async with (
            open_task_services(config, hooks, confirm=self._ledger.confirm) as services,
            hooks.executor(config, services) as executor,
        ):
            placement = Placement(self._ledger, services.storage)
            pipeline = self._pipeline(services, placement, executor)
            client = services.connected.client
            snapshot = ProgressSnapshot(
                self._counters,
                client.traffic,
                client.limiters,
                began=time.monotonic(),
                missing=client.missing_seconds,
            )
            companions = [partial(companion, snapshot, pipeline.stop) for companion in self._companions]
            try:
                with anyio.CancelScope() as scope:
                    grace = partial(self._grace, pipeline.stopping, scope)
                    async with background_tasks(snapshot.keep_measuring, grace, *companions):
                        try:
                            await self._do_all(pipeline, services, placement)
                        finally:
                            self._counters.failures.end()
            except FatalError:
                with contextlib.suppress(HarvestError):  # a disk error may have stopped the run
                    await self._summarise(snapshot, "stopped")
                raise
        if pipeline.stopping.is_set():
            return await self._summarise(snapshot, "interrupted")
        await write_outputs(config, make_exporters(config, ["failures"]))
        summary = await self._summarise(snapshot, "finished")
        if self._counters.no_room:  # all files that fit are here
            without = counted(self._counters.files_without_room, "file")
            raise StorageError(f"{without} without room on the disk: {self._counters.no_room}")
        return summary

    def _pipeline(self, services: TaskServices, placement: Placement, executor: Executor) -> Pipeline:
        config, stopping = self._config, anyio.Event()
        producer = Producer(
            ledger=self._ledger,
            figshare=services.connected.figshare,
            sources=config.sources,
            tasks=frozenset(item_task_names(config.tasks)),
            counters=self._counters,
            stopping=stopping,
            quick=self._options.quick,
        )
        hold_file = partial(placement.hold, versions=config.versions)
        return Pipeline(
            ledger=self._ledger,
            producer=producer,
            executor=executor,
            hold_file=hold_file if "files" in config.tasks else None,
            queue_size=config.concurrency.queue,
            span=services.connected.statistics.span,
            counters=self._counters,
            stopping=stopping,
        )

    async def _do_all(self, pipeline: Pipeline, services: TaskServices, placement: Placement) -> None:
        """Do all pending work, then retry temporary failures once."""
        await pipeline.prepare()
        if pipeline.stopping.is_set():
            return
        await self._begin()
        await placement.recover()
        await recover(self._config.folder, self._ledger)
        await placement.place_files()
        await delete_orphans(services.storage, self._may_be_pending)
        await pipeline.run()
        if pipeline.stopping.is_set():
            return
        if again := await self._ledger.begin_again(RETRIED_KINDS):
            log.info("retrying what failed temporarily: %s", _numbers(again))
            self._counters.retry_items(again.items)
            self._counters.files_failed -= again.files
            self._counters.bytes_left = (await self._ledger.read(self._ledger.forecast.extent)).pending_bytes
            self._counters.failures.begin_again(RETRIED_KINDS)
            self._counters.no_room, self._counters.files_without_room = "", 0  # those that still do not fit
            names = IdentifierListing(tuple(again.names), once_more=True)
            await pipeline.run([names] if again.names else [])
        if not pipeline.stopping.is_set():
            await placement.place_files()
            await _confirm(services.connected.client)
            await self._decide(pipeline, services.connected.figshare)

    async def _grace(self, stopping: anyio.Event, scope: anyio.CancelScope) -> None:
        """Cancel the work in flight when it has had its time to end."""
        await stopping.wait()
        await anyio.sleep(self._hooks.grace_seconds)
        scope.cancel()

    async def _may_be_pending(self, item_id: ItemId, file_id: int, md5: str | None) -> bool:
        return await self._ledger.read(self._ledger.queue.may_be_pending, item_id, file_id, md5)

    async def _decide(self, pipeline: Pipeline, figshare: Figshare) -> None:
        """Decide about suspected withdrawals, unless the run was stopped."""
        if RECORD not in self._config.tasks:
            return
        accepted, has_token = self._options.accept_withdrawals, self._config.token is not None
        doubt = await decide(self._ledger, figshare, self._counters, accepted=accepted, has_token=has_token)
        if not pipeline.stopping.is_set():
            await resolve_suspected(self._ledger, self._counters, doubt)

    async def _begin(self) -> None:
        counters, ledger = self._counters, self._ledger
        spec = run_spec(self._config, refresh=self._options.refresh, quick=self._options.quick)
        counters.items_pending, counters.files_pending = await ledger.begin(spec)
        here = await ledger.read(ledger.forecast.extent)
        items = max(0, here.items - counters.items_pending)
        with_files = "files" in self._config.tasks
        counters.before = Before(items, here.files, here.bytes) if with_files else Before(items)
        counters.bytes_left = here.pending_bytes if with_files else 0
        if items and (counters.items_pending or counters.files_pending):
            files = f", {here.files} of {here.files + counters.files_pending} files" if with_files else ""
            log.info("resuming: %d of %d items%s done", items, here.items, files, extra={"notable": True})

    async def _summarise(self, snapshot: ProgressSnapshot, outcome: str) -> Summary:
        config = self._config
        ended = Ended(
            outcome,
            self._started,
            snapshot,
            item_task_names(config.tasks),
            with_files="files" in config.tasks,
            rules=config.files,
            versions=config.versions,
            fail_if_empty=self._options.fail_if_empty,
        )
        return await to_thread.run_sync(summarise, config.folder, ended)


def _numbers(again: RequeuedWork) -> str:
    """Return what is done again, such as "2 listings, 1 item", without those that are 0."""
    numbers = {
        "listing": again.listings,
        "item": again.items,
        "file": again.files,
        "name": len(again.names),
    }
    return ", ".join(counted(number, noun) for noun, number in numbers.items() if number)


async def _confirm(client: Client) -> None:
    """Check that the last refusals did not come from expired credentials."""
    try:
        await client.confirm_credentials()
    except DoubtfulResponse as doubt:
        raise FatalError(f"{doubt}: run again") from doubt
