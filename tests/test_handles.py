"""A process that may open few files has less work in flight, or one message says so; no item fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from harvester.errors import ResourceLimit
from harvester.sandbox import Sandbox, Settings
from harvester.system.resource_limits import ENOUGH, OF_A_DOWNLOAD, OWN, no_threads
from tests.support.program import Ended, at, environment
from tests.support.truth import assert_complete

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name == "nt", reason="there is no such limit"),
]


async def with_few(files: int, *words: object) -> Ended:
    """Run the program where it may open only this number of files."""
    script = f'ulimit -n {files}; exec "$@"'
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "harvester", *map(str, words)]
    done = await anyio.run_process(command, env=environment(), check=False)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("files", [OWN + OF_A_DOWNLOAD, pytest.param(64, marks=pytest.mark.nightly)])
async def test_with_few_open_files_fewer_workers_harvest_everything(files: int, tmp_path: Path) -> None:
    async with Sandbox(Settings(items=12, heavy=0)) as sandbox:
        ended = await with_few(files, "run", "--search", "survey", "-o", tmp_path, *at(sandbox))
        assert ended.status == 0
        assert ended.err.count("open files: too few are allowed") == 1
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"))


async def test_with_too_few_open_files_nothing_starts_and_one_error_is_printed(tmp_path: Path) -> None:
    async with Sandbox(Settings(items=30)) as sandbox:
        ended = await with_few(20, "run", "--search", "survey", "-o", tmp_path / "out", *at(sandbox))
        assert ended.status == 3
        assert ended.err.count("\n") == 1
        assert "open files: 20 are too few" in ended.err
        assert "ulimit -n" in ended.err
        assert not sandbox.requests


def test_a_thread_limit_is_reported_as_such() -> None:
    assert ENOUGH > OWN
    found = no_threads(RuntimeError("can't start new thread"))
    assert isinstance(found, ResourceLimit)
    assert "ulimit -u" in str(found)
    assert no_threads(RuntimeError("another")) is None
    assert no_threads(ValueError("can't start new thread")) is None
