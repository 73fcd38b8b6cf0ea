"""
Reads the listing of an institution into a ledger, and no more: `python -m tests.support.listing API FOLDER`.

A process of its own, so that it can be killed and its memory be measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from harvester import load_config
from harvester.engine.listing import Producer
from harvester.engine.progress import RunCounters
from harvester.jobs.services import connect
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import RunSpec

TASKS = frozenset({"metadata"})


async def read(api: str, folder: Path) -> None:
    """Read the listing, from where a process that was killed had left it."""
    folder.mkdir(exist_ok=True)
    sources = [{"kind": "institution", "id": 319}]
    config = load_config(
        options={"services.api": api, "sources": sources, "rate.api": float("inf")}, environ={}
    )
    ledger = Ledger(folder)
    async with ledger.hold():
        await ledger.begin(RunSpec(TASKS, with_files=False))
        async with connect(config) as connected:
            producer = Producer(
                ledger=ledger,
                figshare=connected.figshare,
                sources=config.sources,
                tasks=TASKS,
                counters=RunCounters(),
                stopping=anyio.Event(),
            )
            await producer.run()


if __name__ == "__main__":
    anyio.run(read, sys.argv[1], Path(sys.argv[2]))
