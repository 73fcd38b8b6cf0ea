"""Delivery: sends answers, completely or as far as a fault allows."""

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
"""Faults without a status for the caller."""
_SMALL = 65536
_DRIPPED = 10
_STEP_SECONDS = 0.02


@dataclass(frozen=True)
class _Outgoing:
    """An answer that is being sent, with its connection and its rate."""

    request: web.Request
    response: web.StreamResponse
    answer: Answer
    settings: Settings

    def chunks(self, size: int) -> Iterator[bytes]:
        """The first `size` bytes of the body."""
        for chunk in self.answer.chunks:
            yield chunk[:size]
            size -= len(chunk)
            if size <= 0:
                return


async def send(
    request: web.Request, answer: Answer, fault: str | None, settings: Settings
) -> web.StreamResponse:
    """Send an answer, changed by the fault."""
    if fault in BEFORE_ANY_ANSWER:
        return _cut(request, _beginning(request, answer) if fault == "reset-headers" else b"")
    way = _WAYS.get(fault, _whole)
    if way is _whole and 0 < settings.cut_after < answer.length and _is_file(answer):
        way = _cut_after
    if way is _whole and answer.length < _SMALL and math.isinf(answer.rate):
        return web.Response(status=answer.status, headers=answer.headers, body=b"".join(answer.chunks))
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if fault == "cut-chunked" or (fault == "trickle" and not _is_file(answer)):
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.length
    with contextlib.suppress(ConnectionError):  # the client may disconnect at any time
        await response.prepare(request)
        await way(_Outgoing(request, response, answer, settings))
    return response


async def _whole(out: _Outgoing) -> None:
    await _paced(out, out.answer.chunks)
    await out.response.write_eof()


async def _paced(out: _Outgoing, chunks: Iterable[bytes]) -> None:
    """Send chunks at the rate of the answer."""
    rate = out.answer.rate
    if math.isinf(rate):
        for chunk in chunks:
            await out.response.write(chunk)
        return
    clock = asyncio.get_running_loop().time
    started, sent, step = clock(), 0, max(1, int(rate * _STEP_SECONDS))
    for chunk in chunks:
        for start in range(0, len(chunk), step):
            part = chunk[start : start + step]
            await out.response.write(part)
            sent += len(part)
            await asyncio.sleep(started + sent / rate - clock())


async def _cut_after(out: _Outgoing) -> None:
    await _paced(out, out.chunks(out.settings.cut_after))
    _cut(out.request)


async def _half(out: _Outgoing) -> None:
    await _paced(out, out.chunks(out.answer.length // 2))


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
        out.request.transport.close()  # an orderly close: only the missing last chunk shows the cut


async def _drip(out: _Outgoing) -> None:
    dripped = 0
    for chunk in out.answer.chunks:
        slow = chunk[: _DRIPPED - dripped]
        for byte in slow:
            await out.response.write(bytes((byte,)))
            await asyncio.sleep(1 / _DRIPPED)
        dripped += len(slow)
        await out.response.write(chunk[len(slow) :])
    await out.response.write_eof()


async def _trickle(out: _Outgoing) -> None:
    """Send a file without its last byte, or blanks before JSON, endlessly."""
    clock = asyncio.get_running_loop().time
    end = clock() + out.settings.stall_seconds
    is_file = _is_file(out.answer)
    held_back = islice(chain.from_iterable(out.answer.chunks), max(0, out.answer.length - 1))
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
    """Return the beginning of status line and headers, cut at a place that depends on the path."""
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
