"""What the names that people give to items tell by themselves: ids, addresses, DOIs."""

from __future__ import annotations

import re

ID = r"\d{1,18}"
"""An item's id, as a pattern: what is longer is none, and fits into no ledger."""


def item_id_in(name: str) -> int | None:
    """
    Read the item's id where the name itself tells it, without asking anybody.

    An id, an item's address on figshare.com, the api or an institution's portal, a DOI of figshare's
    own prefix (an institution's DOI need not end with the id: see `Figshare.find_doi`).
    """
    for pattern in (
        rf"0*({ID})",
        rf"https?://[^?#]+?/articles/(?:[^/\d][^/]*/(?:[^/]*/)?)?({ID})(?:[/?#].*)?",
        rf".*\b10\.6084/m9\.figshare\.({ID})(?:\.v\d+)?/?",
    ):
        if found := re.fullmatch(pattern, name.strip(), re.IGNORECASE):
            return int(found[1])
    return None


def doi_in(name: str) -> str | None:
    """Return the DOI in a name such as "10.1234/x", "doi:10.1234/x" or "https://doi.org/10.1234/x"."""
    found = re.search(r"\b10\.\d{4,9}/[^\s?#]+", name)
    return found[0].rstrip("/.,;") if found else None


def same_doi(one: str | None, other: str) -> bool:
    """Tell whether two DOIs name the same item, whatever their versions and case."""
    return bool(one) and _unversioned(str(one)) == _unversioned(other)


def _unversioned(doi: str) -> str:
    return re.sub(r"\.v\d+$", "", doi.lower())
