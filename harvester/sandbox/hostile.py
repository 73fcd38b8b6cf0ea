"""Hostile records: malicious or malformed answers, some made as data, others as bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, reduce
from itertools import chain, repeat
from typing import Any

from harvester.sandbox.answers import Answer, dumps, json_answer, redirect
from harvester.sandbox.catalogue import FORMULAS, TERMINAL, Addresses
from harvester.sandbox.oddities import WRONG_MD5, odd_fields, odd_files

Json = dict[str, Any]

MB = 1_000_000
HUGE_SIZE = 100 * MB
BOMB_SIZE = 4000 * MB
SMALL_BOMB_SIZE = 90 * MB
BLOATED_SIZE = 66 * MB
THOUSANDS = 25_000
LONG_HEAD = MB
DEPTH = 10_000
UNREAD = "appendix"
"""A key that no record has."""
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
_FRESH_FROM = 10**15
"""Ids of files that no item has."""


# -- as data ----------------------------------------------------------------------------------------


def spoil_record(kind: str, record: Json) -> Json:
    """Return an item's record for a hostile kind, if a dict can represent it."""
    if not kind:
        return record
    authors, categories = record["authors"], record["categories"]
    spoilt: Mapping[str, Json] = {
        "surrogates": {"title": "lone \ud800 title"},
        "nul": {"title": "nul\0title"},
        "escape-title": {
            "title": f"{TERMINAL}title{TERMINAL}",
            "authors": [{**author, "full_name": f"{TERMINAL}{author['full_name']}"} for author in authors],
        },
        "formula": {
            "title": "=cmd|'/C calc'!A0",
            "authors": [{**authors[0], "full_name": f"{formula} Author"} for formula in FORMULAS[::-1]],
            "categories": [{**categories[0], "title": f"{formula} studies"} for formula in FORMULAS],
        },
        "long-texts": {"title": "a" * 1_000_000},
        "huge-numbers": {"size": 10**400},
    }
    return {**record, **spoilt.get(kind, {}), **odd_fields(kind, record)}


def spoil_files(kind: str, files: Sequence[Json], at: Addresses) -> list[Json]:
    """Return the files of a hostile item."""
    if kind == "link-elsewhere":
        addresses = (
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            f"{at.elsewhere}/files/1",
        )
        return [{**file, "download_url": url} for file, url in zip(files, addresses, strict=True)]
    if kind == "huge-numbers":
        return [{**files[0], "size": 10**400}, *files[1:]]
    if kind == "absurd-size":
        return [{**files[0], "size": 2**50}, *files[1:]]
    if kind == "escape-title":
        return [{**files[0], "supplied_md5": WRONG_MD5, "computed_md5": WRONG_MD5}, *files[1:]]
    return odd_files(kind, files)


def file_page(kind: str, files: Sequence[Json], begin: int, end: int) -> list[Json]:
    """Return the requested part of a file list, or that of a hostile list."""
    if kind == "repeating-files":
        begin, end = 0, end - begin
    if kind == "thousands":
        more = [_fresh(files, place) for place in range(max(begin, len(files)), min(end, THOUSANDS))]
        return [*files[begin:end], *({**file, "is_link_only": True, "size": 0} for file in more)]
    if kind in {"repeating-files", "endless-files"}:
        return [files[place] if place < len(files) else _fresh(files, place) for place in range(begin, end)]
    return list(files[begin:end])


def _fresh(files: Sequence[Json], place: int) -> Json:
    return {**files[0], "id": _FRESH_FROM + place, "name": f"fresh_{place}.csv"}


# -- as bytes ---------------------------------------------------------------------------------------


def answer(kind: str, record: Json, headers: Mapping[str, str]) -> Answer:
    """Return the answer with an item's record and additional headers."""
    make = _ANSWERS.get(kind)
    found = make(record) if make else json_answer(record)
    return replace(found, headers={**found.headers, **headers})


def _huge(record: Json) -> Answer:
    begin, end = dumps(record)[:-1] + f',"{UNREAD}":"'.encode(), b'"}'
    chunks = chain([begin], repeat(b"a" * MB, HUGE_SIZE // MB), [end])
    return _bytes_answer(len(begin) + HUGE_SIZE + len(end), chunks)


def _bomb(record: Json, size: int) -> Answer:
    head, block, times, tail = _packed(dumps(record), size)
    chunks = chain([head], repeat(block, times), [tail])
    packed = _bytes_answer(len(head) + len(block) * times + len(tail), chunks)
    return replace(packed, headers={**packed.headers, "Content-Encoding": "gzip"})


@lru_cache(maxsize=4)
def _packed(body: bytes, size: int) -> tuple[bytes, bytes, int, bytes]:
    """
    Compress a body followed by `size` blanks; return a head, a block, its number of repetitions, and a tail.

    Each million of blanks is compressed separately, so it always gives the same block.
    """
    blanks, times = b" " * MB, size // MB
    packing = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = _GZIP_HEADER + packing.compress(body) + packing.flush(zlib.Z_FULL_FLUSH)
    block = packing.compress(blanks) + packing.flush(zlib.Z_FULL_FLUSH)
    sums = struct.pack("<II", _crc(body, blanks, times), (len(body) + len(blanks) * times) % 2**32)
    return head, block, times, packing.flush() + sums


def _crc(body: bytes, block: bytes, times: int) -> int:
    """
    Return the CRC of a body and a repeated block, without processing gigabytes.

    The effect of a block on the CRC is linear, so it is computed from its effect on each bit.
    """
    of_block = zlib.crc32(block)
    bits = [zlib.crc32(block, 1 << bit) ^ of_block for bit in range(32)]
    crc = zlib.crc32(body)
    for _ in range(times):
        following = of_block
        for bit, effect in enumerate(bits):
            if crc >> bit & 1:
                following ^= effect
        crc = following
    return crc


def _brotli(record: Json) -> Answer:
    """Return a record as uncompressed brotli (RFC 7932): one meta-block, then an empty one."""
    body = dumps(record)
    stream = (1 << 20 | (len(body) - 1) << 4).to_bytes(3, "little") + body + b"\x03"
    whole = _bytes_answer(len(stream), (stream,))
    return replace(whole, headers={**whole.headers, "Content-Encoding": "br"})


def _with_key(record: Json, key: str, value: bytes) -> Answer:
    """Add raw JSON to a record, after all other keys."""
    plain = {name: value for name, value in record.items() if name != key}
    body = dumps(plain)[:-1] + f',"{key}":'.encode() + value + b"}"
    return _bytes_answer(len(body), (body,))


def bloated() -> Answer:
    """Return the answer with a list of ones that decompresses to a thousand times its size."""
    return _gzipped(b"[", b"1,", b"1]")


def _bloated(record: Json, key: str, begin: bytes, again: bytes, end: bytes) -> Answer:
    """Add JSON with a repeated part to a record, after all other keys."""
    plain = {name: value for name, value in record.items() if name != key}
    return _gzipped(dumps(plain)[:-1] + f',"{key}":'.encode() + begin, again, end + b"}")


def _gzipped(begin: bytes, again: bytes, end: bytes) -> Answer:
    body = _repeated(begin, again, end)
    whole = _bytes_answer(len(body), (body,))
    return replace(whole, headers={**whole.headers, "Content-Encoding": "gzip"})


@lru_cache(maxsize=4)
def _repeated(begin: bytes, again: bytes, end: bytes) -> bytes:
    """Compress a long text, its repeated part once: after a full flush the same part gives the same bytes."""
    packing = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    block, times = again * (MB // len(again)), BLOATED_SIZE // MB
    head = _GZIP_HEADER + packing.compress(begin) + packing.flush(zlib.Z_FULL_FLUSH)
    packed = packing.compress(block) + packing.flush(zlib.Z_FULL_FLUSH)
    crc = reduce(lambda before, part: zlib.crc32(part, before), [begin, *repeat(block, times), end], 0)
    sums = struct.pack("<II", crc, len(begin) + len(block) * times + len(end))
    return b"".join([head, packed * times, packing.compress(end), packing.flush(), sums])


def _bytes_answer(length: int, chunks: Iterable[bytes]) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, length, chunks)


_NESTED = b"[" * DEPTH + b"]" * DEPTH
_ANSWERS: Mapping[str, Callable[[Json], Answer]] = {
    "wrong-shape": lambda record: json_answer([record]),
    "wrong-files": lambda record: json_answer({**record, "files": "none"}),
    "files-object": lambda record: json_answer({**record, "files": dict(enumerate(record["files"]))}),
    "huge": _huge,
    "deep-unread": lambda record: _with_key(record, UNREAD, _NESTED),
    "deep-read": lambda record: _with_key(record, "authors", _NESTED),
    "bomb": lambda record: _bomb(record, BOMB_SIZE),
    "bomb-small": lambda record: _bomb(record, SMALL_BOMB_SIZE),
    "bad-utf8": lambda record: _with_key(record, UNREAD, b'"caf\xe9 \xff\xfe \xed\xa0\x80"'),
    "brotli": _brotli,
    "many-numbers": lambda record: _bloated(record, "authors", b"[", b"1,", b"1]"),
    "many-authors": lambda record: _bloated(record, "authors", b"[", b"{},", b"{}]"),
    "many-files": lambda record: _bloated(record, "files", b"[", b'{"id":1},', b'{"id":1}]'),
    "many-keys": lambda record: _bloated(record, UNREAD, b"{", b'"a":0,', b'"a":0}'),
    "long-key": lambda record: _bloated(record, UNREAD, b'{"', b"a", b'":0}'),
    "wide-title": lambda record: _bloated(record, "title", b'"', b"a", '\U0001f600"'.encode()),
    "long-text": lambda record: _bloated(record, "description", b'"', b"words, and ", b'"'),
    "long-number": lambda record: _bloated(record, UNREAD, b"", b"1", b""),
    "long-head": lambda record: replace(json_answer(record), headers={"X-Long": "a" * LONG_HEAD}),
    "long-location": lambda _: redirect("/" + "a" * LONG_HEAD),
}
