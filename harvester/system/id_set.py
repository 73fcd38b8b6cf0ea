"""Bit set of ids: a set of whole numbers that needs little memory for millions of them."""

from __future__ import annotations

_BITS = 13
_MASK = (1 << _BITS) - 1


class IdSet:
    """
    A set of whole numbers; ids of one service are near each other.

    A kilobyte holds a range of 8,192 numbers, so all ids of figshare need a few megabytes.
    """

    def __init__(self) -> None:
        self._ranges: dict[int, bytearray] = {}

    def __contains__(self, number: int) -> bool:
        bits = self._ranges.get(number >> _BITS)
        place = number & _MASK
        return bits is not None and bool(bits[place >> 3] & 1 << (place & 7))

    def add(self, number: int) -> None:
        """Add a number; one that is here stays."""
        bits = self._ranges.setdefault(number >> _BITS, bytearray(1 << _BITS - 3))
        place = number & _MASK
        bits[place >> 3] |= 1 << (place & 7)

    def discard(self, number: int) -> None:
        """Remove a number, if it is here."""
        if number in self:
            place = number & _MASK
            self._ranges[number >> _BITS][place >> 3] ^= 1 << (place & 7)

    def clear(self) -> None:
        """Remove all numbers."""
        self._ranges.clear()
