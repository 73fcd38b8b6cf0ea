"""Decoders of statistics: totals, timelines and breakdowns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from harvester.errors import InvalidResponse
from harvester.figshare.decoding import decode_anything, decoder
from harvester.figshare.records import Natural

Numbers: TypeAlias = Mapping[str, Mapping[str, int]]
"""Counts by the name of a period, as the service writes it, and by country ("": all of them)."""
NOWHERE = "Unknown"
"""figshare's name for an unknown place."""

# Some answers have null or an empty list instead of an empty table.
_Cities: TypeAlias = dict[str, Natural | None]
_Countries: TypeAlias = dict[str, _Cities | list[None] | Natural | None]


class _Total(msgspec.Struct, frozen=True):
    totals: Natural | None = None


class _Timeline(msgspec.Struct, frozen=True):
    timeline: dict[str, Natural | None] | list[None] | None = None


class _Breakdown(msgspec.Struct, frozen=True):
    breakdown: dict[str, _Countries | list[None] | None] | list[None] | None = None


_decode_total = decoder(_Total)
_decode_timeline = decoder(_Timeline)
_decode_breakdown = decoder(_Breakdown)
decode_counts = decoder(dict[str, Natural])


def decode_total(raw: bytes) -> int | None:
    """Return a counter; None for an item that the service does not know."""
    total = None if _is_nothing(raw) else _decode_total(raw).totals
    if total is None:
        _must_be_empty(raw, "totals")
    return total


def decode_timeline(raw: bytes) -> Numbers:
    """Return a timeline; an empty one for an item that the service does not know."""
    periods = None if _is_nothing(raw) else _decode_timeline(raw).timeline
    if not isinstance(periods, dict):
        _must_be_empty(raw, "timeline")
        return {}
    return {name: {"": number} for name, number in periods.items() if number is not None}


def decode_breakdown(raw: bytes) -> Numbers:
    """Return a breakdown; the cities of a country are added up where its sum is missing."""
    periods = None if _is_nothing(raw) else _decode_breakdown(raw).breakdown
    if not isinstance(periods, dict):
        _must_be_empty(raw, "breakdown")
        return {}
    return {
        name: _by_country(countries) for name, countries in periods.items() if isinstance(countries, dict)
    }


def _is_nothing(raw: bytes) -> bool:
    return raw.strip() in {b"null", b"[]", b"{}"}


def _must_be_empty(raw: bytes, key: str) -> None:
    """
    Check that an answer without numbers is empty: an error with a success status does not mean "unknown".

    Raises:
        InvalidResponse: it contains something else than an empty `key`.
    """
    if _is_nothing(raw):
        return
    value = decode_anything(raw)
    if not isinstance(value, dict) or value.keys() != {key}:
        raise InvalidResponse(f"neither {key} nor an empty answer")


def _by_country(countries: _Countries) -> Mapping[str, int]:
    numbers: defaultdict[str, int] = defaultdict(int)
    for country, value in countries.items():
        if value is None or isinstance(value, list):
            continue
        numbers[country.strip() or NOWHERE] += value if isinstance(value, int) else _sum(value)
    return numbers


def _sum(cities: _Cities) -> int:
    whole = cities.get("total")
    return sum(number or 0 for number in cities.values()) if whole is None else whole
