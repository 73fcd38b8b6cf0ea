"""The words of the command line into the keys and sources of a config."""

from __future__ import annotations

import re
import shlex
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from harvester.cli.arguments.examples import BY_ROLE, EXAMPLES
from harvester.cli.arguments.this_run import REFRESHABLE
from harvester.cli.main import dry_run_as_plan
from harvester.cli.overrides import FILTERS, option_finder, overrides
from harvester.cli.parser import build_parser, commands_of, parse
from harvester.config.tables import fields
from harvester.errors import UsageError
from harvester.figshare.filters import Filters
from harvester.plugins import TASKS, load_config
from tests.support.program import harvester


def chosen(*words: str) -> dict[str, Any]:
    return overrides(build_parser().parse_args(["run", *words]))


def config_of(*words: str, **environ: str) -> Any:
    args = parse(["run", *words])
    environ = {"FIGSHARE_TOKEN": "x", **environ}
    return load_config(options=overrides(args), environ=environ, option_of=option_finder(args))


@pytest.mark.parametrize(
    ("words", "sources"),
    [
        ("--search a --search b", [{"kind": "search", "query": ["a", "b"]}]),
        ("--group 1 --group 2", [{"kind": "group", "id": 1}, {"kind": "group", "id": 2}]),
        ("--group 1 --subgroups", [{"kind": "group", "id": 1, "subgroups": True}]),
        ("--collection 5", [{"kind": "collection", "id": 5}]),
        ("--project 6", [{"kind": "project", "id": 6}]),
        ("--institution 319", [{"kind": "institution", "id": 319}]),
        ("--institution-items", [{"kind": "institution", "private": True}]),
        ("--account", [{"kind": "account"}]),
        ("--account-query a --account-query b", [{"kind": "account", "query": ["a", "b"]}]),
        ("--item 1.v2 --item 10.1/x", [{"kind": "items", "ids": ["1.v2", "10.1/x"]}]),
        ("--items -", [{"kind": "items", "file": "-"}]),
    ],
)
def test_each_option_for_a_source_makes_its_table(words: str, sources: list[dict[str, Any]]) -> None:
    assert chosen(*words.split()) == {"sources": sources}
    assert len(config_of(*words.split()).sources) == len(sources)


def test_filters_go_to_every_source_that_takes_them() -> None:
    words = "--type dataset --published-since 2020-01-01 --published-before 2021-01-01"
    more = "--modified-since 2020-02-01 --licence CC0 --order views"
    found = chosen("--search", "a", "--group", "7", "--item", "1", *words.split(), *more.split())
    filters = {
        "item_type": "dataset",
        "published_since": "2020-01-01",
        "published_before": "2021-01-01",
        "modified_since": "2020-02-01",
        "licence": "CC0",
        "order": "views",
    }
    assert found["sources"] == [
        {"kind": "search", "query": ["a"], **filters},
        {"kind": "group", "id": 7, **filters},
        {"kind": "items", "ids": ["1"]},
    ]
    search = load_config(options=found, environ={}).sources[0]
    assert (search.published_since, search.published_before) == (date(2020, 1, 1), date(2021, 1, 1))


def test_every_field_of_a_selection_has_its_option() -> None:
    assert set(FILTERS.values()) == set(fields(Filters))


def test_license_is_another_spelling_of_licence() -> None:
    assert chosen("--account", "--license", "CC0") == chosen("--account", "--licence", "CC0")


def test_a_type_may_be_a_number() -> None:
    assert chosen("--account", "--type", "3")["sources"] == [{"kind": "account", "item_type": 3}]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--type dataset", "--type: no source on the command line supports this filter"),
        (
            "--item 1 --licence CC0 --order views",
            "--licence, --order: no source on the command line supports this filter",
        ),
        ("--account --subgroups", "--subgroups requires --group"),
        (
            "--search a --published-since 2020",
            '--published-since: expected a day such as 2024-01-31, got "2020"',
        ),
        (
            "--collection 1 --order views",
            "--order: figshare lists a collection in an",
        ),
    ],
)
def test_contradicting_options_are_wrong_usage(words: str, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        config_of(*words.split())
    assert str(caught.value).startswith(fault)


KEYS: list[tuple[str, str, str, object]] = [
    ("--versions all", "all", "versions", "all"),
    ("--versions 1,3", "1, 3", "versions", (1, 3)),
    ("--versions 2", "2", "versions", (2,)),
    ("--impersonate 1000002", "1000002", "services.impersonate", 1000002),
    ("--min-size 1kB", "1 kB", "files.min_size", 1000),
    ("--max-total 2TB", "2 TB", "files.max_total", 2 * 10**12),
    ("--counters views,shares", "views, shares", "stats.counters", ("views", "shares")),
    ("--granularity day", "day", "stats.granularity", "day"),
    ("--stats-since 2020-02-29", "2020-02-29", "stats.since", date(2020, 2, 29)),
    ("--stats-until 2021-03-31", "2021-03-31", "stats.until", date(2021, 3, 31)),
]


@pytest.mark.parametrize(("words", "text", "key", "value"), KEYS)
def test_a_key_can_be_set_by_option_and_by_environment(
    words: str, text: str, key: str, value: object
) -> None:
    name = f"HARVESTER_{key.upper().replace('.', '_')}"
    for config in (config_of(*words.split()), load_config(environ={name: text})):
        table, _, field = key.rpartition(".")
        assert getattr(getattr(config, table) if table else config, field) == value


@pytest.mark.parametrize("text", ["newest", "0", "1,x", "-1", "", ","])
def test_an_invalid_version_is_reported_at_its_place(text: str) -> None:
    fault = f': expected "latest", "all" or version numbers such as 1,3, got "{text.strip(",")}"'
    with pytest.raises(UsageError) as caught:
        config_of(f"--versions={text}")
    assert str(caught.value) == f"--versions{fault}"
    with pytest.raises(UsageError) as caught:
        load_config(environ={"HARVESTER_VERSIONS": text})
    assert str(caught.value) == f"HARVESTER_VERSIONS{fault}"


def test_every_task_on_items_can_be_refreshed() -> None:
    assert tuple(name for name in TASKS if name != "files") == REFRESHABLE


def test_every_example_of_a_help_text_is_a_command_line() -> None:
    lines = [line for examples in EXAMPLES.values() for _, line in examples]
    commands = [part for line in lines for part in re.split(r"&&|\|", line)]
    for words in map(shlex.split, commands):
        assert words[0] == "harvester"
        if words[1] != "help":
            assert parse(words[1:]).command == words[1]
    assert EXAMPLES.keys() == commands_of(build_parser()).keys()
    assert len(BY_ROLE) == 3


def test_the_folder_needs_no_option() -> None:
    for command in ("status", "failed", "verify", "export"):
        for words in (("mine",), ("-o", "mine"), ("mine", "--output", "mine")):
            assert overrides(parse([command, *words])) == {"output": "mine"}
        with pytest.raises(UsageError, match="FOLDER and --output name two folders"):
            overrides(parse([command, "mine", "-o", "other"]))


def test_a_dry_run_is_a_plan() -> None:
    words = ("--search", "a", "-o", "x", "--workers", "3")
    plan, dry_run = parse(["plan", *words]), dry_run_as_plan(parse(["run", "--dry-run", *words]))
    assert vars(dry_run).items() >= vars(plan).items()
    assert overrides(dry_run) == overrides(plan)
    for more in ("--prune", "--rebuild", "--refresh=stats", "--accept-withdrawals=1"):
        with pytest.raises(UsageError, match="does not go with --dry-run"):
            dry_run_as_plan(parse(["run", "--dry-run", more]))


def test_json_and_a_question_do_not_mix() -> None:
    with pytest.raises(UsageError, match="--json does not go with --prune"):
        chosen("--item", "1", "--json", "--prune")


@pytest.mark.anyio
async def test_yes_goes_with_prune(tmp_path: Path) -> None:
    ended = await harvester("run", "--item", "1", "--yes", cwd=tmp_path)
    assert (ended.status, ended.err) == (2, "harvester: --yes requires --prune\n")
    assert list(tmp_path.iterdir()) == []
