"""Files that come just fast enough not to be given up: others go before them, and they come all the same."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from harvester import harvest
from harvester.client.download.slots import SLOW, ConnectionSlots, SlotUsage
from harvester.config import Timeouts
from harvester.errors import Deferred
from harvester.sandbox import Sandbox, Settings
from tests.support.http import Hours
from tests.support.program import config
from tests.support.truth import assert_complete

pytestmark = pytest.mark.anyio

TIMEOUTS = Timeouts(idle=60.0)
LEAST = TIMEOUTS.min_speed * SLOW


SLOWLY = {"timeouts.min_speed": 10_000, "timeouts.idle": 0.3}


class SlowDownload:
    """A file that uses one of two connections, under a clock of its own."""

    def __init__(self, slots: ConnectionSlots, deferrals: int = 0) -> None:
        self.hours = Hours()
        self.usage = SlotUsage(slots, TIMEOUTS, deferrals, self.hours.clock)

    def receives(self, seconds: int, rate: int) -> None:
        with self.usage.receiving():
            for _ in range(seconds):
                self.hours.now += 1
                self.usage.add(rate)


async def test_a_slow_file_is_deferred_for_a_waiting_one() -> None:
    slots = ConnectionSlots(1)
    async with anyio.create_task_group() as group, slots.first():
        SlowDownload(slots).receives(200, rate=1100)  # no file waits

        async def wait() -> None:
            async with slots.first():
                pass

        group.start_soon(wait)
        await anyio.sleep(0.01)
        SlowDownload(slots).receives(59, rate=1100)
        SlowDownload(slots).receives(200, rate=int(LEAST))
        with pytest.raises(Deferred, match="only 66000 bytes in 60 s while other files wait"):
            SlowDownload(slots).receives(60, rate=1100)
        again = SlowDownload(slots, deferrals=2)
        again.receives(239, rate=1100)
        with pytest.raises(Deferred):
            again.receives(1, rate=1100)
        cut = SlowDownload(slots)
        cut.receives(30, rate=1100)
        cut.hours.now += 500  # what is waited for between two answers is nothing that it holds
        cut.receives(29, rate=1100)
        with pytest.raises(Deferred):
            cut.receives(1, rate=1100)


def settings(slow: int) -> Settings:
    return Settings(items=14, heavy=1, heavy_size=60_000, slow_items=slow, slow_rate=40_000)


async def test_a_deferred_file_is_resumed_after_the_others(tmp_path: Path) -> None:
    async with Sandbox(settings(slow=2)) as sandbox:
        (heavy,) = sandbox.world.with_trait("heavy")
        more: dict[str, object] = {"concurrency.downloads": 1, **SLOWLY}
        await harvest(config(sandbox, tmp_path, **more, tasks=["metadata"]))
        summary = await harvest(config(sandbox, tmp_path, **more, tasks=["metadata", "files"]))
        assert summary.exit_status == 0
        assert summary.run.files.failed == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"), statistics=False)
        paths = [seen.path for seen in sandbox.requests_to("storage")]
        slow = [f"/{file['id']}" for file in sandbox.world.files(heavy)]
        assert paths[-1] in slow
        assert paths.index(paths[-1]) < len(paths) / 2, "it was started before most others"
        assert "Range" in sandbox.requests_to("storage")[-1].headers


async def test_a_slow_file_is_not_deferred_if_none_waits(tmp_path: Path) -> None:
    async with Sandbox(settings(slow=14)) as sandbox:
        (heavy,) = sandbox.world.with_trait("heavy")
        more: dict[str, object] = dict(SLOWLY)
        sources = [{"kind": "items", "ids": [heavy]}]
        summary = await harvest(config(sandbox, tmp_path, **more, sources=sources))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, [heavy])
        assert len(sandbox.requests_to("storage")) == len(sandbox.world.files(heavy))


async def test_if_all_files_are_slow_all_are_fetched(tmp_path: Path) -> None:
    slow = Settings(items=6, heavy=0, slow_items=6, slow_rate=30_000)
    async with Sandbox(slow) as sandbox:
        more: dict[str, object] = {
            "concurrency.downloads": 4,
            "timeouts.min_speed": 4_000,
            "timeouts.idle": 0.3,
        }
        summary = await harvest(config(sandbox, tmp_path, **more, tasks=["metadata", "files"]))
        assert summary.exit_status == 0
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"), statistics=False)
