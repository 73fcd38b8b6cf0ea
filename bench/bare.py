"""
The floor for a Python program that requests over HTTP: aiohttp and a loop.

Without options the bodies are read and thrown away: no limits, no retries, no files, no database. With
``--sqlite`` they are recorded as a ledger must at least: in SQLite, durably, by group commit in a thread.

    python -m bench.bare LIST --workers 32 [--uvloop] [--sqlite FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

BATCH_SECONDS = 0.2
Record = Callable[[str, bytes], None]


def forget(address: str, body: bytes) -> None:
    """Record nothing."""


async def fetch_all(addresses: list[str], workers: int, record: Record = forget) -> None:
    """Request every address, `workers` of them at a time."""
    waiting = iter(addresses)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(workers):
            group.create_task(_work(session, waiting, record))


async def _work(session: aiohttp.ClientSession, waiting: Iterator[str], record: Record) -> None:
    for address in waiting:
        async with session.get(address) as answer:
            record(address, await answer.read())
            if answer.status != 200:
                raise SystemExit(f"{address}: {answer.status}")


@asynccontextmanager
async def recording(path: Path) -> AsyncIterator[Record]:
    """Record bodies in a database: one durable commit for all that arrived in `BATCH_SECONDS`."""
    rows: list[tuple[str, bytes]] = []
    has_ended = False

    def write(batch: list[tuple[str, bytes]]) -> None:
        with database:
            database.executemany("INSERT INTO bodies VALUES (?, ?)", batch)

    async def keep() -> None:
        nonlocal rows
        while not has_ended or rows:
            await asyncio.sleep(0 if has_ended else BATCH_SECONDS)
            batch, rows = rows, []
            await asyncio.to_thread(write, batch)

    database = sqlite3.connect(path, check_same_thread=False)
    database.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE bodies (address TEXT, body BLOB)"
    )
    keeper = asyncio.create_task(keep())
    yield lambda address, body: rows.append((address, body))
    has_ended = True
    await keeper
    database.close()


async def record_all(addresses: list[str], workers: int, path: Path) -> None:
    """Request every address and record what it answers."""
    async with recording(path) as record:
        await fetch_all(addresses, workers, record)


def main() -> None:
    """Read the command line and the list, and request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("list", type=Path, help="a file of addresses, one a line")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--sqlite", type=Path, help="record the bodies in this new database")
    args = parser.parse_args()
    addresses = args.list.read_text().split()
    work = (
        record_all(addresses, args.workers, args.sqlite)
        if args.sqlite
        else fetch_all(addresses, args.workers)
    )
    if args.uvloop:
        import uvloop

        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    main()
