"""
Plugin registry: lists all sources, tasks and exporters, and loads a config that names them.

A new plugin is a new module in its package and one line here. A class is imported on first use, so that
reading the names costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from harvester import config as configuration
from harvester.config import Config, Kinds
from harvester.errors import UsageError


def missing_package(what: str, extra: str, error: ModuleNotFoundError) -> UsageError:
    """Return the error for `what`, which needs a package that only an extra installs."""
    return UsageError(
        f"{what}: needs the package {error.name}, which is not installed: "
        f"pip install 'figshare-harvester[{extra}]'"
    )


class Registry(Mapping[str, type[Any]]):
    """A table of classes, written as ``name="package.module:Class"``."""

    def __init__(self, **places: str) -> None:
        self._places = places

    def __getitem__(self, name: str) -> type[Any]:
        """
        Import the class of a name.

        Raises:
            KeyError: nothing has this name.
            UsageError: it needs a package that is not installed.
        """
        module, _, cls = self._places[name].partition(":")
        try:
            return getattr(import_module(module), cls)  # type: ignore[no-any-return]  # tests look at each
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] == __package__:
                raise  # a module of our own is missing: a defect, which no extra can fix
            raise missing_package(name, name, exc) from exc

    def extended(self, **places: str) -> Registry:
        """Return a registry with additional classes, written as ``name="package.module:Class"``."""
        return Registry(**{**self._places, **places})

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<registry of {', '.join(self)}>"


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
    failures="harvester.exporters.failures:Failures",
    summary="harvester.exporters.summary:SummaryFile",
)

ALWAYS_EXPORTED = ("failures", "summary")
"""Outputs that are always written, so they are no format to choose."""


def load_config(
    path: str | os.PathLike[str] | None = None,
    *,
    search: str | None = None,
    items: Sequence[int | str] | None = None,
    sources: Sequence[Mapping[str, object]] | None = None,
    tasks: Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    options: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    job: str | None = None,
    exporters: Registry | None = None,
    option_of: Callable[[str], str | None] | None = None,
) -> Config:
    """
    Return a config: from a file, the environment and these arguments, which override the others.

    ``load_config(search="climate", output="climate")`` needs no file.

    `path`: a file as `harvester init` writes it.
    `search`: a query. `items`: ids, DOIs or addresses of items.
    `sources`: tables as in ``[[sources]]``: ``{"kind": "group", "id": 11962}``.
    All items of these three are harvested, instead of those of the sources in the file.
    `tasks`: what to harvest of each item. `output`: the folder.
    `options`: all other keys, by their full names: ``{"rate.api": 2}``.
    `environ`: it contains the token and the proxies, None for that of this process; no token is read from a
    file or an argument.
    `job`: "harvest", "plan" or "list"; a key that this job needs and the config lacks is a fault too.
    `option_of`: the name of the option that sets a key, for messages; "options: " and the key without it.
    `exporters`: the known output formats, None for those of this package; a program adds its own with
    `EXPORTERS.extended`.

    Raises:
        UsageError: the config has faults; the message has one line for each.
    """
    kinds = Kinds(SOURCES, tuple(TASKS), exporters or EXPORTERS, always_exported=ALWAYS_EXPORTED)
    given = _options(options)
    if search is not None or items is not None or sources is not None:
        given["sources"] = _sources(search, items, sources or ())
    if tasks is not None:
        given["tasks"] = _list("tasks", tasks, '["metadata", "files"]')
    if output is not None:
        given["output"] = _path("output", output, "folder")
    return configuration.load(
        kinds,
        path=Path(_path("path", path, "file")) if path is not None else None,
        options=given,
        environ=os.environ if environ is None else environ,
        job=job,
        option_of=option_of,
    )


def _sources(
    search: str | None, items: Sequence[int | str] | None, sources: Sequence[Mapping[str, object]]
) -> list[dict[str, object]]:
    """Return the tables of the sources that a program gives."""
    example = '[{"kind": "group", "id": 11962}]'
    tables: list[dict[str, object]] = []
    for table in _list("sources", sources, example):
        if not isinstance(table, Mapping):
            raise UsageError(f"sources: expected a list of tables such as {example}")
        tables.append(dict(table))
    if search is not None:
        tables.append({"kind": "search", "query": search})
    if items is not None:
        tables.append({"kind": "items", "ids": _list("items", items, "[5616409]")})
    return tables


def _options(options: object) -> dict[str, object]:
    """Return a program's options by their keys."""
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise UsageError('options: expected a mapping of keys to values, such as {"rate.api": 2}')
    return dict(options)


def _list(name: str, values: object, example: str) -> list[object]:
    """Return a program's values as a list: a text is no list of its letters, and numbers may be numpy's."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        raise UsageError(f"{name}: expected a list such as {example}")
    return [
        int(each) if hasattr(each, "__index__") and not isinstance(each, bool) else each for each in values
    ]


def _path(name: str, path: object, what: str) -> str:
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{name}: expected the path of a {what}")
    return os.fspath(path)


def item_task_names(wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the item tasks that `wanted` needs: files need the record, as it lists them."""
    needed = {*wanted, "metadata"} if "files" in wanted else set(wanted)
    return tuple(name for name in TASKS if name in needed and name != "files")
