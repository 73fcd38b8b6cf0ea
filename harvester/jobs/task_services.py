"""
Task services: the services that the tasks of a config use.

A run builds them once. A worker process builds its own from the same config.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any

from harvester.config import Config
from harvester.engine.executor import MemoryPermit
from harvester.jobs.services import DEFAULT_HOOKS, Connected, RunHooks, connect
from harvester.ledger.database.lease_row import iso
from harvester.plugins import TASKS, item_task_names
from harvester.storage.protocol import Confirm, Storage, nothing_to_confirm
from harvester.tasks import FileTask, ItemTask
from harvester.tasks.record_access import access_of


@dataclass(frozen=True)
class TaskServices:
    """
    The tasks of a config, ready to run, with their shared services; see `engine.executor.Services`.

    ``connected``: the client and the API.
    ``storage``: of the files.
    """

    connected: Connected
    storage: Storage
    item_tasks: tuple[ItemTask, ...]
    file_task: FileTask | None

    @property
    def hold_memory(self) -> Callable[[], AbstractAsyncContextManager[MemoryPermit]]:
        return self.connected.client.memory.hold


@asynccontextmanager
async def open_task_services(
    config: Config, hooks: RunHooks = DEFAULT_HOOKS, *, confirm: Confirm = nothing_to_confirm
) -> AsyncIterator[TaskServices]:
    """Open the services of a config; `confirm`: see `Confirm`."""
    storage = hooks.storage(config, confirm)
    async with connect(config, hooks) as connected:
        parts = {
            "access": access_of(config),
            "figshare": connected.figshare,
            "now": lambda: iso(hooks.wall_clock()),
            "routes": connected.routes,
            "rules": config.files,
            "statistics": connected.statistics,
            "storage": storage,
            "versions": config.versions,
        }
        item_tasks = tuple(_make(name, parts) for name in item_task_names(config.tasks))
        file_task = _make("files", parts) if "files" in config.tasks else None
        yield TaskServices(connected, storage, item_tasks, file_task)


def _make(name: str, parts: dict[str, Any]) -> Any:
    """Return the task `name`, built from the services that its fields name."""
    task = TASKS[name]
    return task(**{field.name: parts[field.name] for field in fields(task)})
