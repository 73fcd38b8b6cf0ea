"""Sandbox server: the services on real sockets, each on its own port."""

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
    A received request.

    ``at``: seconds of `time.monotonic`. ``status``: of the answer, 0 if the connection was closed.
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

    ``api``, ``stats``, ``files``, ``storage``: its addresses.
    ``world``: its data. ``requests``: all requests so far. ``doubts``: starts and ends wrong answers.
    ``elsewhere``: another origin, if the settings use one; its requests have this name.
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
        self._listeners: dict[str, Listener] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Sandbox:
        ports = dict(zip(NAMES, self.settings.ports, strict=True))
        if self.settings.leads_elsewhere:
            ports[ELSEWHERE] = 0
        async with AsyncExitStack() as opened:
            for name, port in ports.items():
                self._listeners[name] = await self._open(name, port, opened)
            self._opened = opened.pop_all()
        base = {
            name: f"http://{self.settings.host}:{listener.port}" for name, listener in self._listeners.items()
        }
        self.api = f"{base['api']}/v2"
        self.stats, self.files, self.storage = base["stats"], base["files"], base["storage"]
        self.elsewhere = base.get(ELSEWHERE, "")
        self.world.at = Addresses(self.api, self.stats, self.files, self.storage, self.elsewhere)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.aclose()

    def requests_to(self, service: str) -> list[Seen]:
        """Return the requests to one service, in the order of their arrival."""
        return [seen for seen in self.requests if seen.service == service]

    def meet(self, faults: Mapping[str, float], seed: int = 0) -> None:
        """
        Inject other faults from now on: name to share, as in `Settings.faults`; `seed` 0 for the settings'
        seed.
        """
        self._injector = FaultInjector(seed or self.settings.seed, faults, self.settings.max_per_address)
        self._doom = PermanentFailures(self.world, self._injector)

    def signed(self, file_id: int) -> str:
        """Return a signed storage address of a file, as in redirects."""
        return self._services.signed(file_id, time.time() + self.settings.signed_seconds)

    def permanently_failing_items(self, fault: str | None = None) -> set[int]:
        """Return the items whose record always fails, by any or by one permanent fault."""
        return _failing_by(fault, self._doom.items())

    def permanently_failing_stats(self, fault: str | None = None) -> set[int]:
        """Return the items whose views or downloads always fail."""
        return _failing_by(fault, self._doom.stats())

    def permanently_failing_files(self, fault: str | None = None) -> set[int]:
        """
        Return the files that always fail; see `PermanentFailures.files` for exceptions.

        An item whose record always fails is only in `permanently_failing_items`.
        """
        return _failing_by(fault, self._doom.files())

    async def _open(self, name: str, port: int, opened: AsyncExitStack) -> Listener:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(name, request)

        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        opened.push_async_callback(runner.cleanup)
        assert runner.server is not None, "it is set up"
        listener = Listener(runner.server, self.settings.host)
        opened.push_async_callback(listener.close)
        await listener.open(port)
        return listener

    async def _handle(self, service: str, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        if self.settings.latency:
            await asyncio.sleep(self.settings.latency)
        try:
            parsed = await _read(service, request, self.settings.largest_page)
        except orjson.JSONDecodeError:
            return await send(request, error_answer(400, "The body is not JSON"), None, self.settings)
        answer, fault = self._decide(service, request, parsed, arrived)
        if fault == "refused":
            await self._listeners[service].shut(self.settings.refused_seconds)
        if self.settings.record:
            status = 0 if fault in BEFORE_ANY_ANSWER else answer.status
            self._note(arrived, service, request, parsed, status, fault)
        if self.settings.dateless or self.settings.clock_ahead:
            answer = replace(answer, headers={**answer.headers, "Date": self._date()})
        if self.settings.echoes:
            answer = echo(answer, request.headers)
        return await send(request, answer, fault, self.settings)

    def _date(self) -> str:
        """Return the time of the services' clock."""
        if self.settings.dateless:
            return "-"  # else the server would add its own date
        return formatdate(time.time() + self.settings.clock_ahead, usegmt=True)

    def _decide(
        self, service: str, request: web.Request, parsed: Request, arrived: float
    ) -> tuple[Answer, str | None]:
        """Return the answer, and the fault that changes it."""
        if arrived < self._blocked_until.get(service, -math.inf):
            return replaced("403-burst", Answer()), "403-burst"
        if self._is_over_cap(service, arrived):
            return error_answer(429, "Too many requests"), None
        address = _address(service, request, parsed)
        answer = self._services.answer(service, parsed)
        doubtful, doubt = self.doubts.play(service, parsed, address, answer)
        if doubt is not None:
            return doubtful, "reset-body" if doubtful.cut else doubt
        if answer.status not in {200, 206, 302}:
            return answer, None
        fault = self._injector.draw(service, parsed.path, address, is_range="Range" in parsed.headers)
        if fault == "403-burst":
            self._blocked_until[service] = arrived + self.settings.burst_seconds
        return self._spoilt(fault, service, parsed, answer), fault

    def _spoilt(self, fault: str | None, service: str, parsed: Request, answer: Answer) -> Answer:
        """Return the answer that a fault puts in the place of the right one."""
        if fault == "expired":
            file_id = int(parsed.path.rpartition("/")[2])
            return redirect(self._services.signed(file_id, time.time() - 1))
        if fault == "range-ignored":
            plain = {name: value for name, value in parsed.headers.items() if name != "Range"}
            return self._services.answer(service, replace(parsed, headers=plain))
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
        parsed: Request,
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
                parsed.fields,
            )
        )


def _address(service: str, request: web.Request, parsed: Request) -> str:
    """Return the address of a request with its page, by which faults and doubts are counted."""
    place = "" if service == "storage" else f"{request.query_string} {parsed.fields.get('page', '')}"
    return f"{parsed.method} {service} {parsed.path} {place} {parsed.headers.get('X-Cursor', '')}"


def _failing_by(fault: str | None, failing: Mapping[int, set[str]]) -> set[int]:
    return {number for number, faults in failing.items() if fault is None or fault in faults}


async def _read(service: str, request: web.Request, largest_page: int) -> Request:
    path = request.path.removeprefix("/v2") if service in {"api", ELSEWHERE} else request.path
    fields: dict[str, object] = dict(request.query)
    if request.method == "POST" and (body := await request.read()):
        content = orjson.loads(body)
        fields.update(content if isinstance(content, dict) else {})
    return Request(request.method, path, fields, request.headers, largest_page)


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve until cancelled; `announce`: called with the addresses, as lines for a shell."""
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
