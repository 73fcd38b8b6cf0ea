"""
Overrides: turns command-line options into config keys and sources.

An option whose destination is the full name of a key sets that key. Options that name sources become source
tables, with the filters in each table that supports them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harvester.cli.parser import option_names
from harvester.config.keys import SERVICES
from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.ledger.database.heartbeat import Timing

_KEYS = {"output", "tasks", "versions"}
"""The keys outside of tables that options set."""
FILTERS = {
    "type": "item_type",
    "published_since": "published_since",
    "published_before": "published_before",
    "modified_since": "modified_since",
    "licence": "licence",
    "order": "order",
}
"""The filter options, and the field of a source that each sets."""


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """
    Return the keys that options set, by their full names.

    Raises:
        UsageError: an option needs a source or another option that is missing, or contradicts one.
    """
    given = vars(args)
    for option, is_given in (
        ("--yes", given.get("yes")),
        ("--trash-days", given.get("trash_days") is not None),
    ):
        if is_given and not given["prune"]:
            raise UsageError(f"{option} requires --prune")
    if given["command"] == "run" and given["json"] and given["prune"]:
        raise UsageError("--json does not go with --prune, which asks a question")
    folder = given.get("folder")
    if folder is not None and given["output"] not in {None, folder}:
        raise UsageError("FOLDER and --output name two folders: give one of them")
    options = {
        key: value for key, value in given.items() if value is not None and ("." in key or key in _KEYS)
    }
    if folder is not None:
        options["output"] = folder
    options |= _rates(given.get("rate") or ())
    sources = list(_sources(given))
    filters = {field: given[name] for name, field in FILTERS.items() if given.get(name) is not None}
    if filters:
        _narrow(sources, filters)
    if sources:
        options["sources"] = sources
    return options


def _rates(given: Iterable[tuple[str, float | str]]) -> dict[str, float | str]:
    """Return the rates by key: that of a service holds, whatever is said for all of them."""
    rates: dict[str, float | str] = {}
    for service, rate in given:
        if rates.setdefault(service, rate) != rate:
            of = f"for {service}" if service else "for all services"
            raise UsageError(f"--rate: given twice {of}; it takes one value")
    general = {f"rate.{name}": rates[""] for name in SERVICES} if "" in rates else {}
    return {**general, **{f"rate.{name}": rate for name, rate in rates.items() if name}}


def option_finder(args: argparse.Namespace) -> Callable[[str], str | None]:
    """Return a function that returns the option of a command that sets a key, for messages."""

    def option_of(key: str) -> str | None:
        if found := re.fullmatch(r"sources\[(\d+)\](?:\.(\w+).*)?", key):
            return _option_of_source(overrides(args)["sources"][int(found[1])], found[2])
        if key == "output" and getattr(args, "folder", None) is not None:
            return "FOLDER"
        return option_names().get(key)

    return option_of


def _option_of_source(source: Mapping[str, Any], field: str | None) -> str:
    """Return the option that made a source table, or set a field of it."""
    for name, filter_ in FILTERS.items():
        if field == filter_:
            return f"--{name.replace('_', '-')}"
    if field == "subgroups":
        return "--subgroups"
    kind = str(source["kind"])
    if kind == "items":
        return "--item" if "ids" in source else "--items"
    if kind == "institution" and source.get("private"):
        return "--institution-items"
    return "--account-query" if kind == "account" and "query" in source else f"--{kind}"


def _sources(given: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    if given.get("account"):
        yield {"kind": "account"}
    if given.get("account_query"):
        yield {"kind": "account", "query": given["account_query"]}
    if given.get("institution_items"):
        yield {"kind": "institution", "private": True}
    if given.get("search"):
        yield {"kind": "search", "query": given["search"]}
    below = {"subgroups": True} if given.get("subgroups") else {}
    if below and not given.get("group"):
        raise UsageError("--subgroups requires --group")
    for kind, more in (("group", below), ("collection", {}), ("project", {}), ("institution", {})):
        for number in given.get(kind) or ():
            yield {"kind": kind, "id": number, **more}
    yield from _items(given)


def _items(given: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    if given.get("item"):
        yield {"kind": "items", "ids": given["item"]}
    if isinstance(given.get("items"), list):  # the sandbox has an option of the same name: a number
        for file in dict.fromkeys(given["items"]):
            yield {"kind": "items", "file": file}


def _narrow(sources: Iterable[dict[str, Any]], filters: Mapping[str, Any]) -> None:
    """Add the filters to each source that supports them."""
    from harvester.config.tables import fields  # noqa: PLC0415 - few commands need it
    from harvester.plugins import SOURCES  # noqa: PLC0415

    unused = dict.fromkeys(filters)
    for source in sources:
        taken = filters.keys() & fields(SOURCES[source["kind"]]).keys()
        source.update({name: filters[name] for name in taken})
        for name in taken:
            unused.pop(name, None)
    if unused:
        options = [f"--{name.replace('_', '-')}" for name, field in FILTERS.items() if field in unused]
        raise UsageError(f"{', '.join(options)}: no source on the command line supports this filter")


def timing_of(args: argparse.Namespace) -> Timing:
    """Return how long to wait for another run on the folder."""
    from harvester.ledger.database.heartbeat import USUAL_TIMING  # noqa: PLC0415 - few commands need it

    return USUAL_TIMING._replace(wait_seconds=args.wait)
