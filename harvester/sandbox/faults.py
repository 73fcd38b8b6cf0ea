"""Fault injection: the seed, the address and the number of its requests decide which request gets a fault."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping

from harvester.sandbox.catalogue import INSTITUTION_NAME

_JSON = frozenset({"api", "stats"})
_FRONT = frozenset({"api", "stats", "files"})
_ALL = frozenset({"api", "stats", "files", "storage"})
_STORAGE = frozenset({"storage"})

PASSING: Mapping[str, frozenset[str]] = {
    "reset": _ALL,
    "reset-body": _JSON | _STORAGE,
    "stall": _JSON | _STORAGE,
    "drip": _JSON | _STORAGE,
    "429": _FRONT,
    "429-after": _FRONT,
    "429-date": _FRONT,
    "500": _ALL,
    "502-html": _FRONT,
    "503": _ALL,
    "challenge": _FRONT,
    "403-html": _FRONT,
    "404-html": _ALL,
    "half-json": _JSON,
    "empty": _ALL,
    "wrong-length": _STORAGE,
    "wrong-md5": _STORAGE,
    "range-ignored": _STORAGE,
    "416": _STORAGE,
    "short-range": _STORAGE,
    "other-range": _STORAGE,
    "other-etag": _STORAGE,
    "expired": frozenset({"files"}),
    "html-file": _STORAGE,
    "refused": _ALL,
    "reset-headers": _ALL,
    "403-burst": _FRONT,
    "trickle": _JSON | _STORAGE,
    "cut-chunked": _JSON,
    "gzip-cut": _JSON,
}
PERMANENT: Mapping[str, frozenset[str]] = {
    "always-wrong-md5": _STORAGE,
    "always-500": _JSON,
    "always-403-json": frozenset({"api"}),
    "always-challenge": frozenset({"files"}),
    "always-404": frozenset({"api"}),
    "always-404-html": _JSON,
    "always-gone-file": frozenset({"api", "files"}),
    "always-wrong-length": _STORAGE,
}
_RANGES_ONLY = {"range-ignored", "416", "short-range", "other-range", "other-etag"}
_KIND_ONLY = {"always-403-json": "record", "always-404": "record", "always-gone-file": "file"}
_KINDS = {
    "record": re.compile(r"/(?:account/)?articles/(\d+)(?:/versions/\d+)?"),
    "file list": re.compile(r"/(?:account/)?articles/(\d+)(?:/versions/\d+)?/files"),
    "versions": re.compile(r"/articles/(\d+)/versions"),
    "file": re.compile(r"/(?:file/download/|files/)?(\d+)"),
    "counter": re.compile(
        rf"(?:/{INSTITUTION_NAME})?(/(?:total|(?:timeline|breakdown)/\w+)/\w+/article/\d+)"
    ),
}
_SUBJECTS = {"record": "item", "file list": "item", "versions": "item"}


class FaultInjector:
    """
    Chooses faults, the same for the same requests in the same order.

    A permanent fault is chosen once for the subject of a request: an item (its record, file list and
    versions, public or from the account), a file (all routes to it, or its storage), a counter of an item
    (its total; its timeline or breakdown of one granularity, in any window); for everything else, the exact
    address.
    """

    def __init__(self, seed: int, shares: Mapping[str, float], max_per_address: int) -> None:
        self._seed = seed
        self._shares = shares
        self._most = max_per_address
        self._asked: Counter[str] = Counter()
        self._met: Counter[str] = Counter()

    def draw(self, service: str, path: str, address: str, *, is_range: bool) -> str | None:
        """Return the fault for a request, None for none; `address`: the request with its query."""
        if not self._shares:
            return None
        return self.permanent(service, path, address) or self._passing(service, address, is_range=is_range)

    def permanent(self, service: str, path: str, address: str = "") -> str | None:
        """Return the fault of every request to this path of a service, None for none."""
        kind, subject = _about(path)
        for name, services in PERMANENT.items():
            share = self._shares.get(name, 0.0)
            if share == 0 or service not in services or _KIND_ONLY.get(name, kind) != kind:
                continue
            if self._chance(f"{name} {subject or address}") < share:
                return name
        return None

    def _passing(self, service: str, address: str, *, is_range: bool) -> str | None:
        self._asked[address] += 1
        if self._met[address] >= self._most:
            return None
        chance = self._chance(f"{address} {self._asked[address]}")
        for name, services in PASSING.items():
            if service not in services or (name in _RANGES_ONLY and not is_range):
                continue
            chance -= self._shares.get(name, 0.0)
            if chance < 0:
                self._met[address] += 1
                return name
        return None

    def _chance(self, text: str) -> float:
        digest = hashlib.blake2b(f"{self._seed} {text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


def _about(path: str) -> tuple[str, str]:
    """Return the subject of a path: its kind and its name, "" and "" for anything else."""
    for kind, pattern in _KINDS.items():
        if found := pattern.fullmatch(path):
            return kind, f"{_SUBJECTS.get(kind, kind)} {found[1]}"
    return "", ""
