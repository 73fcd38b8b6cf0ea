"""Two routes to one file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from harvester.figshare.downloads import DownloadRoutes
from harvester.models import ItemId, ItemKey, PendingFile, RemoteFile
from harvester.storage.local.store import Store
from tests.support.http import Hours, client, served
from tests.support.stores import download as download_file

CONTENT = b"the bytes of the file"


Answer = Callable[[int], web.Response]


def comes(_: int) -> web.Response:
    return web.Response(body=CONTENT)


def is_gone(_: int) -> web.Response:
    return web.json_response({"message": "No such file"}, status=404)


@asynccontextmanager
async def two_routes(
    own: Answer, api: Answer, folder: Path, *, private: bool = False
) -> AsyncIterator[tuple[Callable[[int], Awaitable[None]], list[str], Hours]]:
    """Download routes, with answers by the number of requests; the function downloads a file by its id."""
    asked: list[str] = []

    def answering(name: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(_: web.Request) -> web.StreamResponse:
            asked.append(name)
            return answer(asked.count(name))

        return handle

    hours = Hours()
    async with (
        served(answering("own", own)) as own_address,
        served(answering("api", api)) as api_address,
        client(api_address, attempts=3, token="t") as made,
    ):
        routes = DownloadRoutes(made, api=api_address, clock=hours.clock)
        store = Store(folder)

        async def download(file_id: int) -> None:
            file = RemoteFile(file_id, "x.csv", "", len(CONTENT), None, str(own_address / "f"), is_link=False)
            pending = PendingFile(1, ItemId(5), file, f"files/5/{file_id}.csv", private, ItemKey(5))
            await download_file(routes, store, pending)

        yield download, asked, hours
