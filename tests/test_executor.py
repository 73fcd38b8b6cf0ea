"""The executor is a seam: work that runs in other processes gives what it gives in this one."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import os
import pickle
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest

from harvester import harvest, load_config
from harvester.config import Config
from harvester.engine.executor import Executor, LocalExecutor, MemoryPermit, Services, process
from harvester.errors import CorruptBody, ServerError, StorageError
from harvester.jobs.services import RunHooks
from harvester.jobs.task_services import TaskServices, open_task_services
from harvester.ledger.messages import FileResult, ItemResult
from harvester.models import ItemId, ItemKey, PendingFile, PendingItem
from harvester.sandbox import Sandbox, Settings

pytestmark = pytest.mark.anyio
WORKERS = 2
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # each worker would load the modules again

# -- a second executor: everything that it needs is here ------------------------------------------


class Worker:
    """One process of the pool: its own event loop and its own services."""

    def __init__(self, make_config: Callable[[], Config]) -> None:
        self._runner = asyncio.Runner()
        self._opened = open_task_services(make_config())
        self._services: TaskServices = self._runner.run(self._open())

    async def _open(self) -> TaskServices:
        return await self._opened.__aenter__()

    def process(self, item: PendingItem) -> ItemResult:
        return self._runner.run(process(item, self._services))


_worker: list[Worker] = []


def start_worker(make_config: Callable[[], Config]) -> None:
    _worker.append(Worker(make_config))


def process_in_worker(item: PendingItem) -> tuple[int, ItemResult]:
    return os.getpid(), _worker[0].process(item)


@dataclass
class PoolExecutor:
    """Processes items in a pool of processes, and fetches files in this one; ``pids``: who worked."""

    pool: ProcessPoolExecutor
    local: LocalExecutor
    item_slots: int = 2 * WORKERS
    pids: set[int] = field(default_factory=set)

    @property
    def file_slots(self) -> int:
        return self.local.file_slots

    def hold_memory(self) -> AbstractAsyncContextManager[MemoryPermit]:
        return self.local.hold_memory()

    async def process(self, item: PendingItem) -> ItemResult:
        loop = asyncio.get_running_loop()
        pid, result = await loop.run_in_executor(self.pool, process_in_worker, item)
        self.pids.add(pid)
        return result

    async def fetch(self, file: PendingFile) -> FileResult:
        return await self.local.fetch(file)


@asynccontextmanager
async def open_pool(
    make_config: Callable[[], Config], opened: list[PoolExecutor], run_config: Config, services: Services
) -> AsyncIterator[Executor]:
    pool = ProcessPoolExecutor(WORKERS, PROCESSES, initializer=start_worker, initargs=(make_config,))
    try:
        opened.append(PoolExecutor(pool, LocalExecutor(services, run_config.concurrency)))
        yield opened[-1]
    finally:
        pool.shutdown(cancel_futures=True)


# -- what it shows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Address:
    """Where a sandbox answers; unlike the sandbox, another process can have it."""

    api: str
    stats: str


def config_of(address: Address, folder: Path, tasks: tuple[str, ...], rate: float = math.inf) -> Config:
    options = {
        "sources": [{"kind": "search", "query": "survey"}],
        "output": str(folder),
        "tasks": list(tasks),
        "services.api": address.api,
        "services.stats": address.stats,
        "rate.api": rate,
        "rate.stats": rate,
        "rate.files": math.inf,
    }
    return load_config(options=options, environ={})


def outputs(folder: Path) -> dict[str, bytes]:
    """What a harvest wrote for people, without what tells the time of the run."""
    names = ("*.csv", "*.jsonl")
    found = (path for name in names for path in folder.glob(name) if path.name != "stats_history.csv")
    return {path.name: path.read_bytes() for path in found}


async def run_in_pool(sandbox: Sandbox, folder: Path, tasks: tuple[str, ...], **more: float) -> PoolExecutor:
    """Harvest with a pool; the workers share what `rate` allows."""
    address, opened = Address(sandbox.api, sandbox.stats), list[PoolExecutor]()
    rate = more.get("rate", math.inf)
    make_config = partial(config_of, address, folder, tasks, rate / WORKERS)
    hooks = RunHooks(executor=partial(open_pool, make_config, opened))
    summary = await harvest(config_of(address, folder, tasks, rate), hooks=hooks)
    assert summary.exit_status == 0, summary
    (executor,) = opened
    return executor


@pytest.mark.parametrize(
    "tasks",
    [
        ("metadata", "stats", "files"),
        pytest.param(("metadata", "stats"), marks=pytest.mark.nightly),
    ],
    ids="+".join,
)
async def test_a_pool_of_processes_gives_the_same_outputs(tmp_path: Path, tasks: tuple[str, ...]) -> None:
    async with Sandbox(Settings(items=34, heavy=0)) as sandbox:
        for item_id in sandbox.world.public_ids:
            if not sandbox.world.trait(item_id):
                sandbox.world.withdraw(item_id)
        assert len(sandbox.world.public_ids) > 3 * WORKERS
        address = Address(sandbox.api, sandbox.stats)
        assert (await harvest(config_of(address, tmp_path / "here", tasks))).exit_status == 0
        expected = sorted(seen.path for seen in sandbox.requests)
        sandbox.requests.clear()
        executor = await run_in_pool(sandbox, tmp_path / "pool", tasks)
        assert sorted(seen.path for seen in sandbox.requests) == expected
    assert len(executor.pids) == WORKERS
    assert os.getpid() not in executor.pids
    here = outputs(tmp_path / "here")
    assert len(here) > 5
    assert outputs(tmp_path / "pool") == here


async def test_a_pool_sees_what_an_earlier_run_knows(tmp_path: Path) -> None:
    """The history of an item travels with it, so an edit is a change and nothing is new."""
    tasks = ("metadata", "stats")
    async with Sandbox(Settings(items=6, heavy=0)) as sandbox:
        await run_in_pool(sandbox, tmp_path, tasks)
        edited = sandbox.world.search("survey")[0]
        sandbox.world.edit(edited)
        await run_in_pool(sandbox, tmp_path, tasks)
    lines = (tmp_path / "changes.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"{edited},,changed,")


async def test_workers_share_a_rate(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=20, heavy=0)) as sandbox:
        ids = sandbox.world.search("survey")
        await run_in_pool(sandbox, tmp_path, ("metadata",), rate=40)
        records = [seen.at for seen in sandbox.requests if seen.path.startswith("/v2/articles/")]
    assert len(records) >= len(ids)
    assert max(records) - min(records) > (len(ids) - 2 * WORKERS) / 40


@pytest.mark.parametrize(
    "error", [StorageError("disk full"), ServerError("500"), CorruptBody("x", md5="0" * 32)]
)
def test_errors_cross_processes(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_results_cross_processes() -> None:
    tasks = frozenset({"metadata"})
    item = PendingItem(1, ItemId(2), private=False, tasks=tasks, known=True, item_key=ItemKey(2))
    assert pickle.loads(pickle.dumps(item)) == item
    assert msgspec.structs.asdict(item)["history"].harvested is None
