"""What all tests have: the sandbox on real sockets, Ctrl-C as a terminal sends it, and a fast disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from harvester.sandbox import Sandbox, Settings

pytest.register_assert_rewrite("tests.support")

# A shell starts what runs in the background with Ctrl-C ignored, and that is inherited; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each run reads the certificates that a user names, 90 ms; tests of TLS name their own.
for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
    os.environ.pop(variable, None)

# A run waits for its disk at each commit. What a disk has after a power cut is tested on a disk of its own.
MEMORY = "/dev/shm"
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
    os.environ["TMPDIR"] = MEMORY
    tempfile.tempdir = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """
    In a run of several processes, import a share of the test modules first.

    So each process compiles its share only, and finds the others compiled when it collects.
    """
    worker: dict[str, Any] = getattr(session.config, "workerinput", {})
    if worker and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        names = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))
        for name in names[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
            with contextlib.suppress(Exception):  # collecting reports it
                import_module(f"tests.{name}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world() -> Settings:
    return Settings(items=200)


@pytest.fixture
async def sandbox(world: Settings) -> AsyncIterator[Sandbox]:
    async with Sandbox(world) as running:
        yield running
