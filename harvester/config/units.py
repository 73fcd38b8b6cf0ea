"""Values with units: sizes in bytes and durations in seconds, as people write them."""

import re
from typing import Self

from harvester.config.values import expected

_PREFIXES = enumerate("kmgt", start=1)
_BYTES = {"": 1, "b": 1} | {
    prefix + unit: base**power for power, prefix in _PREFIXES for unit, base in (("b", 1000), ("ib", 1024))
}
_DAY = 86400
_SECONDS = {
    "": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": _DAY, "day": _DAY, "days": _DAY,
    "w": 7 * _DAY, "week": 7 * _DAY, "weeks": 7 * _DAY,
}  # fmt: skip


def _parse(value: object, units: dict[str, int]) -> float | None:
    """Return a number with its unit as a number of the smallest unit, None if it is neither."""
    match = re.fullmatch(r"\s*([\d_]+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if match is None or match[2] not in units or isinstance(value, bool):
        return None
    return float(match[1]) * units[match[2]]


class ByteCount(int):
    """A number of bytes, written as "500 MB" (10^6), "2 GiB" (2^30) or a plain number."""

    @classmethod
    def parse(cls, value: object) -> Self:
        size = _parse(value, _BYTES)
        if size is None:
            raise ValueError(expected('a size such as "500 MB" or "2 GiB"', value))
        if size >= 2**63:
            raise ValueError(expected("a size below 2^63 bytes", value))
        return cls(size)


class Duration(float):
    """A number of seconds, written as "90 s", "5 min", "12 h", "30 days", "2 weeks" or 0."""

    @classmethod
    def parse(cls, value: object) -> Self:
        seconds = _parse(value, _SECONDS)
        if seconds and _parse(value, {"": 1}) is not None:
            raise ValueError(expected('a duration with its unit, such as "12 h" or "30 days"', value))
        if seconds is None:
            raise ValueError(expected('a duration such as "90 s", "5 min", "12 h" or "30 days"', value))
        if seconds > 100 * 366 * _DAY:
            raise ValueError(expected("a duration of 100 years at most", value))
        return cls(seconds)
