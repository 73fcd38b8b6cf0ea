"""The power goes: what the ledger calls done is on the disk, whole, and the next run completes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvester.sandbox import Settings
from tests.support.power import WORLD, cut_power, hindrance

pytestmark = pytest.mark.anyio


# Their cuts: right after a commit, in the midst of anything, and with a partial file written back.
@pytest.mark.parametrize(
    ("seed", "world"),
    [
        (3, Settings(items=60, heavy=1, heavy_size=6_000_000, latency=0.003)),
        *(pytest.param(seed, WORLD, marks=pytest.mark.nightly) for seed in (3, 4, 6)),
    ],
)
async def test_a_power_cut_loses_nothing_that_was_recorded(
    seed: int, world: Settings, tmp_path: Path
) -> None:
    if reason := hindrance(tmp_path):
        pytest.skip(reason)
    found = await cut_power(1, tmp_path, seed, world)
    assert found.startswith("power cut × 1: ")
