"""The sandbox on real sockets: four services on ports of their own."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType

import orjson
from aiohttp import web

from harvester.sandbox.answers import Answer, error_answer, redirect, replaced, send
from harvester.sandbox.faults import Dice
from harvester.sandbox.services import Asked, Services
from harvester.sandbox.settings import Settings
from harvester.sandbox.world import Addresses, World

NAMES = ("api", "stats", "files", "storage")


@dataclass(frozen=True)
class Seen:
    """
    A request as it arrived.

    ``at``: seconds of `time.monotonic`; ``status``: what was answered, 0 where the connection was cut.
    """

    at: float
    service: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    fault: str | None


class Sandbox:
    """
    A figshare look-alike that serves while the context lasts.

    ``api``, ``stats``, ``files``, ``storage`` are its addresses, ``world`` is the truth behind it and
    ``requests`` what was asked so far.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.world = World(self.settings)
        self.requests: list[Seen] = []
        self._services = Services(self.world)
        self._dice = Dice(self.settings.seed, self.settings.faults, self.settings.max_per_address)
        self._recent: dict[str, deque[float]] = {name: deque() for name in NAMES}
        self._runners: list[web.AppRunner] = []

    async def __aenter__(self) -> Sandbox:
        ports = [await self._start(name, port) for name, port in zip(NAMES, self.settings.ports, strict=True)]
        base = [f"http://{self.settings.host}:{port}" for port in ports]
        self.api, self.stats, self.files, self.storage = f"{base[0]}/v2", *base[1:]
        self.world.at = Addresses(self.api, self.stats, self.files, self.storage)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self._runners:
            await runner.cleanup()

    def asked(self, service: str) -> list[Seen]:
        """Return the requests to one service, in the order of their arrival."""
        return [seen for seen in self.requests if seen.service == service]

    async def _start(self, name: str, port: int) -> int:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(name, request)

        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self.settings.host, port)
        await site.start()
        bound: int = runner.addresses[0][1]
        return bound

    async def _handle(self, service: str, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        try:
            asked = await _read(service, request)
        except orjson.JSONDecodeError:
            return await send(request, error_answer(400, "The body is not JSON"), None, 0)
        fault: str | None = None
        if self._is_over_cap(service, arrived):
            answer = error_answer(429, "Too many requests")
        else:
            answer = self._services.answer(service, asked)
            if answer.status in {200, 206, 302}:
                fault = self._throw(service, request, asked)
                answer = self._spoilt(fault, service, asked, answer)
        if self.settings.record:
            self._note(arrived, service, request, 0 if fault == "reset" else answer.status, fault)
        return await send(request, answer, fault, self.settings.stall_seconds)

    def _spoilt(self, fault: str | None, service: str, asked: Asked, answer: Answer) -> Answer:
        """Return the answer that a fault puts in the place of the right one."""
        if fault == "expired":
            file_id = int(asked.path.rpartition("/")[2])
            return redirect(self._services.signed(file_id, time.time() - 1))
        if fault == "range-ignored":
            plain = {name: value for name, value in asked.headers.items() if name != "Range"}
            return self._services.answer(service, replace(asked, headers=plain))
        return replaced(fault, answer)

    def _throw(self, service: str, request: web.Request, asked: Asked) -> str | None:
        place = "" if service == "storage" else f"{request.query_string} {asked.fields.get('page', '')}"
        cursor = asked.headers.get("X-Cursor", "")
        return self._dice.throw(
            service,
            f"{asked.method} {service} {asked.path} {place} {cursor}",
            is_range="Range" in asked.headers,
            is_record="/articles/" in asked.path and asked.path.rpartition("/")[2].isdecimal(),
        )

    def _is_over_cap(self, service: str, now: float) -> bool:
        cap = self.settings.rate_cap
        if math.isinf(cap) or service == "storage":
            return False
        recent = self._recent[service]
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= cap:
            return True
        recent.append(now)
        return False

    def _note(
        self, arrived: float, service: str, request: web.Request, status: int, fault: str | None
    ) -> None:
        headers = dict(request.headers)
        self.requests.append(
            Seen(arrived, service, request.method, request.path, request.query_string, headers, status, fault)
        )


async def _read(service: str, request: web.Request) -> Asked:
    path = request.path.removeprefix("/v2") if service == "api" else request.path
    fields: dict[str, object] = dict(request.query)
    if request.method == "POST" and (body := await request.read()):
        told = orjson.loads(body)
        fields.update(told if isinstance(told, dict) else {})
    return Asked(request.method, path, fields, request.headers)


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve until cancelled; `announce` is told the addresses, as lines that a shell can read."""
    async with Sandbox(settings) as sandbox:
        announce(
            f"# figshare's sandbox: {settings.items} public items, {settings.private_items} private ones\n"
            f"# files {sandbox.files}, storage {sandbox.storage}\n"
            f"export HARVESTER_SERVICES_API={sandbox.api}\n"
            f"export HARVESTER_SERVICES_STATS={sandbox.stats}\n"
            f"export FIGSHARE_TOKEN={settings.token}\n"
            "# ready: paste the exports into another terminal and harvest; Ctrl-C ends the sandbox"
        )
        await asyncio.Event().wait()
