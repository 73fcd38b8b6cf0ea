"""The library: its public names, their types in an installed wheel, and configs without a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

import harvester
from harvester import UsageError, load_config
from tests.support.installed import installed_wheel

pytestmark = pytest.mark.anyio

PROGRAM = """\
import asyncio

import harvester
from harvester import Config, Summary, harvest, load_config

config: Config = load_config(search="climate", output="climate", tasks=["metadata"])
try:
    summary: Summary = asyncio.run(harvest(config))
except harvester.HarvestError as error:
    raise SystemExit(str(error)) from error
requests: int = summary.run.requests["api"]
names: list[str] = sorted(summary.folder.outcomes.items)
size: int = summary.folder.files["done"].bytes
with harvester.open("climate") as folder:
    titles: list[str] = [item.title for item in folder.items() if not item.group_id]
    largest: harvester.File = max(folder.files(), key=lambda file: file.size)
    frame = folder.stats().to_pandas()
"""
WRONG = """\
import harvester
harvester.nothing
harvester.load_config(query="climate")
def items(summary: harvester.Summary) -> str:
    return summary.folder.items
harvester.open("climate").items().to_excel()
"""


def test_a_program_is_checked_strictly_against_the_installed_wheel(tmp_path: Path) -> None:
    names = ", ".join(harvester.__all__)
    programs = {"program": PROGRAM, "names": f"from harvester import {names}\n", "wrong": WRONG}
    for name, text in programs.items():
        (tmp_path / f"{name}.py").write_text(text)
    checked = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", tmp_path / "cache",
            "--python-executable", installed_wheel(tmp_path / "environment"), *sorted(tmp_path.glob("*.py")),
        ],
        cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.findall(r"^(\w+\.py:\d+): error: .*\[(.+)\]$", checked.stdout, re.MULTILINE)
    assert found == [
        ("wrong.py:2", "attr-defined"),
        ("wrong.py:3", "call-arg"),
        ("wrong.py:5", "return-value"),
        ("wrong.py:6", "attr-defined"),
    ], checked.stdout + checked.stderr


def test_every_public_name_is_there_and_nothing_else_is() -> None:
    assert {name for name in harvester.__all__ if not hasattr(harvester, name)} == set()
    assert set(harvester.__all__) <= set(dir(harvester))
    with pytest.raises(AttributeError, match="'harvester' has no attribute 'nothing'"):
        _ = vars(harvester)["__getattr__"]("nothing")


def test_errors_that_end_a_job_are_public() -> None:
    from harvester.errors import FatalError

    ends = {cls.__name__ for cls in FatalError.__subclasses__()}
    assert ends | {"HarvestError", "UsageError", "FatalError"} <= set(harvester.__all__)


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({"search": "climate"}, ["search"]),
        ({"items": [1, "10.6084/m9.figshare.5"]}, ["items"]),
        ({"sources": [{"kind": "group", "id": 11962}], "search": "climate"}, ["group", "search"]),
        ({"sources": ()}, []),
        ({}, ["account"]),
    ],
    ids=["search", "items", "both", "none", "file"],
)
def test_sources_of_a_program_replace_those_of_the_file(
    arguments: Mapping[str, Any], kinds: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "harvest.toml"
    file.write_text('output = "there"\n[[sources]]\nkind = "account"\n')
    config = load_config(file, **arguments, environ={})
    assert [source.kind for source in config.sources] == kinds
    assert config.output == "there"


def test_a_config_needs_no_file(tmp_path: Path) -> None:
    config = load_config(
        search="climate", tasks=("metadata",), output=tmp_path, options={"rate.api": 2}, environ={}
    )
    assert (config.folder, config.tasks, config.rate.api) == (tmp_path, ("metadata",), 2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": "metadata"}, 'tasks: expected a list such as ["metadata", "files"]'),
        ({"items": "12345"}, "items: expected a list such as [5616409]"),
        ({"items": 12345}, "items: expected a list such as [5616409]"),
        (
            {"sources": {"kind": "account"}},
            'sources: expected a list such as [{"kind": "group", "id": 11962}]',
        ),
        ({"sources": [5]}, 'sources: expected a list of tables such as [{"kind": "group", "id": 11962}]'),
        ({"options": [1]}, 'options: expected a mapping of keys to values, such as {"rate.api": 2}'),
        ({"options": {1: 2}}, 'options: expected a mapping of keys to values, such as {"rate.api": 2}'),
        ({"output": 5}, "output: expected the path of a folder"),
        ({"path": {"output": "x"}}, "path: expected the path of a file"),
        (
            {"search": 5},
            'options: sources[0].query: expected a text in quotes or a list such as ["…"], got 5',
        ),
    ],
)
def test_an_argument_of_another_type_is_told_what_is_expected(
    arguments: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(**arguments, environ={})
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("rate.appi", "rate.api"),
        ("ratee.api", "rate.api"),
        ("workers", "concurrency.workers"),
        ("taks", "tasks"),
    ],
)
def test_an_unknown_option_of_a_program_suggests_a_full_name(key: str, meant: str) -> None:
    with pytest.raises(UsageError) as refused:
        load_config(search="climate", options={key: 2}, environ={})
    assert str(refused.value).startswith(f'options: {key}: unknown key (did you mean "{meant}"?); known: ')


def test_ids_may_be_numbers_of_another_library() -> None:
    class Number:
        def __index__(self) -> int:
            return 5616409

    config = load_config(items=cast("Any", (Number(), "12345")), environ={})
    assert config.sources[0].ids == (5616409, "12345")


async def test_a_function_told_which_argument_takes_it(tmp_path: Path) -> None:
    config = load_config(search="climate", output=tmp_path / "h", environ={})
    with pytest.raises(
        UsageError, match=r"^progress: expected True or False; on_progress= takes a function$"
    ):
        await harvester.harvest(config, progress=cast("Any", print))
    for wrong in (harvester.harvest, harvester.plan):
        with pytest.raises(UsageError, match=r"^expected a config, as load_config returns it$"):
            await wrong(cast("Any", "h"))
    with pytest.raises(UsageError, match=r"^expected a config, as load_config returns it, or the path of a "):
        harvester.status(cast("Any", 5))


async def test_a_folder_is_looked_at_by_its_path(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", str(tmp_path / "none")):
        for ask in (harvester.verify, harvester.export):
            with pytest.raises(UsageError, match="none: not a harvest folder"):
                await ask(folder)
        with pytest.raises(UsageError, match="none: not a harvest folder"):
            harvester.status(folder)


SECRETS = {
    "FIGSHARE_TOKEN": "0f1e2d3c4b5a69788796",
    "FIGSHARE_STATS": "statistician:9f8e7d6c5b4a",
    "HTTPS_PROXY": "http://porter:5a4b3c2d1e0f@proxy.example.org:3128",
}
SHOW = """
import inspect, pydoc
import harvester
config = harvester.load_config(search="climate")
print(config, config.token, config.stats_credentials, config.proxies, repr(vars(config)))
for name in harvester.__all__:
    public = getattr(harvester, name)
    print(name, repr(public), "" if isinstance(public, str) else pydoc.plain(pydoc.render_doc(public)))
    if inspect.isroutine(public):
        assert len(str(inspect.signature(public))) < 1000, name
"""


def test_help_and_reprs_of_public_names_show_no_secret_and_no_internals() -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **SECRETS}
    words = [sys.executable, "-c", SHOW]
    shown = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    for secret in SECRETS.values():
        for part in re.findall(r"[0-9a-f]{12,}", secret):
            assert part not in shown.stdout
    assert "environ({" not in shown.stdout
    assert "RunHooks(" not in shown.stdout
    assert not re.findall(r"=<(?:\w+\.)*\w+(?: object)? at 0x|=<function", shown.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        {"options": {"token": "0123456789abcdef"}},
        {"options": {"services.token": "0123456789abcdef"}},
        {"sources": [{"kind": "account", "token": "0123456789abcdef"}]},
    ],
    ids=["top", "services", "source"],
)
def test_a_token_in_a_program_is_refused_and_not_repeated(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match="set the environment variable FIGSHARE_TOKEN") as refused:
        load_config(**arguments, environ={})
    assert "0123456789abcdef" not in str(refused.value)


def test_a_config_does_not_show_its_token() -> None:
    config = load_config(search="climate", environ={"FIGSHARE_TOKEN": "0123456789abcdef"})
    assert config.token is not None
    assert "0123456789abcdef" not in repr(config)
