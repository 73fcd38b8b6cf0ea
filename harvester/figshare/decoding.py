"""JSON decoders: strict first, then lenient; broken JSON and JSON of another shape are different errors."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from typing import TypeVar

import msgspec

from harvester.client.json_size import readable
from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.lenient import Lenient, Unclear, read_leniently

T = TypeVar("T")

_LARGE = 1 << 20
"""Bytes of JSON that is not read a second time to find out what is wrong with it."""


def decoder(kind: type[T], *, may_be_odd: bool = False, as_sent: bool = False) -> Callable[[bytes], T]:
    """
    Return a function that decodes JSON of this shape, leniently where needed: see `lenient.py`.

    It raises `InvalidResponse` for JSON of another shape, and `ConnectionFailed` for what is not JSON.
    `may_be_odd`: a value without a plain meaning is null, where the shape allows for null.
    `as_sent`: as of `strict_decoder`.
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
    Return a function like `decoder`'s, for JSON in the documented types alone: the fast way, tried first.

    `as_sent`: texts that are too long to be read stay as they are, in pieces of JSON that are not read yet.
    """
    inner = msgspec.json.Decoder(kind)

    def decode(raw: bytes) -> T:
        text = readable(raw)
        try:
            return inner.decode(raw if as_sent else text)
        except msgspec.ValidationError as exc:
            raise InvalidResponse(f"the response does not match the documented JSON: {exc}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if _is_whole(raw):
                raise InvalidResponse(f"JSON that no standard allows: {exc}") from exc
            raise ConnectionFailed(f"not whole JSON: {exc}") from exc
        except RecursionError as exc:
            raise InvalidResponse("JSON nested too deeply") from exc

    return decode


def decode_leniently(raw: bytes, kind: type[T], error: InvalidResponse) -> Lenient[T]:
    """
    Return what the strict decoder refused with `error`, read leniently.

    Raises:
        InvalidResponse: `error`, where it is no better so, or JSON that cannot be read at all.
    """
    try:
        return read_leniently(decode_anything(raw), kind)
    except Unclear as unclear:
        raise error from unclear


decode_anything = strict_decoder(object)


def _is_whole(raw: bytes) -> bool:
    """Return whether refused JSON is complete but odd (half a Unicode character) rather than cut."""
    if len(raw) > _LARGE:
        return raw[-_LARGE:].rstrip().endswith((b"}", b"]"))
    try:
        json.loads(raw)  # of all readers the one that takes most
    except UnicodeDecodeError as exc:
        return exc.reason != "unexpected end of data"
    except (ValueError, RecursionError):
        return False
    return True


def must_be_text(raw: bytes) -> None:
    """
    Check that bytes are UTF-8, also where they are not decoded: they are kept and shown.

    Raises:
        InvalidResponse: they are none.
    """
    decoder, begin, pending = codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        while begin < len(raw):  # as one text it might be four times as large
            piece = raw[begin : begin + _LARGE]
            pending = len(decoder.getstate()[0])
            decoder.decode(piece, final=begin + len(piece) == len(raw))
            begin += len(piece)
    except UnicodeDecodeError as exc:
        place = begin - pending + exc.start
        raise InvalidResponse(f"not UTF-8 text: {exc.reason} at byte {place}") from exc
