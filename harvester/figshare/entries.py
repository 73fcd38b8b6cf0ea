"""Listing page decoder: reads the entries of a page, also the malformed ones as far as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from harvester.errors import InvalidResponse
from harvester.figshare.decoding import decode_leniently, decoder, strict_decoder
from harvester.figshare.records import Natural, decode_raw_list

Some = TypeVar("Some", bound=Sequence[Any])

_DECIDE_ON_ENTRIES = frozenset(
    {"doi", "group_id", "project_id", "defined_type", "published_date", "modified_date"}
)
"""The fields that decide whether an entry is wanted; if one is malformed, the record decides."""
MOST_ENTRIES = 10_000
"""On a page: 1,000 are requested, and a service may ignore that and send more."""


class _Selected(msgspec.Struct, frozen=True):
    """The fields of an entry that decide whether it is wanted."""

    id: Natural
    doi: str | None = None
    group_id: Natural | None = None
    project_id: Natural | None = None
    defined_type: Natural | None = None
    published_date: str | None = None
    modified_date: str | None = None


class Entry(_Selected, frozen=True):
    """An item in a listing: the fields that the harvest reads."""

    title: str | None = None
    defined_type_name: str | None = None
    created_date: str | None = None
    handle: str | None = None


class _Named(msgspec.Struct, frozen=True):
    """The one field that an entry must have."""

    id: Natural


@dataclass(frozen=True)
class EntryPage:
    """
    A page of a listing.

    ``bare``: the ids of entries of which only the id is readable; their records decide.
    ``odd``: the places (from 1) of unreadable entries, with what is wrong with them.
    ``cursor``: where the next page begins, "" if the body does not say.
    ``size``: the number of all entries, which shows whether the page is full.
    """

    entries: tuple[Entry, ...]
    bare: tuple[int, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()
    cursor: str = ""

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.bare) + len(self.odd)


_decode_good_entries = strict_decoder(tuple[Entry, ...])
_decode_entry = strict_decoder(Entry)
_decode_selected = strict_decoder(_Selected)
_decode_named = decoder(_Named)


def decode_entries(raw: bytes) -> EntryPage:
    """
    Return a page of a listing; a malformed entry does not affect the others.

    Raises:
        InvalidResponse: it is not a list, or has far more entries than were requested.
        ConnectionFailed: it is not JSON.
    """
    try:
        return EntryPage(_few(_decode_good_entries(raw)))
    except InvalidResponse:
        raw_list = _few(decode_raw_list(raw))
    entries: list[Entry] = []
    bare: list[int] = []
    odd: list[tuple[int, str]] = []
    for place, piece in enumerate(raw_list, start=1):
        try:
            entries.append(_read_entry(bytes(piece)))
        except InvalidResponse as error:
            try:
                bare.append(_decode_named(bytes(piece)).id)  # its record has the rest
            except InvalidResponse:
                odd.append((place, str(error)))
    return EntryPage(tuple(entries), tuple(bare), tuple(odd))


def _few(entries: Some) -> Some:
    if len(entries) > MOST_ENTRIES:
        raise InvalidResponse(f"a page of {len(entries)} entries, ten times as many as are ever requested")
    return entries


def _read_entry(raw: bytes) -> Entry:
    """Return an entry, without the fields that are only displayed if just those are malformed."""
    try:
        return _decode_entry(raw)
    except InvalidResponse as error:
        try:
            entry, odd = decode_leniently(raw, Entry, error)
        except InvalidResponse:  # for example invalid bytes in a title
            return Entry(**msgspec.structs.asdict(_decode_selected(raw)))
        if _DECIDE_ON_ENTRIES.isdisjoint(odd):
            return entry
        raise
