"""Which request meets which fault: settled by the seed, the address and how often it was asked."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

_JSON = frozenset({"api", "stats"})
_FRONT = frozenset({"api", "stats", "files"})
_ALL = frozenset({"api", "stats", "files", "storage"})
_STORAGE = frozenset({"storage"})

PASSING: Mapping[str, frozenset[str]] = {
    "reset": _ALL,
    "reset-body": _JSON | _STORAGE,
    "stall": _JSON | _STORAGE,
    "drip": _STORAGE,
    "429": _FRONT,
    "429-after": _FRONT,
    "429-date": _FRONT,
    "500": _ALL,
    "502-html": _FRONT,
    "503": _ALL,
    "challenge": _FRONT,
    "403-html": _FRONT,
    "half-json": _JSON,
    "empty": _ALL,
    "wrong-length": _STORAGE,
    "wrong-md5": _STORAGE,
    "range-ignored": _STORAGE,
    "416": _STORAGE,
    "expired": frozenset({"files"}),
    "html-file": _STORAGE,
}
PERMANENT: Mapping[str, frozenset[str]] = {
    "always-wrong-md5": _STORAGE,
    "always-500": _JSON,
    "always-403-json": frozenset({"api"}),
    "always-challenge": frozenset({"files"}),
}
_RANGES_ONLY = {"range-ignored", "416"}


class Dice:
    """Throws the same for the same requests in the same order."""

    def __init__(self, seed: int, shares: Mapping[str, float], max_per_address: int) -> None:
        self._seed = seed
        self._shares = shares
        self._most = max_per_address
        self._asked: Counter[str] = Counter()
        self._met: Counter[str] = Counter()

    def throw(self, service: str, address: str, *, is_range: bool, is_record: bool) -> str | None:
        """Name the fault that this request meets, None for none."""
        if not self._shares:
            return None
        for name, services in PERMANENT.items():
            if (
                service in services
                and (is_record or name != "always-403-json")
                and self._always(name, address)
            ):
                return name
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

    def _always(self, name: str, address: str) -> bool:
        share = self._shares.get(name, 0.0)
        return share > 0 and self._chance(f"{name} {address}") < share

    def _chance(self, text: str) -> float:
        digest = hashlib.blake2b(f"{self._seed} {text}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64
