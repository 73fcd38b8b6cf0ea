"""Every fault of the sandbox, one by one and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harvester.errors import FailureKind

PASSING: Mapping[str, str] = {
    "refused": "asked again, with longer waits",
    "reset": "asked again",
    "reset-headers": "asked again",
    "reset-body": "asked again; a file goes on where it was cut",
    "cut-chunked": "half an answer is no answer: asked again",
    "gzip-cut": "half an answer is no answer: asked again",
    "stall": "given up after timeouts.idle; a file goes on where it was",
    "drip": "waited for: it is slow, and comes",
    "trickle": "slower than timeouts.slowest: given up, asked again",
    "429": "everybody pauses, at half the rate, then recovers",
    "429-after": "everybody pauses for as many seconds as were asked for",
    "429-date": "everybody pauses until then, by the server's clock",
    "500": "asked again",
    "502-html": "asked again; a page is never JSON",
    "503": "asked again",
    "challenge": "api, stats: a pause, asked again; a file takes the other route",
    "403-html": "a block and no decision: as a challenge",
    "404-html": "no word of figshare's: as a challenge",
    "403-burst": "a block and no decision: as a challenge",
    "half-json": "half an answer is no answer: asked again",
    "empty": "an empty 200 is no JSON and no file",
    "wrong-length": "not the promised size: asked again",
    "wrong-md5": "thrown away, fetched again",
    "range-ignored": "begun anew with what comes",
    "416": "compared: begun anew",
    "short-range": "taken, and the rest is asked for",
    "other-range": "refused, asked again; the second time begun anew",
    "other-etag": "begun anew: nothing comes half old, half new",
    "expired": "asked again at figshare's address for a new signature",
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
    "always-500": Never("metadata", FailureKind.FOR_NOW, "failed there (500)", {"6"}),  # 3, and 3 at the end
    "always-403-json": Never("metadata", FailureKind.FOR_GOOD, "You do not have the right to see", {"1"}),
    "always-404": Never("metadata", FailureKind.GONE, "not found (404)", {"2"}),
    "always-404-html": Never("metadata", FailureKind.BLOCKED, "words that are not figshare's (404)", {"6"}),
    "always-gone-file": Never("files", FailureKind.GONE, "not found (404)", {"2"}),
    "always-wrong-md5": Never("files", FailureKind.FOR_GOOD, "twice the same", {"2"}),
    "always-wrong-length": Never("files", FailureKind.FOR_NOW, "were promised", {"6"}),
}


def all_at_once() -> dict[str, float]:
    """A service meets about half of the faults: so each has a share that makes one request in twenty."""
    return {**dict.fromkeys(PASSING, 0.05 / len(PASSING) * 2), **dict.fromkeys(PERMANENT, 0.01)}
