"""A client without limits, a server of a few lines, and a clock that is set by hand."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from aiohttp import web
from yarl import URL

from harvester.client import Client, SegmentPolicy, open_session
from harvester.client.download.segment_policy import USUAL
from harvester.client.limits import Limiter, Rate
from harvester.config import Retry, Timeouts
from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.config.secrets import Secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handle: Handler) -> AsyncIterator[URL]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield URL(f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client(
    api: URL,
    *,
    stats: URL | None = None,
    files: URL | None = None,
    pace: Callable[[], Rate] = lambda: Rate(float("inf")),
    attempts: int = 3,
    connect: float = 5.0,
    token: str | None = None,
    stats_credentials: Secret | None = None,
    slept: list[float] | None = None,
    proxies: Proxies = NO_PROXIES,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], Awaitable[None]] | None = None,
    lookup: Callable[[str], Awaitable[None]] | None = None,
    splitting: SegmentPolicy = USUAL,
) -> AsyncIterator[Client]:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    timeouts = Timeouts(connect=connect, idle=1.0)
    async with open_session(
        user_agent="test",
        timeouts=timeouts,
        trusted_hosts=frozenset({"localhost"} if lookup else ()),
        before_lookup=lookup,
    ) as session:
        made = Client(
            session,
            limiters={name: Limiter(name, pace()) for name in ("api", "stats", "files")},
            origins={
                "api": api,
                "stats": stats or URL("http://127.0.0.1:9"),
                **({"files": files} if files else {}),
            },
            retry=Retry(attempts=attempts, max_wait=4.0),
            timeouts=timeouts,
            splitting=splitting,
            token=Secret(token) if token else None,
            stats_credentials=stats_credentials,
            proxies=proxies,
            clock=clock,
            sleep=wait or sleep,
            jitter=lambda: 1.0,
        )
        made.expect("api", api / "proof", orjson.loads)
        yield made


@dataclass
class Hours:
    """A clock that moves only while somebody sleeps."""

    now: float = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
