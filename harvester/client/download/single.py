"""
The bytes of a file from one connection: what is asked for, whether that is what comes, where it ends.

An answer may go on where others have gone on before: it is read as far as something is missing. It may hold
less than was asked for, too: what it holds is taken, and the rest is asked for again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

import aiohttp
from yarl import URL

from harvester.client.download.slots import Holding
from harvester.client.responses import content_range, display_url
from harvester.client.sender import OK, PARTS, RequestSender
from harvester.errors import Blocked, ConnectionFailed

IDENTITY = {"Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Wanted:
    """
    What is known of a file before it comes.

    ``size`` in bytes; ``has_md5``: its bytes can be proven; ``is_page``: HTML is what it holds;
    ``one_connection``: it may not come over several.
    """

    size: int
    has_md5: bool
    is_page: bool
    one_connection: bool = False


@dataclass(frozen=True)
class RangeRequest:
    """
    A file that is asked for at one address.

    ``authorised``: with the token, where that belongs. ``holding``: how it uses its connection.
    """

    url: URL
    wanted: Wanted
    authorised: bool
    holding: Holding


class RangeWriter(Protocol):
    """What one connection fills, from ``position`` to ``until``: see `store.Piece`."""

    @property
    def position(self) -> int: ...
    @property
    def until(self) -> int: ...
    async def write(self, piece: bytes) -> None: ...


class FileWriter(RangeWriter, Protocol):
    """
    Where a file's bytes go, from its first one on: see `store.Partial`.

    ``validator``: the strong ETag of the answers that its bytes came with, None where there was none.
    """

    received: int
    validator: str | None

    async def start_over(self) -> None: ...


class Unfit(ConnectionFailed):
    """A part of a file was asked for, and something else was answered."""


class _Enough(Exception):
    """Nothing is missing after what has come: the rest of the answer is not read."""


class _TooMuch(ConnectionFailed):
    """More came than the file has, or than was asked for."""


LEAST_PROGRESS = 64 << 10


def is_progress(gained: int, size: int) -> bool:
    """
    Tell whether so many more bytes, of `size` that were wanted, are a reason to go on as if all were well.

    They are at least a hundredth of it, or 64 KiB: whoever gives a byte at a time is not asked for ever.
    """
    return gained > 0 and gained >= min(LEAST_PROGRESS, size / 100)


def is_divisible(response: aiohttp.ClientResponse) -> bool:
    """Tell whether the host that gave an answer gives parts of a file too."""
    is_part = response.status == HTTPStatus.PARTIAL_CONTENT
    return is_part or response.headers.get("Accept-Ranges", "").lower() == "bytes"


def refuse_a_page(response: aiohttp.ClientResponse, *, is_page: bool, size: int) -> None:
    """Refuse a page, or nothing, in the place of a file."""
    if response.content_type == "text/html" and not is_page:
        raise Blocked(f"{display_url(response.url)}: web page instead of a file")
    if size and response.content_length == 0:
        raise Blocked(f"{display_url(response.url)}: empty response instead of {size} bytes")


def refuse_a_page_for_the_first_byte(response: aiohttp.ClientResponse, wanted: Wanted) -> None:
    """Refuse a page, or nothing, where a file's first byte was asked for; a page of its length may be it."""
    length = 1 if response.status == HTTPStatus.PARTIAL_CONTENT else wanted.size
    lengths = {length, None} if wanted.is_page else {length}
    may_be_it = (wanted.is_page or wanted.has_md5) and response.content_length in lengths
    refuse_a_page(response, is_page=may_be_it, size=1)


class SingleDownload:
    """Asks for files, and hands on what comes."""

    def __init__(self, asking: RequestSender) -> None:
        self._asking = asking

    async def rest(
        self,
        asked: RangeRequest,
        into: FileWriter,
        on_answer: Callable[[aiohttp.ClientResponse], None] = lambda _: None,
    ) -> None:
        """
        Ask once for what is missing from where a file ends up to where it goes on; less may come.

        `on_answer` is told of an answer that is right, before its bytes come. Errors: as `Client.fetch`.
        """
        if into.received and not (asked.wanted.has_md5 or into.validator):
            await into.start_over()  # nothing could tell whether what comes next belongs to the same file
        size, end, begin = asked.wanted.size, into.until, into.received
        missing = end - into.received
        headers = dict(IDENTITY)
        if missing < size:
            headers["Range"] = f"bytes={into.received}-" + (str(end - 1) if end < size else "")
            if into.validator:
                headers["If-Range"] = into.validator
        response = await self._ask(asked, headers)
        async with response:
            if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                await into.start_over()
                raise ConnectionFailed(f"{display_url(asked.url)}: no bytes after {size}; starting over")
            length_agrees = response.content_length == missing
            is_page = asked.wanted.is_page or (asked.wanted.has_md5 and length_agrees)  # the md5 will tell
            refuse_a_page(response, is_page=is_page, size=size)
            end = await self._align(response, into, asked.wanted, end)
            on_answer(response)
            try:
                with asked.holding.receiving():
                    await self.pour(response, into, end, size, asked.holding)
            except _TooMuch:
                await into.start_over()
                raise
        if into.received < into.until and not is_progress(into.received - begin, missing):
            raise ConnectionFailed(
                f"{display_url(asked.url)}: too few bytes per response: {into.received - begin}"
            )

    @asynccontextmanager
    async def part(
        self, asked: RangeRequest, begin: int, end: int, validator: str | None
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, int]]:
        """
        Ask for the bytes from `begin` to `end`, for one more connection; `validator`: the ETag of the others.

        Yields the answer and where it ends: it may hold fewer.

        Raises:
            Unfit: something else was answered.
            Others: as `Client.fetch`.
        """
        headers = {**IDENTITY, "Range": f"bytes={begin}-{end - 1}"}
        if validator:
            headers["If-Range"] = validator
        async with await self._ask(asked, headers) as response:
            held = content_range(response.headers.get("Content-Range", ""))
            size = asked.wanted.size
            is_it = (
                response.status == HTTPStatus.PARTIAL_CONTENT
                and (held.begin, held.total) == (begin, size)
                and (held.end == end or (held.end < end and is_progress(held.end - begin, end - begin)))
                and response.content_length in {None, held.end - begin}
                and (validator is None or response.headers.get("ETag") == validator)
            )
            if not is_it:
                raise Unfit(f"{display_url(asked.url)}: the response is not the requested range")
            yield response, held.end

    async def pour(
        self,
        response: aiohttp.ClientResponse,
        into: RangeWriter,
        end: int,
        size: int,
        holding: Holding | None = None,
    ) -> None:
        """
        Hand on an answer that ends at the byte `end` of `size`, as far as something is missing there.

        `holding`: of a file's own connection, None for a further one.

        Raises:
            ConnectionFailed: the bytes ended early, came too slowly or are more than were promised.
            Deferred: they come slowly, and another file waits.
        """
        name = display_url(response.url)

        async def take(piece: bytes) -> None:
            self._asking.traffic.file_bytes += len(piece)
            until = into.until
            room = max(0, min(until, end) - into.position)
            await into.write(piece if len(piece) <= room else piece[:room])
            if until < end and len(piece) >= room:
                raise _Enough
            if len(piece) > room:
                raise _TooMuch(f"{name}: more than the expected {min(size, end)} bytes")
            if holding is not None and len(piece) < room:
                holding.came(len(piece))

        try:
            await self._asking.read(response, take)
        except _Enough:
            return  # others have brought the rest: the connection is closed with the answer
        if into.position < min(end, into.until):
            raise ConnectionFailed(f"{name}: ended after {into.position} of {size} bytes")

    async def _ask(self, asked: RangeRequest, headers: dict[str, str]) -> aiohttp.ClientResponse:
        accepts = PARTS if "Range" in headers else OK
        return await self._asking.send(
            "files", "GET", asked.url, headers=headers, authorised=asked.authorised, accepts=accepts
        )

    async def _align(
        self, response: aiohttp.ClientResponse, into: FileWriter, wanted: Wanted, end: int
    ) -> int:
        """
        Make the sink and the answer begin at the same byte, and see that they belong to the same file.

        Returns where the answer ends; `end` is where it should if it is the part asked for.
        """
        name, size = display_url(response.url), wanted.size
        etag = response.headers.get("ETag", "")
        begins, ends = 0, size
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            begins, ends, total = content_range(response.headers.get("Content-Range", ""))
            if total != size or not _is_same(into, etag, wanted):
                await into.start_over()
                raise ConnectionFailed(f"{name}: another range than requested; starting over")
            if begins != into.received and (begins, ends) != (0, size):
                raise Unfit(f"{name}: range starts at byte {begins}, {into.received} was requested")
        offered = response.content_length
        if offered is not None and offered != ends - begins:
            raise ConnectionFailed(f"{name}: offers {begins + offered} bytes, {ends} were expected")
        if begins < into.received or (begins, ends, end < size) == (0, size, True):
            await into.start_over()  # the Range was ignored: this is the whole file, from its first byte on
        if etag or response.status != HTTPStatus.PARTIAL_CONTENT:
            into.validator = etag if etag.startswith('"') else None  # a weak one proves nothing
        return ends


def _is_same(into: FileWriter, etag: str, wanted: Wanted) -> bool:
    """Tell whether an answer belongs to what is here; where an md5 will tell, one without an ETag may."""
    if not into.received or into.validator is None:
        return True
    return etag == into.validator or (wanted.has_md5 and not etag)
