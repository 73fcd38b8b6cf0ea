"""What people give for items: how each form is read, what it leads to, and what is said of what it is not."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from harvester.sandbox import Sandbox, Settings
from tests.conftest import at, harvester

pytestmark = pytest.mark.anyio

WORLD = Settings(items=84)


def summary(folder: Path) -> dict[str, dict[str, int]]:
    told: dict[str, dict[str, int]] = orjson.loads((folder / "summary.json").read_bytes())["folder"]
    return told


async def test_a_list_that_repeats_its_ids_many_times_is_read_to_its_end(tmp_path: Path) -> None:
    """As `cut -d, -f1 files.csv` gives them: 4,000 ids, five times each."""
    listed = tmp_path / "ids.txt"
    listed.write_text("".join(f"{item_id}\n" * 5 for item_id in range(100_001, 104_001)))
    ended = await harvester("list", "--items", listed, "--api", "http://127.0.0.1:9/v2")
    assert ended.status == 0, ended.err
    assert ended.out.split() == [str(item_id) for item_id in range(100_001, 104_001)]


async def test_a_run_of_a_list_that_repeats_itself_counts_what_it_repeats(tmp_path: Path) -> None:
    async with Sandbox(WORLD) as sandbox:
        ids = list(sandbox.world.public_ids[44:47])
        listed = tmp_path / "ids.txt"
        listed.write_text("".join(f"{ids[0]}\n" for _ in range(10_100)) + f"{ids[1]}\n{ids[2]}\n")
        words = ("--items", listed, "--tasks", "metadata")
        ended = await harvester("run", *words, "-o", tmp_path / "out", *at(sandbox))
        assert ended.status == 0, ended.err
        listings = summary(tmp_path / "out")["listings"]
        assert (listings["asked"], listings["found"], listings["repeated"]) == (10_102, 3, 10_099)
        assert len(sandbox.asked("api")) == 3
        planned = await harvester("plan", *words, "-o", tmp_path / "other", "--json", *at(sandbox))
        assert orjson.loads(planned.out)["incomplete_listings"] == []
