"""`harvester completion`: the scripts complete commands, options and values in the shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harvester.cli.arguments.checks import SHELLS
from harvester.cli.completion import VALUES, completion_script
from harvester.cli.parser import build_parser, commands_of
from tests.support.program import harvester
from tests.support.shells import PROMPT, shell

pytestmark = pytest.mark.anyio

CASES = [
    ("harvester ru", "harvester run "),
    ("harvester run --sea", "harvester run --search "),
    ("harvester run --type data", "harvester run --type dataset "),
    ("harvester run --order cit", "harvester run --order cites "),
    ("harvester run --tasks break", "harvester run --tasks breakdown "),
    ("harvester run --refresh brea", "harvester run --refresh breakdown "),
    ("harvester sandbox --fault chall", "harvester sandbox --fault challenge=0.1 "),
    ("harvester export --formats js", "harvester export --formats jsonl "),
    ("harvester run -c ow", "harvester run -c own.toml "),
    ("harvester run -o arch", "harvester run -o archive/"),
    ("harvester verify arch", "harvester verify archive/"),
    ("harvester completion fi", "harvester completion fish "),
    ("harvester help stat", "harvester help status "),
]
"""What is typed before Tab, and what stands there after it."""
LIST = ("harvester run --tasks metadata,fi", "harvester run --tasks metadata,files ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    (tmp_path / "own.toml").write_text("")
    (tmp_path / "own.txt").write_text("")
    for name in SHELLS:
        (tmp_path / f"script.{name}").write_text(completion_script(name), encoding="utf-8")
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def test_bash_completes(folder: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed here")
    lines = ("bind 'set enable-bracketed-paste off'", 'eval "$(cat script.bash)"', f"PS1='{PROMPT}'")
    with shell(["bash", "--norc", "--noprofile", "-i"], environment(folder), folder, *lines) as running:
        for line, completed in (*CASES, LIST):
            running.complete(line)
            assert running.has_shown(completed, seconds=5), (line, running.shown)


def test_zsh_completes(folder: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed here")
    lines = (
        "autoload -U compinit; compinit -u -D", "unsetopt PROMPT_SP PROMPT_CR", 'eval "$(cat script.zsh)"',
        f"PS1='{PROMPT}'",
    )  # fmt: skip
    with shell(["zsh", "-f", "-i"], environment(folder), folder, *lines) as running:
        for line, completed in CASES:
            running.complete(line)
            assert running.has_shown(completed, seconds=5), (line, running.shown)


def test_fish_completes(folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed here")
    ask = "\n".join(f"complete -C '{line}'; echo END" for line, _ in CASES)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source script.fish\n{ask}"],
        env=environment(folder), cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    for (line, completed), answer in zip(CASES, done.stdout.split("END\n"), strict=False):
        words = [each.partition("\t")[0] for each in answer.splitlines()]
        assert words == [completed.split()[-1]], line
        if line.split()[-2].startswith("--"):
            assert "\t" not in answer, "an option's help is shown for each of its values"


@pytest.mark.parametrize("name", SHELLS)
def test_a_script_has_no_error(name: str, folder: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed here")
    done = subprocess.run([name, "-n", f"script.{name}"], cwd=folder, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


async def test_the_command_prints_the_script() -> None:
    ended = await harvester("completion", "bash")
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.rstrip("\n") == completion_script("bash").rstrip("\n")
    ended = await harvester("completion", "csh")
    assert (ended.status, ended.out) == (2, "")
    assert 'SHELL: unknown "csh"; known: bash, zsh, fish' in ended.err
    ended = await harvester("completion")
    assert "harvester: SHELL is missing\n" in ended.err


def test_values_are_known_for_options_that_are_there() -> None:
    there = {action.dest for command in commands_of(build_parser()).values() for action in command._actions}
    assert VALUES.keys() <= there
