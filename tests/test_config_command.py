"""`harvester config`: every value that a run would use, and the place where it was set."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
from jsonschema import Draft202012Validator

from harvester.config.keys import keys
from harvester.config.toml_lines import key_lines
from tests.support.each import for_each
from tests.support.program import environment, harvester

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
CONFIG = """\
# A comment.
output = "mine"
tasks = [
    "metadata",  # ]
    "stats",
]

[rate]
api = 0.5
stats = 2

[files]
max_size = "1 GB"

[export.csv]
byte_order_mark = true

[[sources]]
kind = "search"
query = '''one
] two'''
license = "CC0"

[[sources]]
kind = "items"
ids = [1,
    "10.6084/m9.figshare.2"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(CONFIG)
    return path


async def settings(*words: object, **env: str) -> dict[str, tuple[Any, str, str | None, int | None]]:
    """The value, the kind of its origin, its name and line, by key; the document meets its schema."""
    ended = await harvester("config", "--json", *words, env=environment(**env))
    assert (ended.status, ended.err) == (0, "")
    document = orjson.loads(ended.out)
    schema = orjson.loads((ROOT / "harvester/schemas/config.schema.json").read_bytes())
    assert list(Draft202012Validator(schema).iter_errors(document)) == []
    return {
        each["key"]: (each["value"], each["origin"], each["name"], each["line"])
        for each in document["settings"]
    }


async def test_each_value_is_shown_with_the_place_that_set_it(file: Path) -> None:
    found = await settings(
        "-c",
        file,
        "--rate",
        "stats=inf",
        "--downloads",
        "3",
        HARVESTER_RETRY_ATTEMPTS="4",
        HARVESTER_TASKS="stats",
    )
    named = str(file)
    assert found["output"] == ("mine", "file", named, 2)
    assert found["tasks"] == (["stats"], "environment", "HARVESTER_TASKS", None)
    assert found["rate.api"] == (0.5, "file", named, 9)
    assert found["rate.stats"] == ("inf", "option", "--rate", None)
    assert found["rate.files"] == (1.0, "default", None, None)
    assert found["concurrency.downloads"] == (3, "option", "--downloads", None)
    assert found["retry.attempts"] == (4, "environment", "HARVESTER_RETRY_ATTEMPTS", None)
    assert found["files.max_size"] == (10**9, "file", named, 13)
    assert found["stats.since"] == (None, "default", None, None)
    assert found["export.csv.byte_order_mark"] == (True, "file", named, 16)
    assert found["sources[0].query"] == ("one\n] two", "file", named, 20)
    assert found["sources[0].licence"] == ("CC0", "file", named, 22)
    assert found["sources[1].ids"] == ([1, "10.6084/m9.figshare.2"], "file", named, 26)
    assert found.keys() >= keys().keys()


async def test_sources_of_the_command_line_replace_those_of_the_file(file: Path) -> None:
    found = await settings("-c", file, "--search", "a", "--type", "dataset", "--stats-since", "2024-01-31")
    sources = {key: value for key, value in found.items() if key.startswith("sources")}
    assert sources == {
        "sources[0].kind": ("search", "option", "command line", None),
        "sources[0].query": (["a"], "option", "command line", None),
        "sources[0].item_type": ("dataset", "option", "command line", None),
    }
    assert found["stats.since"] == ("2024-01-31", "option", "--stats-since", None)


async def test_the_text_can_be_read_by_people_and_shows_no_secret(file: Path) -> None:
    env = environment(
        FIGSHARE_TOKEN="secret-token-1", FIGSHARE_STATS="me:word-2", HTTPS_PROXY="http://me:word-3@proxy:3128"
    )
    ended = await harvester("config", "-c", file, env=env)
    assert ended.status == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in ended.out.splitlines()}
    assert lines["output"].split(maxsplit=1) == ['"mine"', f"{file}, line 2"]
    assert lines["rate.files"].split() == ["1.0", "default"]
    assert lines["token"].split(maxsplit=1) == ["set", "environment variable FIGSHARE_TOKEN"]
    assert lines["statistics"].split(maxsplit=2)[:2] == ["credentials", "set"]
    assert lines["proxy"].split(maxsplit=1) == ['"http://proxy:3128"', "environment variable HTTPS_PROXY"]
    for secret in ("secret-token-1", "word-2", "word-3"):
        assert secret not in ended.out + ended.err


async def test_a_value_in_the_text_is_one_of_a_config_file(file: Path) -> None:
    ended = await harvester("config", "-c", file, "--rate", "inf")
    for line in ended.out.splitlines():
        key, value = line.split(maxsplit=1)
        if not (value.startswith("none ") or key in {"token", "statistics", "proxy"}):
            value = value.partition("  ")[0]
            assert tomllib.loads(f"value = {value}")


async def test_it_takes_every_option_of_a_run() -> None:
    words = ("--refresh", "stats", "--prune", "--yes", "--quick", "-q", "--formats", "csv", "--search", "x")
    assert (await settings(*words))["export.formats"] == (["csv"], "option", "--formats", None)


async def test_a_missing_token_is_shown_and_a_faulty_config_is_wrong_usage(tmp_path: Path) -> None:
    bare = {name: text for name, text in environment().items() if name != "FIGSHARE_TOKEN"}
    ended = await harvester("config", "--account", env=bare)
    assert ended.status == 0
    assert [line.split()[1:3] for line in ended.out.splitlines() if line.startswith("token")] == [
        ["not", "set"]
    ]
    (tmp_path / "faulty.toml").write_text("[rate]\napii = 1\n")
    ended = await harvester("config", "-c", tmp_path / "faulty.toml")
    assert (ended.status, ended.out) == (2, "")


async def _fill(pipe: Path) -> None:
    await anyio.to_thread.run_sync(pipe.write_text, "[rate]\napi = 2.0\n")


async def test_a_config_from_a_pipe_has_no_lines(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with anyio.create_task_group() as group:
        group.start_soon(_fill, pipe)
        found = await settings("-c", pipe)
    assert found["rate.api"] == (2.0, "file", str(pipe), None)
    assert found["rate.stats"] == (1.0, "default", None, None)


# -- lines ----------------------------------------------------------------------------------------


@for_each(
    ("text", "lines"),
    [
        ("", {}),
        ("# a = 1\n\na = 1", {"a": 3}),
        ("a = 1\r\n\r\nb = 2\r\n", {"a": 1, "b": 3}),
        ('a = """\nb = 1\n"""\nc = 2\n', {"a": 1, "c": 4}),
        ("a = [\n[1],\n[2],\n]\nb = 1", {"a": 1, "b": 5}),
        ("[a]\nb = 1\n[c]\nb = 2", {"a": 1, "a.b": 2, "c": 3, "c.b": 4}),
        ("a.b = 1\n'c'.d = 2", {"a": 1, "a.b": 1, "c": 2, "c.d": 2}),
        ("a = {b = 1, c = {d = 2}}", {"a": 1, "a.b": 1, "a.c": 1, "a.c.d": 1}),
        ("[[s]]\nk = 1\n[[s]]\nk = 2", {"s": 1, "s[0]": 1, "s[0].k": 2, "s[1]": 3, "s[1].k": 4}),
        ("s = [{k = 1},\n {k = 2}]", {"s": 1, "s[0]": 1, "s[0].k": 1, "s[1]": 1, "s[1].k": 1}),
        ("[a.b] # ]\nc = '[x]'", {"a.b": 1, "a.b.c": 2}),
        ('a = "\u2028"\nb = 1', {"a": 1, "b": 2}),
    ],
)
def test_the_line_of_each_key_is_found(text: str, lines: dict[str, int]) -> None:
    assert key_lines(text) == lines


def leaves(table: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for place, inner in enumerate(value):
                yield from leaves(inner, f"{above}{key}[{place}].")
        else:
            yield f"{above}{key}"


def test_the_lines_of_the_example_name_their_keys() -> None:
    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    lines = key_lines(text)
    found = list(leaves(tomllib.loads(text)))
    assert len(found) > 20
    for key in found:
        line = text.splitlines()[lines[key] - 1]
        assert line.startswith(f"{key.rpartition('.')[2]} = "), key


def test_a_long_list_is_read_once() -> None:
    ids = "".join(f"  {number},\n" for number in range(5_000))
    assert key_lines(f"a = [\n{ids}]\nb = 1\n") == {"a": 1, "b": 5_003}
