"""What the names that people give to items tell by themselves: ids, addresses, DOIs, handles, versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

ID = r"\d{1,18}"
"""An item's id, as a pattern: what is longer is none, and fits into no ledger."""
_VERSION = r"\d{1,9}"
_LONG_ENOUGH = r"\d{5,18}"
"""A number that is an item's id rather than its version or the year that it is called by."""
_BEFORE_ID = 2
"""Segments of an address that may stand before the id: the item's type and its title."""
_PLACE = r"https?://[^?#]+?"
_REST = r"(?:[/?#].*)?"


class Named(NamedTuple):
    """An item's id, and the version that is meant: 0 for whatever is current."""

    id: int
    version: int = 0


def item_in(name: str) -> Named | None:
    """
    Read the item's id where the name itself tells it, without asking anybody.

    An id, an item's address on figshare.com, the api or an institution's portal, a DOI of figshare's
    own prefix (an institution's DOI need not end with the id: see `Figshare.find_doi`), each with or
    without a version. A version 0 is none, and what names it names nothing.
    """
    found = _read(name.strip())
    if found is None or (found[1] and not int(found[1])):
        return None
    return Named(int(found[0]), int(found[1] or 0))


def _read(name: str) -> tuple[str, str] | None:
    """Return an item's id and its version, "" for none, as they stand in a name."""
    if found := re.match(rf"{_PLACE}/articles/([^?#]+)", name, re.IGNORECASE):
        told = _in_address([segment for segment in found[1].split("/") if segment])
        if told is not None:
            return told
    for pattern in (
        rf"0*({ID})(?:\.v({_VERSION}))?",
        rf".*\b10\.6084/m9\.figshare\.({ID})(?:\.v({_VERSION}))?/?",
    ):
        if found := re.fullmatch(pattern, name, re.IGNORECASE):
            return found[1], found[2] or ""
    return None


def _in_address(segments: Sequence[str]) -> tuple[str, str] | None:
    """
    Read what stands behind ``articles/``: up to a type and a title, the id, up to a version.

    A title may be a number, such as 2019. Of two numbers in a row the second is the id where it is long
    enough for one, as no version is.
    """
    place = next((place for place, segment in enumerate(segments) if segment.isdecimal()), None)
    if place is None or place > _BEFORE_ID:
        return None
    if re.fullmatch(_LONG_ENOUGH, "".join(segments[place + 1 : place + 2])):
        place += 1
    if not re.fullmatch(ID, segments[place]):
        return None
    rest = segments[place + 1 :]
    if rest[:1] == ["versions"]:
        rest = rest[1:]
    return segments[place], "".join(each for each in rest[:1] if re.fullmatch(_VERSION, each))


def doi_in(name: str) -> str | None:
    """Return the DOI in a name such as "10.1234/x", "doi:10.1234/x" or "https://doi.org/10.1234/x"."""
    found = re.search(r"\b10\.\d{4,9}/[^\s?#]+", name)
    return found[0].rstrip("/.,;") if found else None


def handle_in(name: str) -> str | None:
    """Return the handle in a name such as "2134/123", "hdl:2134/123" or "https://hdl.handle.net/2134/123"."""
    found = re.fullmatch(
        r"(?:hdl:|info:hdl/|https?://hdl\.handle\.net/)?(\d+(?:\.\d+)*/[^\s?#]+)", name.strip(), re.IGNORECASE
    )
    return found[1] if found and doi_in(found[1]) is None else None


def version_in(doi: str) -> int:
    """Return the version that a DOI names, 0 for none."""
    return int(_version_in(doi) or 0)


def _version_in(doi: str) -> str:
    found = re.search(rf"\.v({_VERSION})/?$", doi, re.IGNORECASE)
    return found[1] if found else ""


def why_not(name: str) -> str:
    """Say what a name is that cannot lead to an item, "" for one that may."""
    name = name.strip()
    told = _read(name)
    version = told[1] if told else _version_in(name)
    if version and not int(version):
        return "there is no version 0: an item's versions begin with 1"
    if re.fullmatch(rf"{_PLACE}/s/\w+{_REST}", name):
        return "a private link, which the api does not open: name the item by its id or DOI"
    for kind in ("collection", "project"):
        address = rf"{_PLACE}/{kind}s/(?:[^/]*[^/\d][^/]*/)?({ID}){_REST}"
        if found := re.fullmatch(address, name, re.IGNORECASE):
            return _a_source(kind, found[1])
    if found := re.fullmatch(rf".*\b10\.\d{{4,9}}/m9\.figshare\.c\.({ID})(?:\.v\d+)?/?", name, re.IGNORECASE):
        return _a_source("collection", found[1])
    return ""


def _a_source(kind: str, number: str) -> str:
    return f'a {kind}, no item: use a source of kind = "{kind}" with id = {number}'


def same_doi(one: str | None, other: str) -> bool:
    """Tell whether two DOIs name the same item, whatever their versions and case."""
    return bool(one) and _unversioned(str(one)) == _unversioned(other)


def _unversioned(doi: str) -> str:
    return re.sub(r"\.v\d+$", "", doi.lower())
