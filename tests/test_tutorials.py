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
from tests.support.program import environment

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


@pytest.mark.parametrize("name", ["repository-manager", "preservation", "data-science"])
async def test_a_tutorial_runs_from_an_empty_folder(name: str, tmp_path: Path) -> None:
    programs, folder = tmp_path / "bin", tmp_path / "empty"
    programs.mkdir()
    folder.mkdir()
    for program, words in (("harvester", "-m harvester"), ("python3", "")):
        (programs / program).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        (programs / program).chmod(0o755)
    async with Sandbox(Settings(items=120, heavy=0, record=False)) as sandbox:
        env = environment(
            HARVESTER_SERVICES_API=sandbox.api,
            HARVESTER_SERVICES_STATS=sandbox.stats,
            FIGSHARE_TOKEN="sandbox-token",
            FIGSHARE_STATS="sandbox:sandbox-password",
        )
        env["PATH"] = f"{programs}:{env['PATH']}"
        for block in blocks(TUTORIALS / f"{name}.md"):
            done = await anyio.run_process(["sh", "-c", runnable(block)], cwd=folder, env=env, check=False)
            is_damage = "conv=notrunc" in block
            assert done.returncode == int(is_damage), f"{block}\n{done.stderr.decode()}"
