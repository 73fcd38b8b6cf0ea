"""JSON decoders: strict first, then lenient; broken JSON and JSON of another shape are different errors."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from typing import TypeVar

import msgspec

from harvester.client.json_size import readable
from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decode_faults import decode_fault
from harvester.figshare.lenient import Lenient, Unclear, read_leniently

T = TypeVar("T")

_LARGE = 1 << 20
"""Bytes; JSON of this size is not parsed again to find out what is wrong with it."""


def decoder(kind: type[T], *, may_be_odd: bool = False, as_sent: bool = False) -> Callable[[bytes], T]:
    """
    Return a function that decodes JSON to a type, leniently if needed: see `lenient.py`.

    It raises `InvalidResponse` for JSON of another type, and `ConnectionFailed` for bytes that are not JSON.
    `may_be_odd`: a value without a clear meaning becomes null, if the type allows null.
    `as_sent`: see `strict_decoder`.
    """
    decode_strictly = strict_decoder(kind, as_sent=as_sent)

    def decode(raw: bytes) -> T:
        try:
            return decode_strictly(raw)
        except InvalidResponse as error:
            value, odd = decode_leniently(raw, kind, error)
            if odd and not may_be_odd:
                raise
            return value

    return decode


def strict_decoder(kind: type[T], *, as_sent: bool = False) -> Callable[[bytes], T]:
    """
    Return a function like that of `decoder`, for JSON of the documented types only: the fast path.

    `as_sent`: very long texts stay unchanged in the parts of the JSON that are not decoded yet.
    """
    inner = msgspec.json.Decoder(kind)

    def decode(raw: bytes) -> T:
        text = readable(raw)
        try:
            return inner.decode(raw if as_sent else text)
        except msgspec.ValidationError as exc:
            fault = decode_fault(exc)
            raise InvalidResponse(f"the response does not match the documented JSON: {fault}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if _is_whole(raw):
                raise InvalidResponse(f"JSON that no standard allows: {decode_fault(exc)}") from exc
            raise ConnectionFailed(f"not whole JSON: {decode_fault(exc)}") from exc
        except RecursionError as exc:
            raise InvalidResponse("JSON nested too deeply") from exc

    return decode


def decode_leniently(raw: bytes, kind: type[T], error: InvalidResponse) -> Lenient[T]:
    """
    Return JSON that the strict decoder rejected with `error`, decoded leniently.

    Raises:
        InvalidResponse: `error`, if lenient decoding does not help, or the JSON is unreadable.
    """
    try:
        return read_leniently(decode_anything(raw), kind)
    except Unclear as unclear:
        raise error from unclear


decode_anything = strict_decoder(object)


def _is_whole(raw: bytes) -> bool:
    """Return whether rejected JSON is complete (half a Unicode character in it) rather than cut."""
    if len(raw) > _LARGE:
        return raw[-_LARGE:].rstrip().endswith((b"}", b"]"))
    try:
        json.loads(raw)  # the most tolerant JSON parser
    except UnicodeDecodeError as exc:
        return exc.reason != "unexpected end of data"
    except (ValueError, RecursionError):
        return False
    return True


def must_be_text(raw: bytes) -> None:
    """
    Check that bytes are UTF-8 even if they are not decoded, as they are stored and shown.

    Raises:
        InvalidResponse: they are not.
    """
    decoder, begin, pending = codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        while begin < len(raw):  # decoded as one text it could be four times as large
            piece = raw[begin : begin + _LARGE]
            pending = len(decoder.getstate()[0])
            decoder.decode(piece, final=begin + len(piece) == len(raw))
            begin += len(piece)
    except UnicodeDecodeError as exc:
        place = begin - pending + exc.start
        raise InvalidResponse(f"not UTF-8 text: {exc.reason} at byte {place}") from exc
