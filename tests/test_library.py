"""The library: its public names, their types in an installed wheel, and configs without a file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import harvester
from harvester import UsageError, load_config
from tests.support.installed import installed_wheel

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


@pytest.mark.parametrize("arguments", [{"tasks": "metadata"}, {"items": "12345"}])
def test_a_text_is_no_list_of_its_letters(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^[^\n]*: expected [^\n]*$"):
        load_config(**arguments, environ={})


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
