"""Answers: HTTP answers as data, and those that a fault puts in place of the right one."""

from __future__ import annotations

import gzip
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson

_PAGE = b"<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>"


@dataclass(frozen=True)
class Answer:
    """
    A status, headers and a body of ``length`` bytes in chunks.

    ``cut``: only half of the body is sent. ``rate``: bytes a second at most.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int = 0
    chunks: Iterable[bytes] = ()
    cut: bool = False
    rate: float = math.inf


def dumps(value: Any) -> bytes:
    """
    Return JSON, with Python's encoder for values that orjson rejects: lone
    surrogates, very large numbers.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a JSON answer."""
    body = dumps(value)
    return Answer(status, {"Content-Type": "application/json", **(headers or {})}, len(body), (body,))


def error_answer(status: int, message: str) -> Answer:
    """Return figshare's JSON error."""
    return json_answer({"message": message, "code": status * 100, "data": {}}, status)


def redirect(location: str) -> Answer:
    """Return a redirect."""
    return Answer(302, {"Location": location})


def page(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Return a web page."""
    return Answer(status, {"Content-Type": "text/html", **(headers or {})}, len(_PAGE), (_PAGE,))


def challenge() -> Answer:
    """Return a browser challenge, like figshare's firewall: accepted, and empty."""
    return Answer(202, {"x-amzn-waf-action": "challenge"})


def replaced(fault: str | None, answer: Answer) -> Answer:
    """Return the answer of a fault that replaces the right answer."""
    if fault in _OTHERS:
        return _OTHERS[fault]()
    if fault == "empty":
        return Answer(200, {"Content-Type": answer.headers.get("Content-Type", "")})
    if fault in {"half-json", "wrong-length", "always-wrong-length"}:
        body = b"".join(answer.chunks)[: answer.length // 2]
        return replace(answer, length=len(body), chunks=(body,))
    if fault == "gzip-cut":
        body = gzip.compress(b"".join(answer.chunks))
        body = body[: len(body) // 2]
        headers = {**answer.headers, "Content-Encoding": "gzip"}
        return replace(answer, headers=headers, length=len(body), chunks=(body,))
    if fault in _OTHER_PARTS and "Content-Range" in answer.headers:
        return _OTHER_PARTS[fault](answer)
    if fault == "wrong-md5":  # different each time, like transmission errors
        return replace(answer, chunks=(random.randbytes(len(chunk)) for chunk in answer.chunks))
    if fault == "always-wrong-md5":  # always the same, like a file that is corrupt in the storage
        return replace(answer, chunks=(bytes(255 - byte for byte in chunk) for chunk in answer.chunks))
    return answer


def _short(answer: Answer) -> Answer:
    """Return the first half of a range, at least one byte."""
    body = b"".join(answer.chunks)[: (answer.length + 1) // 2]
    return _part(answer, body, begin=_begin(answer))


def _shifted(answer: Answer) -> Answer:
    """Return a range without its first byte, or one byte before it if it has only one."""
    body = b"".join(answer.chunks)
    if len(body) > 1:
        return _part(answer, body[1:], begin=_begin(answer) + 1)
    return _part(answer, b"?" + body, begin=_begin(answer) - 1)


def _begin(answer: Answer) -> int:
    return int(re.findall(r"\d+", answer.headers["Content-Range"])[0])


def _part(answer: Answer, body: bytes, *, begin: int) -> Answer:
    total = answer.headers["Content-Range"].rpartition("/")[2]
    span = f"bytes {begin}-{begin + len(body) - 1}/{total}"
    return replace(
        answer, headers={**answer.headers, "Content-Range": span}, length=len(body), chunks=(body,)
    )


_OTHER_PARTS: Mapping[str | None, Callable[[Answer], Answer]] = {
    "short-range": _short,
    "other-range": _shifted,
    "other-etag": lambda answer: replace(answer, headers={**answer.headers, "ETag": '"another"'}),
}


def _throttled(retry_after: str | None = None) -> Answer:
    answer = error_answer(429, "Too many requests")
    return replace(answer, headers={**answer.headers, "Retry-After": retry_after}) if retry_after else answer


def _in_a_second() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)


_OTHERS: Mapping[str | None, Callable[[], Answer]] = {
    "429": _throttled,
    "429-after": lambda: _throttled("1"),
    "429-date": lambda: _throttled(_in_a_second()),
    "500": lambda: error_answer(500, "Internal error"),
    "always-500": lambda: error_answer(500, "Internal error"),
    "502-html": lambda: page(502),
    "503": lambda: Answer(503),
    "challenge": challenge,
    "always-challenge": challenge,
    "403-html": lambda: page(403),
    "404-html": lambda: page(404),
    "always-404-html": lambda: page(404),
    "403-burst": lambda: page(403),
    "always-403-json": lambda: error_answer(403, "You do not have the right to see this item"),
    "always-404": lambda: error_answer(404, "Entity not found: article"),
    "always-gone-file": lambda: error_answer(404, "No such file"),
    "html-file": lambda: page(200),
    "416": lambda: Answer(416),
}
