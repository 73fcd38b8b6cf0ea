"""Requests to a sandbox, without the harvester."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from harvester.sandbox import Sandbox, Settings

AUTHORISED = {"Authorization": "token sandbox-token"}


@asynccontextmanager
async def browsing(**settings: Any) -> AsyncIterator[tuple[Sandbox, aiohttp.ClientSession]]:
    async with Sandbox(Settings(**settings)) as sandbox, aiohttp.ClientSession() as session:
        yield sandbox, session


async def ask(
    session: aiohttp.ClientSession, url: str, **more: Any
) -> tuple[int, Any, CIMultiDictProxy[str]]:
    async with session.get(url, **more) as response:
        body = await response.json() if response.content_type == "application/json" else await response.read()
        return response.status, body, response.headers
