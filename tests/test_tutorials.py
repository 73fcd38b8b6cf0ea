"""Every command of the tutorials runs, in their order, from an empty folder against the sandbox."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from harvester.sandbox import Sandbox, Settings
from tests.support.program import Ended, environment, harvester

pytestmark = pytest.mark.anyio

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
BY_HAND = ("harvester sandbox", "export ", "python3 -m venv")
"""What begins a block that sets up a terminal: the test has its own sandbox and environment."""


def blocks(page: Path) -> list[str]:
    found = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if not block.startswith(BY_HAND)]


def runnable(block: str) -> str:
    """Leave out what downloads packages, and programs that need packages that are not here."""
    lines = [line for line in block.splitlines() if not line.startswith("pip install")]
    needs = {name for name in ("pandas", "duckdb") if f"import {name}" in block and find_spec(name) is None}
    kept = [line for line in lines if not (needs and line.startswith("python3 "))]
    return "\n".join(kept).replace("--rate 20", "--rate inf").replace(" = 20.0", " = inf")


async def run(block: str, folder: Path, env: dict[str, str]) -> Ended:
    """Run a block in a shell, or without one where it is only commands of the program."""
    lines = block.splitlines()
    if not all(line.startswith("harvester ") and "|" not in line for line in lines):
        done = await anyio.run_process(["sh", "-c", block], cwd=folder, env=env, check=False)
        return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())
    ended = Ended(0, "", "")
    for line in lines:
        ended = await harvester(*shlex.split(line)[1:], cwd=folder, env=env)
        if ended.status:
            break
    return ended


@pytest.mark.parametrize("name", ["repository-manager", "preservation", "data-science"])
async def test_a_tutorial_runs_from_an_empty_folder(name: str, tmp_path: Path) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir()
    folder.mkdir()
    for program, words in (("harvester", "-m harvester"), ("python3", "")):
        (programs / program).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (programs / program).chmod(0o755)
    async with Sandbox(Settings(items=40, heavy=0, record=False)) as sandbox:
        env = environment(
            HARVESTER_SERVICES_API=sandbox.api,
            HARVESTER_SERVICES_STATS=sandbox.stats,
            FIGSHARE_TOKEN="sandbox-token",
            FIGSHARE_STATS="sandbox:sandbox-password",
            **{f"HARVESTER_RATE_{service}": "inf" for service in ("API", "STATS", "FILES")},
        )
        env["PATH"] = f"{programs}:{env['PATH']}"
        for block in blocks(TUTORIALS / f"{name}.md"):
            ended = await run(runnable(block), folder, env)
            is_damage = "conv=notrunc" in block
            assert ended.status == int(is_damage), f"{block}\n{ended.err}"
