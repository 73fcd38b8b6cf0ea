"""
A property: whatever happens to a folder, nothing is lost, all agrees, and a clean run ends with the truth.

Histories are made up by hypothesis, the same in every run; `make soak ONLY=histories` plays many long ones.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.histories import STEPS, Step, play

steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9999)), min_size=8, max_size=12)


@settings(
    max_examples=2,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a history takes minutes; its steps are told
    suppress_health_check=list(HealthCheck),
)
@given(steps)
def test_random_histories_lose_nothing_and_all_outputs_agree(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(play, Path(folder) / "out", steps)
