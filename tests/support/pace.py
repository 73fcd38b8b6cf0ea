"""
`make pace`: how close a run under a limit comes to the lower bound, and whether it keeps the limit.

500 items of the sandbox, all three tasks, 20 requests a second for each service. The lower bound is the
largest of requests ÷ rate over the services; the wall time is that of the whole program.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from bench.sandboxes import busiest_second
from harvester.sandbox import Sandbox, Settings
from tests.support.program import at, harvester
from tests.support.truth import assert_complete

ITEMS = 500
RATE = 20


async def measure() -> bool:
    """Run, compare with the truth, print the figures; tell whether they hold."""
    async with Sandbox(Settings(items=ITEMS + 8)) as sandbox:
        with tempfile.TemporaryDirectory() as folder:
            started = anyio.current_time()
            ended = await harvester("run", "--search", "survey", "-o", folder, *at(sandbox, str(RATE)))
            wall = anyio.current_time() - started
            assert ended.status == 0, ended.err
            ids = sandbox.world.search("survey")
            assert_complete(Path(folder), sandbox, ids)
        arrived = {
            name: [seen.at for seen in sandbox.requests_to(name)] for name in ("api", "stats", "files")
        }
        bound = max(len(times) / RATE for times in arrived.values())
        worst = {name: busiest_second(times) for name, times in arrived.items()}
        print(f"{len(ids)} items at {RATE} requests a second for each service")
        for name, times in arrived.items():
            print(
                f"{name:6} {len(times):5} requests, {len(times) / RATE:6.1f} s, busiest second {worst[name]}"
            )
        print(f"wall {wall:.1f} s ÷ lower bound {bound:.1f} s = {wall / bound:.3f}")
        return wall <= 1.1 * bound and max(worst.values()) <= RATE + 1


if __name__ == "__main__":
    sys.exit(not anyio.run(measure))
