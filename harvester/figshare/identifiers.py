"""Item identifiers: parses ids, addresses, DOIs and handles, each with or without a version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

ID = "[0-9]{1,18}"
"""The pattern of an item's id; a longer number is none, and does not fit into the ledger."""
_VERSION = "[0-9]{1,9}"
_LONG_ENOUGH = "[0-9]{5,18}"
"""The pattern of a number that is an item's id rather than a version or a year in its title."""
_BEFORE_ID = 2
"""Path segments that may precede the id: the item's type and its title."""
_FIGSHARE = ("figshare.com", "figsh.com")
_MOST_ESCAPED = 2
"""How often one character may have been percent-escaped."""

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_QUOTES = "\"'`<>“”„‟‘’‚‛«»‹›"
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_HOST = r"(?:[\w-]+\.)+[a-z]{2,}(?=[:/])|(?<=//)[^/\s?#@:]+"
_ADDRESS = re.compile(
    rf"(?:https?://)?(?:(?<=//)[^/\s?#@]*@)?({_HOST})(?::([0-9]+))?(/[^?#]*)?(?:[?#].*)?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
_DOI = re.compile(r"\b10\.[0-9]{4,9}/[^\s?#]+", re.ASCII)
_FIGSHARE_DOI = re.compile(rf"10\.6084/m9\.figshare\.({ID})(?:\.v({_VERSION}))?", re.IGNORECASE)
_COLLECTION_DOI = re.compile(rf"10\.[0-9]{{4,9}}/(?:.*\.)?c\.({ID})(?:\.v[0-9]+)?", re.IGNORECASE)
_HANDLE = re.compile(
    r"(?:(?:https?://)?hdl\.handle\.net/+)?(?:hdl:|handle:|info:hdl/)?\s*([0-9]+(?:\.[0-9]+)*/[^\s?#]+)"
    r"(?:[?#].*)?",
    re.IGNORECASE,
)
_ID = re.compile(rf"0*({ID})(?:\.0|\.v({_VERSION}))?", re.IGNORECASE)  # .0: by way of a spreadsheet
_OAI = re.compile(rf"oai:figshare\.com:article/({ID})(?:[./]v({_VERSION}))?", re.IGNORECASE)


class ItemIdentifier(NamedTuple):
    """
    An item's id, and the version, 0 for the current one.

    ``host``: the host of an address that may or may not be one of figshare's portals; "" if the name itself
    is proof enough.
    """

    id: int
    version: int = 0
    host: str = ""


def tidied(name: str) -> str:
    """
    Return a name without the characters that lists, mails and markup add: quotes,
    brackets, a full stop.
    """
    text = " ".join(_INVISIBLE.sub("", name).split())
    if found := re.search(r"""\]\(\s*<?([^\s>]+?)>?\)|href\s*=\s*["']?([^"'\s>]+)""", text):
        text = found[1] or found[2]
    text = re.sub(r"^(?:[-*•–]|[0-9]+[.)]) +", "", text)
    while True:
        shorter = text.strip(f"{_QUOTES} ").rstrip(".,;:!?").lstrip("([{")
        if shorter[-1:] in _BRACKETS and shorter.count(shorter[-1]) > shorter.count(_BRACKETS[shorter[-1]]):
            shorter = shorter[:-1]
        if shorter == text:
            return text
        text = shorter


def _unescaped(text: str) -> str:
    for _ in range(_MOST_ESCAPED):
        plain = unquote(text)
        if plain == text or "\ufffd" in plain:
            break
        text = plain
    return text


def item_in(name: str) -> ItemIdentifier | None:
    """
    Return the item's id if the name contains it, without a request; else None.

    A name is an id, an item's address on figshare.com, the API or an institution's portal, or a DOI with
    figshare's own prefix (an institution's DOI need not end with the id: see `Finder.by_doi`), each with or
    without a version. There is no version 0: a name with it means no item.
    """
    found = _read(name)
    if found is None or (found[1] and not int(found[1])):
        return None
    return ItemIdentifier(int(found[0]), int(found[1] or 0), found[2])


def _read(name: str) -> tuple[str, str, str] | None:
    """Return the id, the version ("" for none) and the host to be checked, as written in a name."""
    text = tidied(name)
    found: re.Match[str] | None
    if found := _ID.fullmatch(text):
        return found[1], found[2] or "", ""
    plain = _unescaped(text)
    for address in dict.fromkeys((text, plain)):  # a title may hold an escaped "/"
        if (place := _place(address)) and (found_id := _in_place(*place)):
            return found_id
    if found := _OAI.fullmatch(plain) or _ID.fullmatch(plain):
        return found[1], found[2] or "", ""
    if (doi := doi_in(plain)) and (found := _FIGSHARE_DOI.fullmatch(doi)):
        return found[1], found[2] or "", ""
    return None


def _place(text: str) -> tuple[str, list[str]] | None:
    """Return the host and the parts of the path of an address, with or without its scheme."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        return None
    port = f":{found[2]}" if found[2] and found[2] not in {"80", "443"} else ""
    host = found[1].lower().rstrip(".").removeprefix("www.") + port
    return host, [part for part in (found[3] or "").split("/") if part]


def host_of(address: str) -> str:
    """Return the host of an address without "www.", with its port unless that is the default; or ""."""
    place = _place(address.strip())
    return place[0] if place else ""


def is_figshares(host: str) -> bool:
    """Return whether a host is one of figshare's, so that numbers in its addresses are figshare's ids."""
    name = host.partition(":")[0]
    return name in _FIGSHARE or name.endswith(tuple(f".{each}" for each in _FIGSHARE))


def _in_place(host: str, parts: Sequence[str]) -> tuple[str, str, str] | None:
    """Parse the path after ``articles``, or after ``items`` as in version 3 of the API."""
    is_own = is_figshares(host)
    names = {"articles", "items"} if is_own else {"articles"}
    for place, part in enumerate(parts):
        if part.lower() in names:
            found_id = _in_path(parts[place + 1 :])
            return found_id and (*found_id, "" if is_own else host)
    return None


def _in_path(segments: Sequence[str]) -> tuple[str, str] | None:
    """
    Parse the path after ``articles/``: an optional type and title, the id, an optional version.

    A title may be a number, such as 2019. Of two numbers in a row the second is the id if it is long
    enough, as versions are short.
    """
    place = next((place for place, each in enumerate(segments) if re.fullmatch("[0-9]+", each)), None)
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
    found = _DOI.search(_unescaped(tidied(name)))
    return tidied(found[0]).rstrip("/.,;") if found else None


def is_figshares_doi(name: str) -> bool:
    """Return whether a name is a DOI of figshare's own form, which ends with the item's id."""
    return "10." in name and _FIGSHARE_DOI.fullmatch(doi_in(name) or "") is not None


def handle_in(name: str) -> str | None:
    """Return the handle in a name such as "2134/123", "hdl:2134/123" or "https://hdl.handle.net/2134/123"."""
    found = _HANDLE.fullmatch(_unescaped(tidied(name)).rstrip("/ "))
    return found[1].rstrip("/") if found and doi_in(found[1]) is None else None


def version_in(doi: str) -> int:
    """Return the version in a DOI or a handle, 0 for none."""
    return int(_version_in(doi) or 0)


def _version_in(doi: str) -> str:
    found = re.search(rf"\.v({_VERSION})/?$", doi, re.IGNORECASE)
    return found[1] if found else ""


def without_version(name: str) -> str:
    """Return a DOI or a handle without its version."""
    return re.sub(r"\.v[0-9]+$", "", name, flags=re.IGNORECASE)


def same_name(one: str | None, other: str) -> bool:
    """Return whether two DOIs or handles mean the same item; versions and case are ignored."""
    return bool(one) and without_version(str(one)).lower() == without_version(other).lower()


# -- what is no item ------------------------------------------------------------------------------


def why_not(name: str) -> str:
    """Return what a name is that cannot mean an item, "" if it can."""
    text = _unescaped(tidied(name))
    found_id = _read(name)
    version = found_id[1] if found_id else _version_in(text)
    if version and not int(version):
        return "there is no version 0: an item's versions begin with 1"
    if found_id:
        return ""
    if (doi := doi_in(text)) and (found := _COLLECTION_DOI.fullmatch(doi)):
        return _a_source("collection", found[1])
    place = _place(text)
    if place is None or doi:
        return ""
    host, parts = place
    return _not_an_item(parts) or (_page_of_figshare(parts) if is_figshares(host) else "")


def _not_an_item(parts: Sequence[str]) -> str:
    """Return what an address is, by its path, "" if that is unknown."""
    path = "/".join(parts)
    for pattern, say in _PATHS:
        if found := re.fullmatch(pattern, path, re.IGNORECASE):
            return say(found)
    return ""


def _a_source(kind: str, number: str) -> str:
    return f'a {kind}: use --{kind} {number} (in a config: kind = "{kind}", id = {number})'


_NO_FILE = "a file: name the item that it belongs to, by its id, DOI or address"
_SOURCE_PATH = (
    rf"(?:.*?/)?(collection|project)s/(?:[^/]*[^/0-9][^/]*/|[0-9]+/(?={_LONG_ENOUGH}(?:/|$)))?({ID})(?:/.*)?"
)
_PATHS: Sequence[tuple[str, Callable[[re.Match[str]], str]]] = (
    (
        r"s/\w+(?:/.*)?",
        lambda _: "a private link, which the api does not open: name the item by its id or DOI",
    ),
    (rf"(?:.*/)?(?:files|file/download|download/files?)/{ID}(?:/.*)?", lambda _: _NO_FILE),
    (
        _SOURCE_PATH,
        lambda found: _a_source(found[1].lower(), found[2]),
    ),
    (
        "",
        lambda _: "the front page of a site: use --institution or --group with its id",
    ),
)
_PAGES = {
    "search": "a search: use --search with its query",
    "browse": "a list of items: use --search with a query",
    "categories": "a category: use --search with ':category: \"…\"'",
    "authors": "an author: use --search with ':author: \"…\"'",
    "groups": "a group: use --group with its id",
    "account": "a page of an account: use --account",
}


def _page_of_figshare(parts: Sequence[str]) -> str:
    for part in parts[:2]:
        if said := _PAGES.get(part.lower()):
            return said
    return "an address of figshare's that names no item: name the item by its id, DOI or own address"


def source_in(name: str) -> tuple[str, int]:
    """Return the kind ("collection", "project") and the id that an address or a DOI names, else "" and 0."""
    text = _unescaped(tidied(name))
    if (doi := doi_in(text)) and (found := _COLLECTION_DOI.fullmatch(doi)):
        return "collection", int(found[1])
    place = _place(text)
    found = place and re.fullmatch(_SOURCE_PATH, "/".join(place[1]), re.IGNORECASE)
    return (found[1].lower(), int(found[2])) if found else ("", 0)
