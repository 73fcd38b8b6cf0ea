"""The bytes of JSON answers: joined, decompressed, and never more than is allowed, whatever is sent."""

from __future__ import annotations

import zlib

from yarl import URL

from harvester.client.answers import name_of
from harvester.errors import Broken, Misshapen

JSON_LIMIT = 64 << 20
"""Bytes of one JSON answer, after decompression."""
ENCODINGS = "gzip"
"""What is asked for."""
_GZIP = 16 + zlib.MAX_WBITS


class JsonBody:
    """
    Collects one answer. `url` is what was asked, `encoding` its Content-Encoding.

    It is decompressed piece by piece and given up at the limit, so a few kilobytes that would become
    gigabytes cost no more memory than the limit.
    """

    __slots__ = ("_left", "_limit", "_pieces", "_received", "_unzip", "_url")

    def __init__(self, url: URL, encoding: str, *, limit: int = JSON_LIMIT) -> None:
        encoding = encoding.lower()
        if encoding not in {"", "identity", "gzip", "x-gzip"}:
            raise Broken(f"{name_of(url)}: encoded in a way that nobody asked for")
        self._url = url
        self._left = limit
        self._received = 0
        self._limit = limit
        self._pieces: list[bytes] = []
        self._unzip = zlib.decompressobj(_GZIP) if "gzip" in encoding else None

    async def take(self, piece: bytes) -> None:
        """
        Add the next piece as received; of one that is too long, what there is room for.

        Raises:
            Misshapen: it is more than the limit.
            Broken: it is no gzip.
        """
        self._received += len(piece)
        if self._unzip is not None:
            piece = self._unzipped(piece, self._unzip)
        self._pieces.append(piece if len(piece) <= self._left else piece[: self._left])
        self._left -= len(piece)
        if self._left < 0:
            raise Misshapen(f"{name_of(self._url)}: more than {self._limit} bytes of JSON")
        if self._unzip is not None and (self._unzip.unused_data or self._received > self._limit):
            raise Misshapen(f"{name_of(self._url)}: more than the gzip that was promised")

    def _unzipped(self, piece: bytes, unzip: zlib._Decompress) -> bytes:
        if unzip.eof:
            raise Misshapen(f"{name_of(self._url)}: more than the gzip that was promised")
        try:
            return unzip.decompress(piece, self._left + 1)
        except zlib.error as exc:
            raise Broken(f"{name_of(self._url)}: not the gzip that was promised") from exc

    def whole(self, *, cut: bool = False) -> bytes:
        """
        Return the whole answer, or what there is of it where it may be `cut`.

        Raises:
            Broken: the compressed bytes ended early.
        """
        if self._unzip is not None and self._pieces and not (cut or self._unzip.eof):
            raise Broken(f"{name_of(self._url)}: cut before its end")
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
