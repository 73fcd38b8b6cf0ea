"""The power goes: what the ledger calls done is on the disk, whole, and the next run completes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.power import cut_power, hindrance

pytestmark = pytest.mark.anyio


# Their cuts: right after a commit, in the midst of anything, and with a partial file written back.
@pytest.mark.parametrize(
    "seed", [3, pytest.param(4, marks=pytest.mark.nightly), pytest.param(6, marks=pytest.mark.nightly)]
)
async def test_a_power_cut_loses_nothing_that_was_recorded(seed: int, tmp_path: Path) -> None:
    if reason := hindrance(tmp_path):
        pytest.skip(reason)
    told = await cut_power(1, tmp_path, seed)
    assert told.startswith("power cut × 1: ")
