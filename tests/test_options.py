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
from tests.support.each import for_each
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


def refusal(*words: str, **environ: str) -> str:
    """Return what is said of a command line, "" if it is taken."""
    try:
        args = parse(words)
        if hasattr(args, "config"):
            load_config(options=overrides(args), environ=environ, option_of=option_finder(args))
    except UsageError as error:
        return str(error)
    return ""


ONCE = {
    action.option_strings[-1]: command
    for command, parser in commands_of(build_parser()).items()
    for action in parser._actions
    if action.option_strings and type(action).__name__ == "_StoreOnce"
}


@for_each(("option", "command"), ONCE.items())
def test_an_option_with_one_value_is_given_once(option: str, command: str) -> None:
    days, addresses = ("2020-01-01", "2021-01-01"), ("https://a.org", "https://b.org")
    for one, other in (("1d", "2d"), ("1", "2"), days, addresses):
        first = refusal(command, option, one)
        if not first.startswith(f"{option}: expected"):
            assert refusal(command, option, one, option, other).startswith(f"{option}: given twice; "), option
            assert refusal(command, option, one, option, one) == first
            return
    raise AssertionError(option)


def test_several_files_of_items_are_several_sources() -> None:
    files = ["a.txt", "b.csv", "a.txt", "-"]
    words = [word for file in files for word in ("--items", file)]
    assert [source["file"] for source in chosen(*words)["sources"]] == ["a.txt", "b.csv", "-"]


def test_the_rate_of_a_service_holds_wherever_it_stands() -> None:
    for words in (("--rate", "2", "--rate", "files=5"), ("--rate", "files=5", "--rate", "2")):
        assert chosen(*words) == {"rate.api": 2.0, "rate.stats": 2.0, "rate.files": 5.0}
    assert refusal("list", "--rate", "1", "--rate", "2").startswith("--rate: given twice for all services")
    assert refusal("list", "--rate", "api=1", "--rate", "api=2").startswith("--rate: given twice for api")


LONG = "x" * 300


@for_each(
    ("words", "says"),
    [
        (f"run --item 1 -o {LONG}", "--output: the name is too long"),
        (f"run --item 1 -o {'a/' * 2100}", "--output: the name is too long"),
        (f"status {LONG}", "FOLDER: the name is too long"),
        (f"run --items {LONG}", "--items: the name is too long"),
        (f"run --log-file {LONG}", "--log-file: the name is too long"),
        (f"run -c {LONG}", "--config: the name is too long"),
        (f"export --to {LONG}", "--to: the name is too long"),
        (f"init {LONG}", "FILE: the name is too long"),
        ("run --item 1 -o S3:/b", "--output: expected a folder on this machine: s3:// is not supported"),
        ("run --log-file=", "--log-file: expected a path"),
        ("run --progress-every -1s", '--progress-every: expected a duration such as "5 min"'),
        ("run --item 1 --stats-max-age 5", "--stats-max-age: expected a duration with its unit, such as"),
        ("status --max-age 5", "--max-age: expected a duration with its unit, such as"),
        ("run --item 1 --stats-max-age 0 --progress-every 5", ""),
        ("run --item 1 --progress-every 0.2", ""),
        ("sandbox --items 99999999999", "--items: expected a whole number from 0 to 999,999,999, got"),
        (
            "run --item 1 --workers 99999999999999999999999",
            "--workers: expected a whole number from 1 to 10,000",
        ),
        ("run --group 99999999999999999999", "--group: expected an id from 1 to 2^63, got"),
        ("run --rate 1e-9", '--rate: expected at least one request a day, got "1e-9"'),
        ("run --ceiling 1e-9", '--ceiling: expected at least one request a day, got "1e-9"'),
        (
            "run --item 1 --min-size 5GB --max-size 1GB",
            "--min-size: 5.0 GB is more than 1.0 GB, the largest size",
        ),
        ("run --item 5616409,14763051", '--item: expected one item, got "5616409,14763051"; repeat --item'),
        ("run --item 5616409 14763051", 'unexpected "14763051": repeat --item for several'),
        ("run \u2014item 1", '"\u2014item": written with a long dash (did you mean "--item"?)'),
        ("\u2013\u2013item 1", '(did you mean "--item"?)'),
        ("run --collection https://figshare.com/collections/x/5234234", ""),
        ("run --collection 10.6084/m9.figshare.c.5234234.v1", ""),
        ("run --project https://figshare.com/projects/x/113166", ""),
        (
            "run --project https://figshare.com/collections/x/5234234",
            "--project: this is the address of a collection: use --collection 5234234",
        ),
        (
            "run --group https://x.figshare.com/groups/a",
            "--group: expected an id, a number such as 11962; none",
        ),
        ("run --item 10.1234/ab,2", ""),
        ("run --item 10.1234/ab,10.1234/c", "--item: expected one item, got"),
        ("status \u2014json", '"\u2014json": written with a long dash (did you mean "--json"?)'),
        ("run --search \u2014item", ""),
        ("help run plan", 'unexpected "plan": only one is taken'),
        ("config --dry-run", "unknown option --dry-run"),
    ],
)
def test_a_wrong_word_says_what_is_expected(words: str, says: str) -> None:
    said = refusal(*words.split())
    assert said.startswith(says) or (says.startswith("(") and said.endswith(says)), said
    assert bool(said) == bool(says)


@for_each(
    ("words", "hint"),
    [
        ("-V", "--version"),
        ("version", "--version"),
        ("run --no-files", "--tasks metadata,stats"),
        ("list --limit 3", ""),
        ("doctor --item 3", ""),
        ("export --rate 2", ""),
        ("help --all", ""),
    ],
)
def test_a_suggestion_is_near_or_none(words: str, hint: str) -> None:
    assert refusal(*words.split()).partition("did you mean ")[2] == (f'"{hint}"?)' if hint else "")


@for_each(
    ("name", "says"),
    [
        ("HARVESTER_TOKEN", "FIGSHARE_TOKEN"),
        ("HARVESTER_CONFIG", "use --config"),
        ("HARVESTER_SOURCES", "sources have no variable"),
        ("HARVESTER_RATE_APPI", 'did you mean "HARVESTER_RATE_API"'),
        ("HARVESTER_LIMIT", "unknown"),
    ],
)
def test_a_variable_that_sets_nothing_says_what_does(name: str, says: str) -> None:
    said = refusal("run", "--item", "1", **{name: "x"})
    assert said.startswith(f"environment: {name}: ")
    assert says in said
    assert "did you mean" in says or "did you mean" not in said


def test_the_help_of_each_command_has_examples() -> None:
    for command, examples in EXAMPLES.items():
        assert len(examples) >= (2 if command in {"init", "help"} else 3), command
    assert EXAMPLES.keys() >= commands_of(build_parser()).keys()
