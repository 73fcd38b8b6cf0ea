"""What a sandbox may be told, and the faults that it can play."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FAULTS: Mapping[str, str] = MappingProxyType(
    {
        "reset": "every service: the connection is cut before any answer",
        "reset-body": "api, stats, storage: cut in the middle of the body",
        "stall": "api, stats, storage: half the body, then silence",
        "drip": "storage: a second of single bytes, then the rest",
        "429": "api, stats, files: too many requests, without a word on when to come back",
        "429-after": "api, stats, files: with Retry-After in seconds",
        "429-date": "api, stats, files: with Retry-After as a date",
        "500": "every service: internal error",
        "502-html": "api, stats, files: a proxy's page",
        "503": "every service: unavailable",
        "challenge": "api, stats, files: 202, empty, x-amzn-waf-action: challenge",
        "403-html": "api, stats, files: a block page",
        "half-json": "api, stats: JSON that ends in the middle, with a length that agrees",
        "empty": "every service: 200 with nothing",
        "wrong-length": "storage: a shorter body, with a length that agrees",
        "wrong-md5": "storage: the right number of wrong bytes",
        "range-ignored": "storage: the whole file in answer to a Range request",
        "416": "storage: range not satisfiable in answer to a Range request",
        "expired": "files: a signed address that has expired",
        "html-file": "storage: 200 and a web page instead of the file",
        "always-wrong-md5": "storage, for ever for a share of the files: wrong bytes",
        "always-500": "api and stats, for ever for a share of the addresses",
        "always-403-json": "api records, for ever for a share of them: figshare's own refusal",
        "always-challenge": "files, for ever for a share of the addresses",
    }
)


@dataclass(frozen=True)
class Settings:
    """
    A sandbox to be. The same settings give the same data, to the byte.

    ``ports``: of api, stats, files and storage; 0 is any free one. ``latency``: seconds before every
    answer. ``rate_cap``: requests a second for each service, counted over the second that has passed;
    what comes on top is answered with 429. ``faults``: name to share (0 to 1) of requests;
    ``max_per_address``: so many of them at most for one address, the permanent ones apart. ``cap``:
    entries of a listing that can be reached by page numbers; ``cursors``: whether there is a way past.
    ``signed_seconds``: how long a storage address lives. ``heavy`` files have ``heavy_size`` bytes.
    ``record``: keep every request in `Sandbox.requests`.
    """

    items: int = 300
    private_items: int = 12
    seed: int = 1
    token: str = "sandbox-token"  # noqa: S105 - it opens nothing but this sandbox
    host: str = "127.0.0.1"
    ports: tuple[int, int, int, int] = (0, 0, 0, 0)
    latency: float = 0.0
    rate_cap: float = math.inf
    faults: Mapping[str, float] = field(default_factory=dict)
    max_per_address: int = 3
    cap: int = 9000
    cursors: bool = True
    signed_seconds: float = 10.0
    stall_seconds: float = 30.0
    heavy: int = 1
    heavy_size: int = 3_000_000
    record: bool = True
