"""Error mapping of HTTP statuses and headers: what a response means, in pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import orjson
from yarl import URL

from harvester.errors import (
    AuthenticationRequired,
    BadRequest,
    Blocked,
    ConnectionFailed,
    Forbidden,
    HarvestError,
    NotFound,
    RateLimited,
    Rejected,
    ServerError,
    TransientError,
    UnprovenNotFound,
)
from harvester.text.display import one_line

LONGEST_ERROR = 1 << 16
"""Bytes of JSON in which an error is looked for: a longer answer says something else."""
_BEGINNING = re.compile(
    rb'\s*\{\s*(?:"code"\s*:\s*(?:"[^"\\]*"|\d+)\s*,\s*)?"message"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL
)
"""The beginning of figshare's own errors, of any length: the message comes first, or after the code."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_DECISIONS = frozenset({400, 402, 405, 406, 411, 413, 414, 415, 417, 422, 428, 451})
"""With figshare's own JSON these are final; without it, or with any other status, a retry may succeed."""


def error_for_status(
    name: str,
    status: int,
    headers: Mapping[str, str],
    raw: bytes,
    wait_seconds: float | None = None,
    *,
    with_token: bool = True,
) -> HarvestError:
    """
    Return the error that a status other than success means; `raw` is the beginning of the body.

    `with_token`: whether the request carried a token or credentials; only then can a refusal be about them.

    Source: figshare API reference, Errors. A 403 with JSON is figshare's decision about the item or the
    token; any other 403 comes from a firewall in front of it. Every other final error needs figshare's own
    JSON: a gateway that cannot reach figshare answers 404 to everything, in JSON too.
    """
    words = _words(raw)
    reason = words or _other_words(raw)
    said = f": {reason}" if reason else ""
    if status == 202 or "x-amzn-waf-action" in headers:
        return Blocked(f"{name}: browser challenge ({status})")
    if status == 401 and with_token:
        return Forbidden(f"{name}: refused (401){said}")
    if status in {401, 403}:
        if words is None and not _is_json(raw):
            return Blocked(f"{name}: blocked ({status})")
        kind = Forbidden if with_token else AuthenticationRequired
        return kind(f"{name}: refused ({status}){said}")
    if status in {404, 410}:
        if words is None:
            return UnprovenNotFound(f"{name}: not found, but not in figshare's JSON ({status})")
        return NotFound(f"{name}: not found ({status}){said}")
    if status in _DECISIONS and words is not None:
        return (BadRequest if status in {400, 422} else Rejected)(f"{name}: answered {status}{said}")
    return _passing(name, status, said, wait_seconds)


def _passing(name: str, status: int, said: str, wait_seconds: float | None) -> TransientError:
    """Return the error of a status that says nothing about the requested item or file."""
    if status == 429:
        return RateLimited(f"{name}: too many requests (429)", retry_after=wait_seconds)
    if status == 408:
        return ConnectionFailed(f"{name}: the server timed out (408)")
    if status >= 500:
        return ServerError(f"{name}: server error ({status})", retry_after=wait_seconds)
    return ConnectionFailed(f"{name}: answered {status}{said}", retry_after=wait_seconds)


def _words(raw: bytes) -> str | None:
    """Return figshare's error message, None if the body is not, and does not begin, its JSON."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        start = _BEGINNING.match(raw)
        return start and one_line(start[1].decode(errors="replace"))[:200]
    if not isinstance(document, dict) or "message" not in document:
        return None
    words = document["message"]
    # A list is no message, and hundreds of nested ones cannot even be shown.
    return one_line(str(words))[:200] if isinstance(words, str | int | float) else ""


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return True


def _other_words(raw: bytes) -> str:
    """Return the text of a JSON error without a message, "" if it has none."""
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    if isinstance(document, dict):
        document = document.get("error") or document.get("code")
    return one_line(document)[:200] if isinstance(document, str) else ""


def says_nothing(raw: bytes) -> bool:
    """Return whether JSON is empty, or an error with the status of success."""
    if len(raw) > LONGEST_ERROR:
        return False
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    signs = {"message", "error", "errors", "code"}
    return not document or (isinstance(document, dict) and bool(signs & document.keys()))


def is_of_another(other: str, etag: str) -> bool:
    """Return whether a response names another ETag than was sent; a weak one is equal to its strong one."""
    return bool(other) and other.removeprefix("W/") != etag.removeprefix("W/")


def retry_after_seconds(value: str | None, date: str | None = None) -> float | None:
    """
    Return the seconds of a `Retry-After` header, which gives seconds or a date; None for anything else.

    `date`: the response's own `Date`, so that the clock of this machine does not matter.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        when = _moment(value)
        if when is None:
            return None
        seconds = (when - (_moment(date or "") or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _moment(date: str) -> datetime | None:
    """Return an HTTP date, None if it is none."""
    try:
        when = parsedate_to_datetime(date)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def date_of(headers: Mapping[str, str]) -> str:
    """Return when an answer was given, by the clock of its service: 2026-01-02T03:04:05Z, "" for unknown."""
    when = _moment(headers.get("Date", ""))
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when else ""


class ContentRange(NamedTuple):
    """The bytes of a file in a response: from ``begin`` up to, but not including, ``end``, of ``total``."""

    begin: int
    end: int
    total: int


_NO_RANGE = ContentRange(-1, -1, -1)


def content_range(value: str) -> ContentRange:
    """Read ``bytes 5-8/10`` as (5, 9, 10); (-1, -1, -1) for anything else."""
    found = _CONTENT_RANGE.fullmatch(value)
    if found is None:
        return _NO_RANGE
    begin, last, total = map(int, found.groups())
    return ContentRange(begin, last + 1, total) if begin <= last < total else _NO_RANGE


def display_url(url: URL) -> str:
    """Return an address for display, without its query, which holds signatures and secrets."""
    return one_line(f"{url.host}{url.path}")
