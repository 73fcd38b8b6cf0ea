"""The sandbox on real sockets: its services on ports of their own."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from types import TracebackType
from typing import Any

import orjson
from aiohttp import web

from harvester.sandbox.answers import Answer, error_answer, redirect, replaced
from harvester.sandbox.catalogue import Addresses
from harvester.sandbox.delivery import BEFORE_ANY_ANSWER, send
from harvester.sandbox.doubts import Doubts
from harvester.sandbox.echoes import echo
from harvester.sandbox.faults import FaultInjector
from harvester.sandbox.listener import Listener
from harvester.sandbox.permanent_failures import PermanentFailures
from harvester.sandbox.request import Request
from harvester.sandbox.services import Services
from harvester.sandbox.settings import Settings
from harvester.sandbox.world import World

NAMES = ("api", "stats", "files", "storage")
ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Seen:
    """
    A request as it arrived.

    ``at``: seconds of `time.monotonic`; ``status``: what was answered, 0 where the connection was closed;
    ``fields``: query and JSON body, merged.
    """

    at: float
    service: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int
    fault: str | None
    fields: Mapping[str, Any] = field(default_factory=dict)


class Sandbox:
    """
    A figshare look-alike that serves while the context lasts.

    ``api``, ``stats``, ``files``, ``storage`` are its addresses, ``world`` is the truth behind it,
    ``requests`` what was asked so far, ``doubts`` begins and ends wrong answers; `doomed_items`,
    `doomed_stats` and `doomed_files` tell what no number of attempts brings under the permanent faults.
    ``elsewhere`` is another origin, where the settings lead to one; what is asked there is among the
    requests, under this name.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.world = World(self.settings)
        self.requests: list[Seen] = []
        self._services = Services(self.world)
        self.doubts = Doubts(self.world)
        self.meet(self.settings.faults)
        self._recent: dict[str, deque[float]] = {name: deque() for name in NAMES}
        self._blocked_until: dict[str, float] = {}
        self._doors: dict[str, Listener] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Sandbox:
        ports = dict(zip(NAMES, self.settings.ports, strict=True))
        if self.settings.leads_elsewhere:
            ports[ELSEWHERE] = 0
        async with AsyncExitStack() as opened:
            for name, port in ports.items():
                self._doors[name] = await self._open(name, port, opened)
            self._opened = opened.pop_all()
        base = {name: f"http://{self.settings.host}:{door.port}" for name, door in self._doors.items()}
        self.api = f"{base['api']}/v2"
        self.stats, self.files, self.storage = base["stats"], base["files"], base["storage"]
        self.elsewhere = base.get(ELSEWHERE, "")
        self.world.at = Addresses(self.api, self.stats, self.files, self.storage, self.elsewhere)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def asked(self, service: str) -> list[Seen]:
        """Return the requests to one service, in the order of their arrival."""
        return [seen for seen in self.requests if seen.service == service]

    def meet(self, faults: Mapping[str, float], seed: int = 0) -> None:
        """Throw other faults from now on: name to share, as `Settings.faults`; `seed` 0 for the settings'."""
        self._dice = FaultInjector(seed or self.settings.seed, faults, self.settings.max_per_address)
        self._doom = PermanentFailures(self.world, self._dice)

    def signed(self, file_id: int) -> str:
        """Return an address of the storage for a file, as the routes to it redirect to."""
        return self._services.signed(file_id, time.time() + self.settings.signed_seconds)

    def doomed_items(self, fault: str | None = None) -> set[int]:
        """Return the items whose record can never be had, all of them or those of one permanent fault."""
        return _kept_by(fault, self._doom.items())

    def doomed_stats(self, fault: str | None = None) -> set[int]:
        """Return the items whose views or downloads can never be had."""
        return _kept_by(fault, self._doom.stats())

    def doomed_files(self, fault: str | None = None) -> set[int]:
        """
        Return the files that can never be had: see `PermanentFailures.files` for those that are not counted.

        An item whose record is doomed is among `doomed_items` alone.
        """
        return _kept_by(fault, self._doom.files())

    async def _open(self, name: str, port: int, opened: AsyncExitStack) -> Listener:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(name, request)

        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        opened.push_async_callback(runner.cleanup)
        assert runner.server is not None, "it is set up"
        door = Listener(runner.server, self.settings.host)
        opened.push_async_callback(door.close)
        await door.open(port)
        return door

    async def _handle(self, service: str, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        try:
            asked = await _read(service, request, self.settings.largest_page)
        except orjson.JSONDecodeError:
            return await send(request, error_answer(400, "The body is not JSON"), None, self.settings)
        answer, fault = self._decide(service, request, asked, arrived)
        if fault == "refused":
            await self._doors[service].shut(self.settings.refused_seconds)
        if self.settings.record:
            status = 0 if fault in BEFORE_ANY_ANSWER else answer.status
            self._note(arrived, service, request, asked, status, fault)
        if self.settings.dateless or self.settings.clock_ahead:
            answer = replace(answer, headers={**answer.headers, "Date": self._date()})
        if self.settings.echoes:
            answer = echo(answer, request.headers)
        return await send(request, answer, fault, self.settings)

    def _date(self) -> str:
        """Return the time as the services' clock has it."""
        if self.settings.dateless:
            return "-"  # the server would put its own date where there is none
        return formatdate(time.time() + self.settings.clock_ahead, usegmt=True)

    def _decide(
        self, service: str, request: web.Request, asked: Request, arrived: float
    ) -> tuple[Answer, str | None]:
        """Return what is answered, and the fault that spoils it or has already."""
        if arrived < self._blocked_until.get(service, -math.inf):
            return replaced("403-burst", Answer()), "403-burst"
        if self._is_over_cap(service, arrived):
            return error_answer(429, "Too many requests"), None
        address = _address(service, request, asked)
        answer = self._services.answer(service, asked)
        doubtful, doubt = self.doubts.play(service, asked, address, answer)
        if doubt is not None:
            return doubtful, "reset-body" if doubtful.cut else doubt
        if answer.status not in {200, 206, 302}:
            return answer, None
        fault = self._dice.throw(service, asked.path, address, is_range="Range" in asked.headers)
        if fault == "403-burst":
            self._blocked_until[service] = arrived + self.settings.burst_seconds
        return self._spoilt(fault, service, asked, answer), fault

    def _spoilt(self, fault: str | None, service: str, asked: Request, answer: Answer) -> Answer:
        """Return the answer that a fault puts in the place of the right one."""
        if fault == "expired":
            file_id = int(asked.path.rpartition("/")[2])
            return redirect(self._services.signed(file_id, time.time() - 1))
        if fault == "range-ignored":
            plain = {name: value for name, value in asked.headers.items() if name != "Range"}
            return self._services.answer(service, replace(asked, headers=plain))
        return replaced(fault, answer)

    def _is_over_cap(self, service: str, now: float) -> bool:
        cap = self.settings.rate_cap
        if math.isinf(cap) or service in {"storage", ELSEWHERE}:
            return False
        recent = self._recent[service]
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= cap:
            return True
        recent.append(now)
        return False

    def _note(
        self,
        arrived: float,
        service: str,
        request: web.Request,
        asked: Request,
        status: int,
        fault: str | None,
    ) -> None:
        self.requests.append(
            Seen(
                arrived,
                service,
                request.method,
                request.path,
                request.query_string,
                dict(request.headers),
                status,
                fault,
                asked.fields,
            )
        )


def _address(service: str, request: web.Request, asked: Request) -> str:
    """Return what a request is for, with its page: so often it meets a fault or a doubt."""
    place = "" if service == "storage" else f"{request.query_string} {asked.fields.get('page', '')}"
    return f"{asked.method} {service} {asked.path} {place} {asked.headers.get('X-Cursor', '')}"


def _kept_by(fault: str | None, doomed: Mapping[int, set[str]]) -> set[int]:
    return {number for number, faults in doomed.items() if fault is None or fault in faults}


async def _read(service: str, request: web.Request, largest_page: int) -> Request:
    path = request.path.removeprefix("/v2") if service in {"api", ELSEWHERE} else request.path
    fields: dict[str, object] = dict(request.query)
    if request.method == "POST" and (body := await request.read()):
        told = orjson.loads(body)
        fields.update(told if isinstance(told, dict) else {})
    return Request(request.method, path, fields, request.headers, largest_page)


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve until cancelled; `announce` is told the addresses, as lines that a shell can read."""
    async with Sandbox(settings) as sandbox:
        announce(
            f"# figshare's sandbox: {settings.items} public items, {settings.private_items} private ones\n"
            f"# files {sandbox.files}, storage {sandbox.storage}\n"
            f"export HARVESTER_SERVICES_API={sandbox.api}\n"
            f"export HARVESTER_SERVICES_STATS={sandbox.stats}\n"
            f"export FIGSHARE_TOKEN={settings.token}\n"
            f"export FIGSHARE_STATS={settings.stats_credentials}\n"
            "# ready: paste the exports into another terminal and harvest; Ctrl-C ends the sandbox"
        )
        await asyncio.Event().wait()
