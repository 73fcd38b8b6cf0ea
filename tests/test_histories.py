"""
A property: whatever happens to a folder, nothing is lost, all agrees, and a clean run ends with the truth.

A history is made up from a seed, the same in every run; `make soak ONLY=histories` plays many long ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.histories import made_up, play

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", [12, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(6))])
async def test_random_histories_lose_nothing_and_all_outputs_agree(seed: int, tmp_path: Path) -> None:
    await play(tmp_path / "out", made_up(seed, 9))
