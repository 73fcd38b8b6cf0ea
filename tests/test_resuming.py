"""A file that comes in several answers: never half of one and half of another, and never in vain for ever."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from harvester import harvest
from harvester.errors import ChecksumMismatch, ConnectionFailed, ServerError
from harvester.figshare.downloads import DownloadRoutes
from harvester.models import ItemId, ItemKey, PendingFile, RemoteFile
from harvester.sandbox import Sandbox, Settings
from harvester.storage.local.store import Store
from tests.support.http import client, served
from tests.support.program import config
from tests.support.stores import download as download_file
from tests.support.truth import assert_complete, rows

pytestmark = pytest.mark.anyio

OLD, NEW = b"old bytes " * 1000, b"new bytes " * 1000
Download = Callable[..., Awaitable[None]]


@dataclass
class Storage:
    """
    Gives one file, and obeys Range whatever If-Range says.

    ``most``: bytes of a part at most. ``cut_after``: bytes until the connection is cut. ``shift``:
    bytes by which parts begin later. ``asked``: the Range headers that came, "" for none.
    """

    content: bytes = OLD
    etag: str = '"old"'
    most: int = 1 << 40
    cut_after: int = 1 << 40
    shift: int = 0
    on_answer: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Range", ""))
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.asked[-1])
        begin, size = (int(found[1]) + self.shift if found else 0), len(self.content)
        end = min(size, begin + self.most) if found else size
        headers = {"ETag": self.etag} if self.etag else {}
        if found:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        response = web.StreamResponse(status=206 if found else 200, headers=headers)
        response.content_length = end - begin
        body = self.content[begin:end]
        await response.prepare(request)
        await response.write(body[: self.cut_after])
        is_cut = len(body) > self.cut_after
        self.on_answer()
        if is_cut and request.transport is not None:
            request.transport.close()
        return response


@asynccontextmanager
async def downloading(storage: Storage, folder: Path, attempts: int = 3) -> AsyncIterator[Download]:
    """Let a file be downloaded by its md5, None for none, and by the name of the route that gives it."""

    async def fails(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async with (
        served(storage.handle) as own,
        served(fails) as api,
        client(api, attempts=attempts) as made,
    ):
        routes, store = DownloadRoutes(made, api=api), Store(folder)

        async def download(md5: bytes | None) -> None:
            digest = hashlib.md5(md5).hexdigest() if md5 is not None else None
            file = RemoteFile(1, "x", "", len(OLD), digest, str(own / "f"), is_link=False)
            await download_file(
                routes, store, PendingFile(1, ItemId(5), file, "files/5/x", False, ItemKey(5))
            )

        yield download


@pytest.mark.parametrize("etags", [('"old"', '"new"'), ('"old"', ""), ('"old"', 'W/"old"'), ("", "")])
@pytest.mark.parametrize("md5", [None, NEW])
async def test_a_file_that_changes_between_two_answers_comes_as_one_of_them(
    md5: bytes | None, etags: tuple[str, str], tmp_path: Path
) -> None:
    storage = Storage(etag=etags[0], cut_after=4000)

    def change() -> None:
        storage.content, storage.etag, storage.cut_after = NEW, etags[1], 1 << 40

    storage.on_answer = change
    async with downloading(storage, tmp_path, attempts=6) as download:
        await download(md5)
    assert (tmp_path / "files/5/x").read_bytes() == NEW
    assert storage.asked[-1] == "", "from its first byte on"


async def test_without_an_md5_a_partial_file_of_an_earlier_run_is_not_resumed(tmp_path: Path) -> None:
    storage = Storage(cut_after=50)
    async with downloading(storage, tmp_path, attempts=1) as download:
        with pytest.raises(ConnectionFailed):
            await download(None)
    storage = Storage(content=NEW)
    async with downloading(storage, tmp_path) as download:
        await download(None)
    assert storage.asked == [""]
    assert (tmp_path / "files/5/x").read_bytes() == NEW


@pytest.mark.parametrize("md5", [None, OLD])
async def test_cut_responses_with_new_bytes_use_no_attempt(md5: bytes | None, tmp_path: Path) -> None:
    storage = Storage(cut_after=len(OLD) // 50)
    async with downloading(storage, tmp_path, attempts=2) as download:
        await download(md5)
    assert len(storage.asked) == 50
    assert (tmp_path / "files/5/x").read_bytes() == OLD


async def test_ranges_shorter_than_requested_are_continued(tmp_path: Path) -> None:
    storage = Storage(cut_after=5000, most=1000)
    async with downloading(storage, tmp_path, attempts=2) as download:
        await download(OLD)
    assert storage.asked == ["", *(f"bytes={place}-" for place in range(5000, 10_000, 1000))]


@pytest.mark.parametrize("slow", [{"cut_after": 1}, {"most": 1, "cut_after": 99}])
async def test_a_server_that_sends_single_bytes_is_not_requested_for_ever(
    slow: dict[str, int], tmp_path: Path
) -> None:
    storage = Storage(**slow)  # type: ignore[arg-type]  # by name
    async with downloading(storage, tmp_path, attempts=4) as download:
        with pytest.raises((ConnectionFailed, ServerError)):
            await download(OLD)
    assert len(storage.asked) <= 4


async def test_bytes_that_are_discarded_and_received_again_are_no_progress(tmp_path: Path) -> None:
    storage = Storage(cut_after=5000)

    def change() -> None:
        storage.etag = f'"{len(storage.asked)}"'

    storage.on_answer = change
    async with downloading(storage, tmp_path, attempts=4) as download:
        with pytest.raises((ConnectionFailed, ServerError)):
            await download(None)
    assert len(storage.asked) <= 1 + 4


async def test_another_range_than_requested_is_rejected_and_received_bytes_are_kept(
    tmp_path: Path,
) -> None:
    storage = Storage(cut_after=5000)

    def shift() -> None:
        storage.cut_after = 1 << 40
        storage.shift = 7 if len(storage.asked) == 1 else 0

    storage.on_answer = shift
    async with downloading(storage, tmp_path) as download:
        await download(OLD)
    assert storage.asked == ["", "bytes=5000-", "bytes=5000-"]
    storage = Storage(cut_after=5000, shift=7)
    storage.on_answer = lambda: setattr(storage, "cut_after", 1 << 40)
    async with downloading(storage, tmp_path, attempts=5) as download:
        await download(OLD)
    assert storage.asked[0] == storage.asked[-1] == "", "what cannot be resumed starts again"


# -- wrong bytes -----------------------------------------------------------------------------------------


@asynccontextmanager
async def two(own: list[bytes | int], api: list[bytes | int], folder: Path) -> AsyncIterator[list[str]]:
    """Download a file whose routes answer so, in turn, the last for ever; yields which were asked."""
    asked: list[str] = []

    def answering(name: str, answers: list[bytes | int]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            answer = answers[min(asked.count(name), len(answers) - 1)]
            asked.append(name)
            return web.Response(body=answer) if isinstance(answer, bytes) else web.Response(status=answer)

        return handle

    async with (
        served(answering("own", own)) as own_address,
        served(answering("api", api)) as api_address,
        client(api_address, attempts=6) as made,
    ):
        md5 = hashlib.md5(OLD).hexdigest()
        file = RemoteFile(1, "x", "", len(OLD), md5, str(own_address / "f"), is_link=False)
        routes = DownloadRoutes(made, api=api_address)
        try:
            await download_file(
                routes, Store(folder), PendingFile(1, ItemId(5), file, "x", False, ItemKey(5))
            )
            assert (folder / "x").read_bytes() == OLD
        except ChecksumMismatch:
            asked.append("final")
        yield asked


@pytest.mark.parametrize(
    ("own", "api", "asked"),
    [
        ([NEW], [OLD], ["own", "api"]),
        ([NEW], [NEW], ["own", "api", "final"]),
        ([NEW, OLD], [500], ["own", "api", "api", "own"]),
        ([NEW], [500, OLD], ["own", "api", "api"]),
        ([NEW], [202], ["own", "api", "own", "final"]),
        ([NEW], [OLD[::-1]], ["own", "api", "api", "final"]),
    ],
)
async def test_the_same_wrong_bytes_are_final_after_every_route_was_tried(
    own: list[bytes | int], api: list[bytes | int], asked: list[str], tmp_path: Path
) -> None:
    async with two(own, api, tmp_path) as seen:
        assert seen == asked


# -- whole harvests --------------------------------------------------------------------------------------


async def test_a_network_that_cuts_every_connection_loses_no_file(tmp_path: Path) -> None:
    settings = Settings(items=30, heavy=1, heavy_size=2_000_000, cut_after=64_000)
    async with Sandbox(settings) as sandbox:
        summary = await harvest(
            config(sandbox, tmp_path, **{"retry.attempts": 3, "tasks": ["metadata", "files"]})
        )
        assert summary.exit_status == 0, rows(tmp_path / "failures.csv")
        assert_complete(tmp_path, sandbox, sandbox.world.search("survey"), statistics=False)
