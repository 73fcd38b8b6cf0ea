"""
The ceiling for a Python program that asks over HTTP: aiohttp and a loop, bodies read and thrown away.

No limits, no retries, no files, no database: ``python -m bench.bare LIST --workers 32 [--uvloop]``.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp


async def fetch_all(addresses: list[str], workers: int) -> None:
    """Ask for every address, so many at once."""
    waiting = iter(addresses)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(workers):
            group.create_task(_work(session, waiting))


async def _work(session: aiohttp.ClientSession, waiting: Iterator[str]) -> None:
    for address in waiting:
        async with session.get(address) as answer:
            await answer.read()
            if answer.status != 200:
                raise SystemExit(f"{address}: {answer.status}")


def main() -> None:
    """Read the command line and the list, and ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("list", type=Path, help="a file of addresses, one a line")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--uvloop", action="store_true")
    args = parser.parse_args()
    work = fetch_all(args.list.read_text().split(), args.workers)
    if args.uvloop:
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
