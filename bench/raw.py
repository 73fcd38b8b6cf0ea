"""
A raw HTTP server of a world, as small as Python allows: the replies are made once and kept in memory.

It needs nothing but the standard library, so it runs where nginx is not installed. It shares the cores with
what is measured, as a proxy or a sandbox on a user's machine does. It prints its port once it listens.

    python -m bench.raw --items 4000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import measure
from bench.world import World
from harvester.sandbox.catalogue import Addresses

_CURSOR = re.compile(rb"\r\nx-cursor: *([0-9]+)\r\n", re.IGNORECASE)
_PAGE = re.compile(rb"[?&]page=([0-9]+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def reply(body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


class Replies:
    """Every reply of a world by its path; pages of the listing by their number."""

    def __init__(self, world: World, root: Path) -> None:
        following = world.next_pages()
        self._pages = {
            page: reply(
                (root / f"listing/{page}.json").read_bytes(),
                f"X-Cursor: {following[page]}\r\n" if page in following else "",
            )
            for page in range(1, world.pages + 1)
        }
        self._empty = reply(b"[]")
        self._total = reply(b'{"totals": 7}')
        self._records = {
            b"/v2/articles/%d" % item_id: reply((root / f"records/{item_id}.json").read_bytes())
            for item_id in world.ids
        }

    def to(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if (record := self._records.get(path)) is not None:
            return record
        if path.startswith(b"/total/"):
            return self._total
        if path.startswith(b"/v2/articles/search"):
            page = _CURSOR.search(head) or _PAGE.search(path)
            return self._pages.get(int(page[1]) if page else 1, self._empty)
        return _NOT_FOUND


class _Connection(asyncio.Protocol):
    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[: end + 2]
            length = _LENGTH.search(head)
            end += 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._transport.write(self._replies.to(head))


async def _serve(replies: Replies) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(replies), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@dataclass(frozen=True)
class Served:
    """A world that is being served."""

    world: World
    at: Addresses
    process: subprocess.Popen[str]

    @property
    def cpu(self) -> float:
        """Processor seconds that the server has taken so far."""
        return measure.cpu_seconds(self.process.pid)


@contextlib.contextmanager
def serve(world: World) -> Iterator[Served]:
    """Serve a world while the context lasts."""
    words = [sys.executable, "-m", "bench.raw", "--items", str(world.items)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base = f"http://127.0.0.1:{int(process.stdout.readline())}"
            yield Served(world, Addresses(f"{base}/v2", base, base, base), process)
        finally:
            process.terminate()


def main() -> None:
    """Make the replies, and serve them until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, required=True)
    world = World(parser.parse_args().items)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        at = Addresses("http://127.0.0.1:9/v2", *["http://127.0.0.1:9"] * 3)
        world.write(Path(name), at)
        replies = Replies(world, Path(name))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(replies))


if __name__ == "__main__":
    main()
