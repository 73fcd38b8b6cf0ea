"""
Puts the parts together for the things a person asks for: harvest, plan, verify, export.

`cli.py` turns words into calls of these; a program that uses the library calls them itself. What needs none
of the parts stands apart, so that it comes at once: `kinds.py` reads a config, `status.py` a folder, and so
does what removes: `prune.py`. `connecting.py` opens the session that all requests go through.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from anyio import to_thread

from harvester.client import Client
from harvester.concurrency import beside
from harvester.config import Config, FileRules
from harvester.engine.pipeline import Pipeline
from harvester.engine.progress import Tally, Watched
from harvester.errors import (
    DiskTrouble,
    Doubtful,
    ExitStatus,
    HarvestError,
    StopRun,
    UsageError,
    Verdict,
)
from harvester.figshare.api import Figshare
from harvester.figshare.downloads import Routes
from harvester.figshare.statistics import StatsService
from harvester.jobs.export import export
from harvester.jobs.output_folder import prepare
from harvester.jobs.prune import recover
from harvester.jobs.services import USUAL, Connected, Surroundings, connect, fitting
from harvester.jobs.summary import Ended, summarise
from harvester.jobs.task_params import wishes
from harvester.jobs.withdrawals import decide, settle
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RECORD, Opening
from harvester.models import Summary
from harvester.plugins import TASKS, item_task_names
from harvester.storage.local import Store, disk_errors
from harvester.tasks.placement import Mover
from harvester.tasks.record_access import Access, access_of

log = logging.getLogger(__name__)

Companion = Callable[[Watched, Callable[[], None]], Coroutine[Any, Any, None]]
"""Runs beside a harvest: it gets the counters to show, and a function that asks the run to stop."""


async def harvest(
    config: Config,
    *,
    refresh: frozenset[str] = frozenset(),
    quick: bool = False,
    accept_withdrawals: int = 0,
    rebuild: bool = False,
    on_start: Companion | None = None,
    surroundings: Surroundings = USUAL,
) -> Summary:
    """
    Do the whole job once: what is owed after an earlier run, and what the listings have that is new.

    `refresh`: tasks on items to do again for all. `quick`: ask the listings only for what was modified since
    the last run without error, which finds nothing that was withdrawn. `accept_withdrawals`: so many items
    may vanish at once, where that would be too many: see `withdrawals`. `rebuild`: make the ledger anew, and
    fetch no file that is here and proven. `on_start` is run beside the job and cancelled at its end.
    `surroundings`: what of the machine to use, for tests.

    Raises:
        UsageError: the output folder cannot be used, or there is nothing to harvest.
        StopRun: the run could not go on; what was done is saved.
    """
    config.check_for("harvest")
    config = fitting(config)
    if idle := sorted(refresh.difference(item_task_names(config.tasks))):
        raise UsageError(f"--refresh: {', '.join(idle)}: not among the tasks: --tasks names them")
    with disk_errors(str(config.folder)):
        await to_thread.run_sync(partial(prepare, config.folder, rebuild=rebuild, timing=surroundings.timing))
    ledger = Ledger(config.folder, clock=surroundings.wall_clock, timing=surroundings.timing)
    await ledger.acquire()
    outcome, is_clean = "stopped", False
    try:
        if ledger.drawback:
            log.warning("%s: %s", ledger.path, ledger.drawback)
        run = _Run(config, ledger, refresh, quick, accept_withdrawals, on_start, surroundings)
        summary = await beside(run.go, ledger.keep)
        outcome = "interrupted" if summary.exit_status == ExitStatus.INTERRUPTED else "finished"
        is_clean = summary.exit_status == 0
    finally:
        await ledger.close(outcome, clean=is_clean)
    return summary


@dataclass(frozen=True)
class Parts:
    """What tasks may be made of."""

    figshare: Figshare
    routes: Routes
    statistics: StatsService
    ledger: Ledger
    store: Store
    mover: Mover
    rules: FileRules
    versions: str | tuple[int, ...]
    access: Access

    def equip(self, name: str) -> Any:
        """Make the task `name` from the parts that its fields name."""
        task = TASKS[name]
        return task(**{field.name: getattr(self, field.name) for field in fields(task)})


MAY_HAVE_PASSED = (Verdict.FOR_NOW, Verdict.BLOCKED, Verdict.SUSPECTED)


class _Run:
    """One run over an open ledger."""

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        refresh: frozenset[str],
        quick: bool,
        accept_withdrawals: int,
        on_start: Companion | None,
        surroundings: Surroundings,
    ) -> None:
        self._config = config
        self._surroundings = surroundings
        self._ledger = ledger
        self._refresh = refresh
        self._quick = quick
        self._accept_withdrawals = accept_withdrawals
        self._on_start = on_start
        self._tally = Tally()
        self._started = surroundings.wall_clock()

    async def go(self) -> Summary:
        config = self._config
        store = Store(
            config.folder,
            writers=config.concurrency.downloads,
            free_bytes=self._surroundings.free_bytes,
            confirm=self._ledger.confirm,
        )
        async with connect(config, self._surroundings) as connected:
            mover = Mover(self._ledger, store)
            pipeline = self._pipeline(connected, store, mover)
            watched = Watched(
                self._tally,
                connected.client.traffic,
                connected.client.limiters,
                began=time.monotonic(),
            )
            companions = [partial(self._on_start, watched, pipeline.stop)] if self._on_start else []
            try:
                await beside(partial(self._do_all, pipeline, store, mover, connected), *companions)
            except StopRun:
                with contextlib.suppress(HarvestError):  # the disk may be what stopped the run
                    await self._summarise(watched, "stopped")
                raise
        if pipeline.stopping.is_set():
            return await self._summarise(watched, "interrupted")
        await export(config)
        summary = await self._summarise(watched, "finished")
        if self._tally.no_room:  # all that fits is here
            raise DiskTrouble(self._tally.no_room)
        return summary

    def _pipeline(self, connected: Connected, store: Store, mover: Mover) -> Pipeline:
        config = self._config
        parts = Parts(
            connected.figshare,
            connected.routes,
            connected.statistics,
            self._ledger,
            store,
            mover,
            config.files,
            config.versions,
            access_of(config),
        )
        return Pipeline(
            ledger=self._ledger,
            figshare=connected.figshare,
            sources=config.sources,
            item_tasks=[parts.equip(name) for name in item_task_names(config.tasks)],
            file_task=parts.equip("files") if "files" in config.tasks else None,
            concurrency=config.concurrency,
            tally=self._tally,
            quick=self._quick,
        )

    async def _do_all(self, pipeline: Pipeline, store: Store, mover: Mover, connected: Connected) -> None:
        """Do all that is owed, then ask once more for what failed in a way that may have passed."""
        await pipeline.prepare()
        if pipeline.stopping.is_set():
            return
        await self._begin()
        await mover.recover()
        await recover(self._config.folder, self._ledger)
        await mover.settle()
        await store.sweep(self._ledger.may_owe)
        await pipeline.run()
        if pipeline.stopping.is_set():
            return
        if again := await self._ledger.begin_again(MAY_HAVE_PASSED):
            log.info(
                "asking once more for what failed for now: %d items, %d files, %d names",
                again.items, again.files, len(again.names),
            )  # fmt: skip
            self._tally.items_failed -= again.items
            self._tally.files_failed -= again.files
            self._tally.no_room = ""  # what is in vain once more says so again
            await pipeline.run(again.names)
        if not pipeline.stopping.is_set():
            await mover.settle()
            await _confirm(connected.client)
            await self._decide(pipeline, connected.figshare)

    async def _decide(self, pipeline: Pipeline, figshare: Figshare) -> None:
        """Decide on what may be withdrawn, now that all was asked for; not in a run that is to stop."""
        if RECORD not in self._config.tasks:
            return
        accepted, has_token = self._accept_withdrawals, self._config.token is not None
        doubt = await decide(self._ledger, figshare, self._tally, accepted=accepted, has_token=has_token)
        if not pipeline.stopping.is_set():
            await settle(self._ledger, self._tally, doubt)

    async def _begin(self) -> None:
        config = self._config
        self._tally.items_owed, self._tally.files_owed = await self._ledger.begin(
            Opening(
                item_tasks=frozenset(item_task_names(config.tasks)),
                with_files="files" in config.tasks,
                refresh=self._refresh,
                wants=config.files.wants,
                max_total=config.files.max_total,
                wishes=wishes(config),
                quick=self._quick,
            )
        )

    async def _summarise(self, watched: Watched, outcome: str) -> Summary:
        ended = Ended(outcome, self._started, watched, item_task_names(self._config.tasks))
        with_files = "files" in self._config.tasks
        return await to_thread.run_sync(summarise, self._config.folder, ended, with_files)


async def _confirm(client: Client) -> None:
    """See that what was refused last was not refused because the credentials have expired meanwhile."""
    try:
        await client.confirm_credentials()
    except Doubtful as doubt:
        raise StopRun(f"{doubt}: run again") from doubt
