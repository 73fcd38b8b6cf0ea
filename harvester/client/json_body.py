"""Size limit of JSON answers: their bytes are joined and decompressed chunk by chunk, up to `JSON_LIMIT`."""

from __future__ import annotations

import io
import zlib

import anyio.lowlevel
from yarl import URL

from harvester.client.memory_gate import LARGE, MemoryPermit
from harvester.client.responses import display_url
from harvester.errors import ConnectionFailed, InvalidResponse

JSON_LIMIT = 64 << 20
"""Bytes of one JSON answer, after decompression."""
ENCODINGS = "gzip"
"""The encodings that requests accept."""
_GZIP = 16 + zlib.MAX_WBITS
_STEP = 1 << 20
"""Bytes that are decompressed at once."""


class JsonBody:
    """
    Collects the body of one answer.

    `url`: of the request. `encoding`: Content-Encoding. `permit`: for a large answer.

    It is decompressed chunk by chunk, and rejected at the limit. So a few kilobytes that would decompress to
    gigabytes take no more memory than the limit.
    """

    __slots__ = ("_is_large", "_left", "_limit", "_permit", "_received", "_taken", "_unzip", "_url")

    def __init__(
        self, url: URL, encoding: str, *, limit: int = JSON_LIMIT, permit: MemoryPermit | None = None
    ) -> None:
        encoding = encoding.lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise ConnectionFailed(f"{display_url(url)}: a content encoding that was not requested")
        self._url = url
        self._left = limit
        self._received = 0
        self._limit = limit
        self._taken = io.BytesIO()  # hands over its bytes without a copy
        self._permit = permit
        self._is_large = False
        self._unzip = zlib.decompressobj(_GZIP) if "gzip" in encoding else None

    async def take(self, chunk: bytes) -> None:
        """
        Add the next chunk as received; of one that is too long, as much as fits.

        Raises:
            InvalidResponse: it is more than the limit.
            ConnectionFailed: it is not gzip, or takes too long while other large answers wait.
        """
        self._received += len(chunk)
        if self._unzip is None:
            await self._add(chunk)
            return
        while True:
            unzipped = self._unzipped(chunk, self._unzip)
            await self._add(unzipped)
            chunk = self._unzip.unconsumed_tail
            if self._unzip.eof or not (chunk or len(unzipped) == _STEP):
                break
            await anyio.lowlevel.checkpoint()
        if self._unzip.unused_data or self._received > self._limit:
            raise InvalidResponse(f"{display_url(self._url)}: bytes after the end of the gzip stream")

    async def _add(self, chunk: bytes) -> None:
        if self._permit is not None and self._taken.tell() + len(chunk) > LARGE:
            if not self._is_large:
                await self._permit.acquire()
                self._is_large = True
            self._permit.must_not_last()
        self._taken.write(chunk if len(chunk) <= self._left else chunk[: self._left])
        self._left -= len(chunk)
        if self._left < 0:
            raise InvalidResponse(f"{display_url(self._url)}: more than {self._limit} bytes of JSON")

    def _unzipped(self, chunk: bytes, unzip: zlib._Decompress) -> bytes:
        if unzip.eof:
            raise InvalidResponse(f"{display_url(self._url)}: bytes after the end of the gzip stream")
        try:
            return unzip.decompress(chunk, min(_STEP, self._left + 1))
        except zlib.error as exc:
            raise ConnectionFailed(f"{display_url(self._url)}: not valid gzip") from exc

    def whole(self, *, cut: bool = False) -> bytes:
        """
        Return the whole answer, or as much as was received if it may be `cut`.

        Raises:
            ConnectionFailed: the compressed bytes ended early.
        """
        if self._unzip is not None and self._received and not (cut or self._unzip.eof):
            raise ConnectionFailed(f"{display_url(self._url)}: connection closed before the end of the body")
        return self._taken.getvalue()

    def drop(self) -> None:
        """Release the bytes."""
        self._taken = io.BytesIO()
