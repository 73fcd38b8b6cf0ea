"""
Memory limit of JSON: how much a text would take in memory, estimated before any of it is decoded.

A few kilobytes on the wire can be millions of empty lists, each a hundred times as large as its two bytes. Or
they can be one text in which a single character makes all the others four times as wide. So the bytes are
scanned first, at the speed of C and without extra memory. What would take more memory than any answer of
figshare is refused.
"""

from __future__ import annotations

from itertools import accumulate

from harvester.errors import InvalidResponse

BYTES_OF_A_VALUE = 250
"""Bytes of a list, an object or a number in Python, with what the decoder makes of it."""
MOST_WEIGHT = 100_000_000
"""Bytes of memory that one decoded answer may take: 400,000 values, or some 30,000 files."""
LONGEST_TEXT = 2 << 20
"""Bytes of the longest text that is decoded; of a longer one, the beginning. The whole text is stored."""
BEGINNING = 1000
"""Bytes of the beginning that is decoded."""
CUT = "… [cut]".encode()
MOST_DEPTH = 100
"""Nesting of lists and objects. figshare has five levels; each JSON reader has a limit of its own."""
_CHUNK = 1 << 16
_WIDE, _WIDER = 2, 4
"""Bytes of each character of a text with one that is not ASCII, or beyond the first plane."""
_UP_AND_DOWN = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)).difference(b"[{]}"))
_BEYOND = bytes(range(0xF0, 0x100))
"""What the UTF-8 of a character beyond the first plane begins with."""


def is_heavy(raw: bytes, *, most: int) -> bool:
    """Return whether JSON may take about `most` bytes in memory, or more."""
    if (1 + BYTES_OF_A_VALUE) * len(raw) <= most:  # even if every byte were a mark
        return False
    return len(raw) > most or len(raw) + BYTES_OF_A_VALUE * _marks(raw) > most


def readable(raw: bytes) -> bytes:
    """
    Return JSON as it can be decoded: the same, or with the beginnings of texts that are too long.

    Raises:
        InvalidResponse: it takes too much memory, or is nested too deeply.
    """
    if len(raw) <= _CHUNK and raw.count(b"[") + raw.count(b"{") <= MOST_DEPTH:
        return raw
    estimate = _MemoryEstimate()
    for begin in range(0, len(raw), _CHUNK):
        estimate.add(raw[begin : begin + _CHUNK])
    return _abridged(raw, estimate.too_long) if estimate.too_long else raw


def _abridged(raw: bytes, too_long: list[tuple[int, int]]) -> bytes:
    chunks: list[bytes | memoryview] = []
    done = 0
    with memoryview(raw) as view:
        for begin, end in too_long:
            if raw[end + 1 : end + BEGINNING].lstrip().startswith(b":"):
                raise InvalidResponse("JSON with a key that is too long")
            chunks += [view[done:begin], _beginning(raw[begin : begin + BEGINNING])]
            done = end
        chunks.append(view[done:])
        return b"".join(chunks)


def _beginning(text: bytes) -> bytes:
    """Return as much of the beginning of a text as is whole characters, up to the first escape."""
    return text.partition(b"\\")[0].decode(errors="ignore").encode() + CUT


def _marks(text: bytes) -> int:
    """Count the marks before or between values."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


class _MemoryEstimate:
    """
    Estimates the memory of JSON chunk by chunk.

    ``too_long``: spans of texts over the limit, without quotes.
    """

    def __init__(self) -> None:
        self.too_long: list[tuple[int, int]] = []
        self._values = 0
        self._depth = 0
        self._text = 0
        self._place = 0
        self._is_inside = False
        self._is_escaped = False
        self._opened = 0
        self._counted = 0
        self._width = 1

    def add(self, chunk: bytes) -> None:
        """
        Add the next chunk.

        Raises:
            InvalidResponse: all chunks so far take too much memory, or are nested too deeply.
        """
        width = _width(chunk)
        chunk = self._without_escapes(chunk)
        parts = chunk.split(b'"')
        self._count(b"".join(parts[self._is_inside :: 2]))
        if not (self._is_inside and len(parts) == 1):  # else it is all of one text: see `_close`
            self._text += width * len(chunk)
        if self._is_inside:
            self._width = max(self._width, width)
            if len(parts) > 1:
                self._close(self._place + len(parts[0]), width * len(parts[0]))
        if len(parts) % 2 == 0:
            self._is_inside = not self._is_inside
        if self._is_inside and len(parts) > 1:
            self._opened, self._width = self._place + len(chunk) - len(parts[-1]), width
            self._counted = width * len(parts[-1])
        self._place += len(chunk)
        weight = BYTES_OF_A_VALUE * self._values + self._text
        if weight > MOST_WEIGHT:
            raise InvalidResponse("JSON with too many values or too much text")

    def _count(self, outside: bytes) -> None:
        """Count what stands outside of texts."""
        self._values += _marks(outside)
        with memoryview(outside.translate(_UP_AND_DOWN, _NO_BRACKETS)) as view, view.cast("b") as steps:
            if max(accumulate(steps, initial=self._depth)) > MOST_DEPTH:
                raise InvalidResponse("JSON nested too deeply")
            self._depth += sum(steps)

    def _without_escapes(self, chunk: bytes) -> bytes:
        """Return a chunk of the same length in which no quote is escaped."""
        if self._is_escaped:
            chunk = b"_" + chunk[1:]
        if b"\\" in chunk:
            chunk = chunk.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        self._is_escaped = chunk.endswith(b"\\")
        return chunk

    def _close(self, end: int, counted: int) -> None:
        """End a text that began in an earlier chunk: what is cut out of it takes no memory."""
        size, counted = end - self._opened, counted + self._counted
        self._text -= counted
        if size > LONGEST_TEXT:
            self.too_long.append((self._opened, end))
        else:
            self._text += self._width * size


def _width(chunk: bytes) -> int:
    if chunk.isascii() and b"\\u" not in chunk:
        return 1
    is_wider = len(chunk.translate(None, _BEYOND)) < len(chunk) or b"\\ud" in chunk or b"\\uD" in chunk
    return _WIDER if is_wider else _WIDE
