"""
Plugin registry: which sources, tasks and exporters there are, and how a config that names them is read.

A new one is a new module in its package and one line here. A class is imported when it is asked for, so that
to know what there is costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from harvester import config as configuration
from harvester.config import Config, Kinds


class Registry(Mapping[str, type[Any]]):
    """A table of classes, written as ``name="package.module:Class"``."""

    def __init__(self, **places: str) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Any]:
        module, _, cls = self._places[name].partition(":")
        return getattr(import_module(module), cls)  # type: ignore[no-any-return]  # tests look at each

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


SOURCES = Registry(
    account="harvester.sources.account:Account",
    search="harvester.sources.search:Search",
    group="harvester.sources.group:Group",
    institution="harvester.sources.institution:Institution",
    collection="harvester.sources.collection:Collection",
    project="harvester.sources.project:Project",
    items="harvester.sources.items:Items",
)

TASKS = Registry(
    metadata="harvester.tasks.metadata:Metadata",
    stats="harvester.tasks.stats:Stats",
    timeline="harvester.tasks.timeline:Timeline",
    breakdown="harvester.tasks.breakdown:Breakdown",
    files="harvester.tasks.files:Files",
)

EXPORTERS = Registry(
    jsonl="harvester.exporters.jsonl:JsonLines",
    csv="harvester.exporters.csv:CsvTables",
)

KINDS = Kinds(sources=SOURCES, tasks=tuple(TASKS), formats=tuple(EXPORTERS))


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    job: str | None = None,
) -> Config:
    """
    Read a config file; `options` override its keys by their full names (``"rate.api"``).

    `job`: what the config is for, "harvest", "plan" or "list"; what it lacks for that is told too.

    Raises:
        UsageError: anything is wrong; the message has a line for each fault.
    """
    return configuration.load(
        KINDS, path=Path(path) if path is not None else None, options=options, environ=environ, job=job
    )


def item_task_names(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tasks on items that `wanted` takes: files are named by the record, so it is needed."""
    needed = {*wanted, "metadata"} if "files" in wanted else set(wanted)
    return tuple(name for name in TASKS if name in needed and name != "files")
