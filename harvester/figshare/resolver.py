"""Which items a DOI, a handle or an address leads to, where the name does not tell: figshare is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from yarl import URL

from harvester.errors import InvalidResponse, NotFound, Rejected
from harvester.figshare.decoding import decoder
from harvester.figshare.entries import decode_entries
from harvester.figshare.identifiers import (
    ID,
    ItemIdentifier,
    host_of,
    is_figshares,
    same_name,
    version_in,
    without_version,
)
from harvester.figshare.rest import RestApi
from harvester.text.display import one_line

MOST_AT_ONCE = 10
"""Items that may share a name: figshare ignores filters that it does not know, so no more is asked for."""
_LAST_TRIED = 9
"""The last version of a name that is asked for where the name is not known as it was given."""
_LONGEST_ADDRESS = 200


class _Homes(msgspec.Struct, frozen=True):
    """What a record says of where its item is: texts, but for what is odd."""

    doi: Any = None
    figshare_url: Any = None
    url_public_html: Any = None

    def addresses(self) -> Iterator[str]:
        for told in (self.url_public_html, self.figshare_url):
            if isinstance(told, str) and told:
                yield told


_decode_homes = decoder(_Homes)


class IdentifierResolver:
    """
    Asks for items by their names. All raise what `Client.retry` raises.

    What comes back is compared: figshare ignores filters that it does not know.
    """

    def __init__(self, endpoints: RestApi, api: URL) -> None:
        self._endpoints = endpoints
        self._portals = {host_of(str(api))}
        self._by_doi = set[int]()

    def trusts(self, named: ItemIdentifier) -> bool:
        """Tell whether the host of an address is figshare's, the api's own, or a portal that was seen."""
        return not named.host or is_figshares(named.host) or named.host in self._portals

    def note_doi(self, item_id: int) -> None:
        """Note that an item was named by a DOI that ends in this number."""
        self._by_doi.add(item_id)

    async def with_doi_of(self, item_id: int, version: int) -> tuple[int, ...]:
        """Return the items whose DOI ends in the number of another one; () where it was not named by DOI."""
        if item_id not in self._by_doi:
            return ()
        doi = f"10.6084/m9.figshare.{item_id}.v{version or 1}"
        return tuple(each.id for each in await self._listed("doi", doi, doi))

    async def mismatch(self, named: ItemIdentifier) -> str:
        """
        Say why an item is not the one that an address of another host means, "" where it is.

        Journals number their articles too. A portal is known by the records of its items, which name its
        host; so one of them is asked for, the first time that a host comes up.

        Raises:
            NotFound: there is no such public item, so nothing tells the host.
        """
        try:
            homes = (await self._endpoints.get(f"articles/{named.id}", _decode_homes)).value
        except NotFound as exc:
            told = f"no public item {named.id} has it as its address"
            raise NotFound(f"{named.host} is not figshare's, and {told}") from exc
        addresses = tuple(homes.addresses())
        if named.host in map(host_of, addresses):
            self._portals.add(named.host)
            return ""
        told = "is not in its record"
        if addresses:
            told = f"is {one_line(addresses[0].partition('://')[2] or addresses[0])[:_LONGEST_ADDRESS]}"
        return f"{named.host} is not figshare's, and item {named.id}'s own address {told}"

    async def by_doi(self, doi: str) -> tuple[ItemIdentifier, ...]:
        """
        Return the items with this DOI, with or without its version; () where there is none.

        One DOI may be that of several items. The filter may know only the DOI with the current version, or
        the one without: the item whose number is its tail is asked for, then the form
        with or without a version, that in lower case, and the versions up to `_LAST_TRIED`.
        """
        if found := await self._listed("doi", doi, doi):
            return found
        if tail := re.search(rf"[./]({ID})(?:\.v[0-9]+)?$", doi, re.IGNORECASE):
            try:
                homes = (await self._endpoints.get(f"articles/{int(tail[1])}", _decode_homes)).value
                if isinstance(homes.doi, str) and same_name(homes.doi, doi):
                    return (ItemIdentifier(int(tail[1]), version_in(doi)),)
            except (NotFound, InvalidResponse, Rejected):
                pass
        return await self._in_other_forms("doi", doi)

    async def by_handle(self, handle: str) -> tuple[ItemIdentifier, ...]:
        """Return the items with this handle, as `by_doi` does."""
        return await self._listed("handle", handle, handle) or await self._in_other_forms("handle", handle)

    async def _in_other_forms(self, field: str, name: str) -> tuple[ItemIdentifier, ...]:
        """Ask for a name in its other forms, one by one, until one is found."""
        for form in _other_forms(name):
            if found := await self._listed(field, form, name):
                return found
        return ()

    async def _listed(self, field: str, form: str, name: str) -> tuple[ItemIdentifier, ...]:
        """Return the items that a listing filtered by one form of a name gives, and that have the name."""
        fields = {field: form, "page_size": MOST_AT_ONCE}
        page = (await self._endpoints.get("articles", decode_entries, fields)).value
        told = {entry.id: str(getattr(entry, field) or "") for entry in page.entries}
        same = {item_id: text for item_id, text in told.items() if same_name(text, name)}
        exact = {item_id: text for item_id, text in same.items() if text.lower() == name.lower()}
        return tuple(
            ItemIdentifier(item_id, _version(field, text, name))
            for item_id, text in sorted((exact or same).items())
        )


def _version(field: str, told: str, name: str) -> int:
    """Return the version that a name means; a handle that is the item's own means whatever is current."""
    return 0 if field == "handle" and told.lower() == name.lower() else version_in(name)


def _other_forms(name: str) -> tuple[str, ...]:
    """Return a name without its version and with others, each also in lower case; the likely ones first."""
    bare = without_version(name)
    first = (bare if bare != name else f"{bare}.v1", name.lower())
    versions = [f"{bare}.v{number}" for number in range(1, _LAST_TRIED + 1)]
    forms = (*first, first[0].lower(), *versions, *map(str.lower, versions))
    return tuple(form for form in dict.fromkeys(forms) if form != name)
