"""What the names that people give to items tell by themselves: ids, addresses, DOIs, handles, versions."""

from __future__ import annotations

import re
from typing import NamedTuple

ID = r"\d{1,18}"
"""An item's id, as a pattern: what is longer is none, and fits into no ledger."""
_VERSION = r"\d{1,9}"
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
    without a version.
    """
    for pattern in (
        rf"0*({ID})(?:\.v({_VERSION}))?",
        rf"{_PLACE}/articles/(?:[^/\d][^/]*/(?:[^/]*/)?)?({ID})(?:/(?:versions/)?({_VERSION}))?{_REST}",
        rf".*\b10\.6084/m9\.figshare\.({ID})(?:\.v({_VERSION}))?/?",
    ):
        if found := re.fullmatch(pattern, name.strip(), re.IGNORECASE):
            return Named(int(found[1]), int(found[2] or 0))
    return None


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
    found = re.search(rf"\.v({_VERSION})$", doi, re.IGNORECASE)
    return int(found[1]) if found else 0


def why_not(name: str) -> str:
    """Say what a name is that cannot lead to an item, "" for one that may."""
    name = name.strip()
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
