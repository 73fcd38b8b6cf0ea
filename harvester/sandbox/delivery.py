"""How answers go out: whole, or as much of them as a fault lets through."""

from __future__ import annotations

import asyncio
import contextlib
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice, repeat

from aiohttp import web

from harvester.sandbox.answers import Answer
from harvester.sandbox.settings import Settings

BEFORE_ANY_ANSWER = frozenset({"reset", "refused", "reset-headers"})
"""Faults that leave the caller without a status."""
_SMALL = 65536
_DRIPPED = 10
_STEP_SECONDS = 0.02


@dataclass(frozen=True)
class _Outgoing:
    """An answer on its way: what is sent of it, where to, and how slowly."""

    request: web.Request
    response: web.StreamResponse
    answer: Answer
    settings: Settings

    def pieces(self, size: int) -> Iterator[bytes]:
        """The first `size` bytes of the body."""
        for piece in self.answer.pieces:
            yield piece[:size]
            size -= len(piece)
            if size <= 0:
                return


async def send(
    request: web.Request, answer: Answer, fault: str | None, settings: Settings
) -> web.StreamResponse:
    """Send an answer, or what the fault makes of it."""
    if fault in BEFORE_ANY_ANSWER:
        return _cut(request, _beginning(request, answer) if fault == "reset-headers" else b"")
    way = _WAYS.get(fault, _whole)
    if way is _whole and 0 < settings.cut_after < answer.length and _is_file(answer):
        way = _cut_after
    if way is _whole and answer.length < _SMALL and math.isinf(answer.rate):
        return web.Response(status=answer.status, headers=answer.headers, body=b"".join(answer.pieces))
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if fault == "cut-chunked" or (fault == "trickle" and not _is_file(answer)):
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.length
    with contextlib.suppress(ConnectionError):  # the other side may leave at any time
        await response.prepare(request)
        await way(_Outgoing(request, response, answer, settings))
    return response


async def _whole(out: _Outgoing) -> None:
    await _paced(out, out.answer.pieces)
    await out.response.write_eof()


async def _paced(out: _Outgoing, pieces: Iterable[bytes]) -> None:
    """Send no more bytes a second than the answer is to have."""
    rate = out.answer.rate
    if math.isinf(rate):
        for piece in pieces:
            await out.response.write(piece)
        return
    clock = asyncio.get_running_loop().time
    begun, sent, step = clock(), 0, max(1, int(rate * _STEP_SECONDS))
    for piece in pieces:
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            await out.response.write(part)
            sent += len(part)
            await asyncio.sleep(begun + sent / rate - clock())


async def _cut_after(out: _Outgoing) -> None:
    await _paced(out, out.pieces(out.settings.cut_after))
    _cut(out.request)


async def _half(out: _Outgoing) -> None:
    await _paced(out, out.pieces(out.answer.length // 2))


async def _reset_body(out: _Outgoing) -> None:
    await _half(out)
    _cut(out.request)


async def _stall(out: _Outgoing) -> None:
    await _half(out)
    await asyncio.sleep(out.settings.stall_seconds)
    _cut(out.request)


async def _cut_chunked(out: _Outgoing) -> None:
    await _half(out)
    if out.request.transport is not None:
        out.request.transport.close()  # an orderly end: that a chunk is missing is all that tells


async def _drip(out: _Outgoing) -> None:
    dripped = 0
    for piece in out.answer.pieces:
        slow = piece[: _DRIPPED - dripped]
        for byte in slow:
            await out.response.write(bytes((byte,)))
            await asyncio.sleep(1 / _DRIPPED)
        dripped += len(slow)
        await out.response.write(piece[len(slow) :])
    await out.response.write_eof()


async def _trickle(out: _Outgoing) -> None:
    """Send a file without its last byte, or the blanks that may stand before JSON: neither ever ends."""
    clock = asyncio.get_running_loop().time
    end = clock() + out.settings.stall_seconds
    is_file = _is_file(out.answer)
    held_back = islice(chain.from_iterable(out.answer.pieces), max(0, out.answer.length - 1))
    for byte in held_back if is_file else repeat(ord(" ")):
        if clock() >= end:
            break
        await out.response.write(bytes((byte,)))
        await asyncio.sleep(out.settings.trickle_seconds)
    await asyncio.sleep(max(0.0, end - clock()))
    _cut(out.request)


_WAYS: Mapping[str | None, Callable[[_Outgoing], Awaitable[None]]] = {
    "reset-body": _reset_body,
    "stall": _stall,
    "drip": _drip,
    "trickle": _trickle,
    "cut-chunked": _cut_chunked,
}


def _is_file(answer: Answer) -> bool:
    return answer.headers.get("Content-Type") == "application/octet-stream"


def _beginning(request: web.Request, answer: Answer) -> bytes:
    """Return the status line and some headers as far as a place that the path settles."""
    head = (
        f"HTTP/1.1 {answer.status} OK\r\nServer: figshare\r\n"
        f"Content-Type: application/json\r\nContent-Length: {answer.length}\r\n"
    ).encode()
    return head[: 1 + zlib.crc32(request.path.encode()) % (len(head) - 1)]


def _cut(request: web.Request, last_words: bytes = b"") -> web.Response:
    if request.transport is not None:
        if last_words:
            request.transport.write(last_words)
        request.transport.abort()
    return web.Response()
