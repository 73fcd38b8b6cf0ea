"""What `make soak` does when one of its trials breaks off."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent


async def test_a_failed_trial_does_not_stop_the_others() -> None:
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.support.soak", "no-such-trial", "nor-this"], cwd=ROOT, check=False
    )
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.decode().splitlines()] == [
        "no-such-trial",
        "nor-this",
    ]
    assert done.stderr == b""
