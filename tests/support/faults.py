"""Every fault of the sandbox, one by one and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harvester.errors import FailureKind

PASSING: Mapping[str, str] = {
    "refused": "retried, with longer waits",
    "reset": "retried",
    "reset-headers": "retried",
    "reset-body": "retried; a file is resumed",
    "cut-chunked": "half an answer does not count: retried",
    "gzip-cut": "half an answer does not count: retried",
    "stall": "ended after timeouts.idle; a file is resumed",
    "drip": "waited for",
    "trickle": "slower than timeouts.min_speed: ended, retried",
    "429": "the service pauses, then continues at half the rate and recovers",
    "429-after": "the service pauses for as many seconds",
    "429-date": "the service pauses until then, by the server's clock",
    "500": "retried",
    "502-html": "retried; a page is never JSON",
    "503": "retried",
    "challenge": "api, stats: a pause, then retried; a file takes the other route",
    "403-html": "a block: as a challenge",
    "404-html": "not figshare's own answer: as a challenge",
    "403-burst": "a block: as a challenge",
    "half-json": "half an answer does not count: retried",
    "empty": "neither JSON nor a file: as a challenge",
    "wrong-length": "wrong size: retried",
    "wrong-md5": "deleted, downloaded again",
    "range-ignored": "starts over with the whole file",
    "416": "starts over",
    "short-range": "kept, and the rest is requested",
    "other-range": "retried; the second time it starts over",
    "other-etag": "starts over: no file is half old, half new",
    "expired": "retried at figshare's address for a new signature",
    "html-file": "a page is never a file: the other route",
}


RANGES = {"range-ignored", "416", "short-range", "other-range", "other-etag"}
"""Met only by a download that goes on after a cut."""


PATIENCE: Mapping[str, Mapping[str, object]] = {
    "drip": {"timeouts.idle": 2.0},
    "403-burst": {"retry.max_wait": 0.4},  # a burst lasts for 0.2 s: all tries must not fall into one
    "refused": {"retry.max_wait": 0.4},
}
"""What is set otherwise than in `config` for the faults that take longer."""


@dataclass(frozen=True)
class Never:
    """What is made of a fault that never passes."""

    task: str
    failure_kind: FailureKind
    words: str
    attempts: set[str]


PERMANENT: Mapping[str, Never] = {
    "always-500": Never("metadata", FailureKind.TRANSIENT, "server error (500)", {"6"}),  # 3, twice
    "always-403-json": Never("metadata", FailureKind.PERMANENT, "You do not have the right to see", {"1"}),
    "always-404": Never("metadata", FailureKind.NOT_FOUND, "not found (404)", {"2"}),
    "always-404-html": Never("metadata", FailureKind.BLOCKED, "not in figshare's JSON (404)", {"6"}),
    "always-gone-file": Never("files", FailureKind.NOT_FOUND, "not found (404)", {"2"}),
    "always-wrong-md5": Never("files", FailureKind.PERMANENT, "twice the same", {"2"}),
    "always-wrong-length": Never("files", FailureKind.TRANSIENT, "were expected", {"6"}),
}


def all_at_once(share: float = 0.05) -> dict[str, float]:
    """
    Return a share for each fault: about `share` of the requests meet one that passes.

    A service meets about half of the faults, so each gets twice its part.
    """
    return {**dict.fromkeys(PASSING, share / len(PASSING) * 2), **dict.fromkeys(PERMANENT, 0.01)}
