"""
Download over one connection: requests a range, checks that the response matches, and writes it.

A response may continue into segments that are already here: it is read up to the first of them. It may also
be shorter than requested: its bytes are kept, and the rest is requested again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from yarl import URL

from harvester.client.download.slots import SlotUsage
from harvester.client.responses import content_range, display_url
from harvester.client.sender import OK, PARTS, RequestSender
from harvester.client.traffic import BYTES
from harvester.errors import Blocked, ConnectionFailed
from harvester.storage.protocol import RangeWriter, Upload

IDENTITY = {"Accept-Encoding": "identity"}
LEAST_PROGRESS = 64 << 10


@dataclass(frozen=True)
class ExpectedBody:
    """
    What is known about a file before its first byte is received.

    Attributes:
        size: bytes.
        has_md5: a checksum is known.
        is_page: it is an HTML file.
        one_connection: several connections are not allowed.
    """

    size: int
    has_md5: bool
    is_page: bool
    one_connection: bool = False


@dataclass(frozen=True)
class RangeRequest:
    """
    A file that is requested from one URL.

    Attributes:
        url: where it is requested.
        expected: what is known about it.
        authorised: send the token, if it belongs to the origin.
        usage: how well it uses its slot.
    """

    url: URL
    expected: ExpectedBody
    authorised: bool
    usage: SlotUsage


class FileWriter:
    """
    `RangeWriter` of a file's first connection: from the received bytes to the first
    segment, or the end.
    """

    def __init__(self, upload: Upload, size: int) -> None:
        self.upload = upload
        self.segments = upload.segments()
        self._size = size

    @property
    def offset(self) -> int:
        return self.upload.received

    @property
    def until(self) -> int:
        return self.segments.begin if self.segments is not None else self._size

    async def write(self, data: bytes) -> None:
        await self.upload.write(data)


class RangeMismatch(ConnectionFailed):
    """The response is not the requested range."""


class _Enough(Exception):
    """Nothing is missing after the received bytes: the rest of the response is not read."""


class _TooMuch(ConnectionFailed):
    """The response is longer than the file, or than the requested range."""


def is_progress(gained: int, size: int) -> bool:
    """
    Return whether `gained` bytes of a file of `size` bytes count as progress.

    Progress is at least a hundredth of the file, or 64 KiB: a server that sends a byte at a time is not
    requested for ever.
    """
    return gained > 0 and gained >= min(LEAST_PROGRESS, size / 100)


def accepts_ranges(response: aiohttp.ClientResponse) -> bool:
    """Return whether the host of a response serves ranges."""
    is_part = response.status == HTTPStatus.PARTIAL_CONTENT
    return is_part or response.headers.get("Accept-Ranges", "").lower() == "bytes"


def refuse_a_page(response: aiohttp.ClientResponse, *, is_page: bool, size: int) -> None:
    """Raise Blocked if the response is a web page, or empty, instead of a file."""
    if response.content_type == "text/html" and not is_page:
        raise Blocked(f"{display_url(response.url)}: web page instead of a file")
    if size and response.content_length == 0:
        raise Blocked(f"{display_url(response.url)}: empty response instead of {size} bytes")


def refuse_a_page_for_the_first_byte(response: aiohttp.ClientResponse, expected: ExpectedBody) -> None:
    """The same where only the first byte was requested; a page of the file's length may be the file."""
    length = 1 if response.status == HTTPStatus.PARTIAL_CONTENT else expected.size
    lengths = {length, None} if expected.is_page else {length}
    may_be_it = (expected.is_page or expected.has_md5) and response.content_length in lengths
    refuse_a_page(response, is_page=may_be_it, size=1)


class SingleDownload:
    """Requests files, and writes the responses."""

    def __init__(self, sender: RequestSender) -> None:
        self._sender = sender

    async def rest(
        self,
        request: RangeRequest,
        into: FileWriter,
        on_response: Callable[[aiohttp.ClientResponse], None] = lambda _: None,
    ) -> None:
        """
        Request the bytes after the received ones, up to the first segment; a shorter response is accepted.

        `on_response` is called with a matching response, before its body is read. Raises what
        `SegmentedDownload.fetch` raises.
        """
        upload, expected = into.upload, request.expected
        if upload.received and not (expected.has_md5 or upload.validator):
            await upload.start_over()  # nothing proves that the next bytes belong to the same file
        size, end, begin = expected.size, into.until, upload.received
        missing = end - begin
        async with await self._send(request, _headers(upload, end, size)) as response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                await upload.start_over()
                raise ConnectionFailed(f"{display_url(request.url)}: no bytes after {size}; starting over")
            length_agrees = response.content_length == missing
            is_page = expected.is_page or (expected.has_md5 and length_agrees)  # the md5 will tell
            refuse_a_page(response, is_page=is_page, size=size)
            end = await self._align(response, upload, expected, end)
            on_response(response)
            try:
                with request.usage.receiving():
                    await self.pour(response, into, end, size, request.usage)
            except _TooMuch:
                await upload.start_over()
                raise
        if upload.received < into.until and not is_progress(upload.received - begin, missing):
            raise ConnectionFailed(
                f"{display_url(request.url)}: too few bytes per response: {upload.received - begin}"
            )

    @asynccontextmanager
    async def range_response(
        self, request: RangeRequest, begin: int, end: int, validator: str | None
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, int]]:
        """
        Request the bytes from `begin` to `end` over an additional connection; `validator`: the ETag of the
        other bytes.

        Yields the response and the offset where it ends, which may be earlier.

        Raises:
            RangeMismatch: the response is another range, or of another version.
            Others: as `SegmentedDownload.fetch`.
        """
        headers = {**IDENTITY, "Range": f"bytes={begin}-{end - 1}"}
        if validator:
            headers["If-Range"] = validator
        async with await self._send(request, headers) as response:
            held = content_range(response.headers.get("Content-Range", ""))
            is_it = (
                response.status == HTTPStatus.PARTIAL_CONTENT
                and (held.begin, held.total) == (begin, request.expected.size)
                and (held.end == end or (held.end < end and is_progress(held.end - begin, end - begin)))
                and response.content_length in {None, held.end - begin}
                and (validator is None or response.headers.get("ETag") == validator)
            )
            if not is_it:
                raise RangeMismatch(f"{display_url(request.url)}: the response is not the requested range")
            yield response, held.end

    async def pour(
        self,
        response: aiohttp.ClientResponse,
        into: RangeWriter,
        end: int,
        size: int,
        usage: SlotUsage | None = None,
    ) -> None:
        """
        Write a response that ends at the offset `end` of `size`, up to the first byte that is already here.

        `usage`: of a file's first connection, None for an additional one.

        Raises:
            ConnectionFailed: the bytes ended early, were too slow or are more than announced.
            Deferred: they are slow, and another file waits.
        """
        name, traffic = display_url(response.url), self._sender.traffic

        async def take(data: bytes) -> None:
            traffic.file_bytes += len(data)
            until = into.until
            room = max(0, min(until, end) - into.offset)
            await into.write(data if len(data) <= room else data[:room])
            if until < end and len(data) >= room:
                raise _Enough
            if len(data) > room:
                raise _TooMuch(f"{name}: more than the expected {min(size, end)} bytes")
            if usage is not None and len(data) < room:
                usage.add(len(data))

        try:
            with traffic.usage.of((BYTES,)):
                await self._sender.read(response, take)
        except _Enough:
            return  # segments have the rest: the connection is closed with the response
        if into.offset < min(end, into.until):
            raise ConnectionFailed(f"{name}: ended after {into.offset} of {size} bytes")

    async def _send(self, request: RangeRequest, headers: dict[str, str]) -> aiohttp.ClientResponse:
        accepts = PARTS if "Range" in headers else OK
        return await self._sender.send(
            "files", "GET", request.url, headers=headers, authorised=request.authorised, accepts=accepts
        )

    async def _align(
        self, response: aiohttp.ClientResponse, upload: Upload, expected: ExpectedBody, end: int
    ) -> int:
        """
        Make upload and response begin at the same byte, and check that they belong to the same file.

        Returns where the response ends; `end`: where it should end if it is the requested range.
        """
        name, size = display_url(response.url), expected.size
        etag = response.headers.get("ETag", "")
        is_part = response.status == HTTPStatus.PARTIAL_CONTENT
        begins, ends = 0, size
        if is_part:
            begins, ends, total = content_range(response.headers.get("Content-Range", ""))
            if total != size or not _is_same(upload, etag, expected):
                await upload.start_over()
                raise ConnectionFailed(f"{name}: another range than requested; starting over")
            if begins != upload.received and (begins, ends) != (0, size):
                raise RangeMismatch(f"{name}: range starts at byte {begins}, {upload.received} was requested")
        offered = response.content_length
        if offered is not None and offered != ends - begins:
            raise ConnectionFailed(f"{name}: offers {begins + offered} bytes, {ends} were expected")
        # 200 to a Range request: the server ignored it, this is the whole file, so start over.
        if begins < upload.received or (begins, ends, end < size) == (0, size, True):
            await upload.start_over()
        if etag or not is_part:
            upload.validator = etag if etag.startswith('"') else None  # a weak ETag proves nothing
        return ends


def _headers(upload: Upload, end: int, size: int) -> dict[str, str]:
    """Return the headers that request the missing bytes up to `end`: the whole file, or a range of it."""
    headers = dict(IDENTITY)
    if end - upload.received < size:
        headers["Range"] = f"bytes={upload.received}-" + (str(end - 1) if end < size else "")
        if upload.validator:
            headers["If-Range"] = upload.validator  # another version is then sent as a whole
    return headers


def _is_same(upload: Upload, etag: str, expected: ExpectedBody) -> bool:
    """Return whether a response belongs to the received bytes; with an md5 it needs no ETag."""
    if not upload.received or upload.validator is None:
        return True
    return etag == upload.validator or (expected.has_md5 and not etag)
