"""A client without limits, a server of a few lines, and a clock that is set by hand."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
from aiohttp import web
from yarl import URL

from harvester.client import Client, Credentials, RequestSender, SegmentPolicy, open_session
from harvester.client.download.segment_policy import DEFAULT_POLICY
from harvester.client.limits import Limiter, Rate, RateLimiter
from harvester.config import Retry, Timeouts
from harvester.config.keys import SERVICES
from harvester.config.proxies import NO_PROXIES, Proxies
from harvester.config.secrets import Secret
from harvester.figshare.v2 import V2

MAX_WAIT = 4.0
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


def limiters(rate: Callable[[], Rate] = lambda: Rate(float("inf"))) -> dict[str, Limiter]:
    """A limiter for each service; the longest pause is that of `client`."""
    return {name: Limiter(name, rate(), longest_pause=MAX_WAIT) for name in SERVICES}


@asynccontextmanager
async def client(
    api: URL,
    *,
    stats: URL | None = None,
    files: URL | None = None,
    limits: Mapping[str, RateLimiter] | None = None,
    attempts: int = 3,
    connect: float = 5.0,
    idle: float = 1.0,
    token: str | None = None,
    stats_credentials: Secret | None = None,
    slept: list[float] | None = None,
    proxies: Proxies = NO_PROXIES,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], Awaitable[None]] | None = None,
    lookup: Callable[[str], Awaitable[None]] | None = None,
    segment_policy: SegmentPolicy = DEFAULT_POLICY,
) -> AsyncIterator[Client]:
    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)

    timeouts = Timeouts(connect=connect, idle=idle)
    async with open_session(
        user_agent="test",
        timeouts=timeouts,
        trusted_hosts=frozenset({"localhost"} if lookup else ()),
        before_lookup=lookup,
    ) as session:
        origins = {"api": api, "stats": stats or URL("http://127.0.0.1:9")} | (
            {"files": files} if files else {}
        )
        sender = RequestSender(
            session,
            limiters=limits or limiters(),
            origins=origins,
            credentials=Credentials(
                origins,
                token_check=api / V2.account.path,
                token=Secret(token) if token else None,
                stats=stats_credentials,
            ),
            timeouts=timeouts,
            max_wait=MAX_WAIT,
            proxies=proxies,
            clock=clock,
        )
        made = Client(
            sender,
            Retry(attempts=attempts, max_wait=MAX_WAIT),
            segment_policy=segment_policy,
            clock=clock,
            sleep=wait or sleep,
            jitter=lambda: 1.0,
        )
        made.expect("api", api / "proof", orjson.loads)
        yield made


@dataclass
class Hours:
    """A clock that moves only while a task sleeps."""

    now: float = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def limiters(self) -> dict[str, Limiter]:
        """Limiters without a rate, whose pauses pass under this clock."""
        return {
            name: Limiter(name, math.inf, longest_pause=MAX_WAIT, clock=self.clock, sleep=self.sleep)
            for name in SERVICES
        }
