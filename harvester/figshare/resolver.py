"""Identifier resolution: requests from figshare which items a DOI, a handle or an address means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from yarl import URL

from harvester.errors import InvalidResponse, NotFound, Rejected
from harvester.figshare.api_version import ApiVersion
from harvester.figshare.decoding import decoder
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
from harvester.models import ItemId
from harvester.text.display import one_line

MOST_AT_ONCE = 10
"""Items that may share a name; figshare ignores filters that it does not know, so no more are requested."""
_LAST_TRIED = 9
"""The last version that is tried for a name that is not found as given."""
_LONGEST_ADDRESS = 200


class _Homes(msgspec.Struct, frozen=True):
    """The addresses in an item's record: texts, unless they are malformed."""

    doi: Any = None
    figshare_url: Any = None
    url_public_html: Any = None

    def addresses(self) -> Iterator[str]:
        for address in (self.url_public_html, self.figshare_url):
            if isinstance(address, str) and address:
                yield address


_decode_homes = decoder(_Homes)


class IdentifierResolver:
    """
    Resolves names to items. All calls raise what `Client.retry` raises.

    Answers are compared with the name, as figshare ignores filters that it does not know.
    """

    def __init__(self, rest: RestApi, api: URL, version: ApiVersion) -> None:
        self._rest = rest
        self._version = version
        self._homes = version.record.decoding(_decode_homes)
        self._portals = {host_of(str(api))}
        self._by_doi = set[int]()

    def trusts(self, identifier: ItemIdentifier) -> bool:
        """Return whether the host of an address is figshare's, the API's own, or a known portal."""
        host = identifier.host
        return not host or is_figshares(host) or host in self._portals

    def note_doi(self, item_id: ItemId) -> None:
        """Remember that the user named an item by a DOI that ends in this number."""
        self._by_doi.add(item_id)

    async def with_doi_of(self, item_id: ItemId, version: int) -> tuple[int, ...]:
        """
        Return the items whose DOI ends in the number of another one.

        () if the user named it differently.
        """
        if item_id not in self._by_doi:
            return ()
        doi = f"10.6084/m9.figshare.{item_id}.v{version or 1}"
        return tuple(each.id for each in await self._listed("doi", doi, doi))

    async def mismatch(self, identifier: ItemIdentifier) -> str:
        """
        Return why an address of another host does not belong to this item, "" if it does.

        Journals number their articles too. The records of a portal's items contain its host, so one of them
        is requested when a host appears for the first time.

        Raises:
            NotFound: there is no such public item, so no record contains the host.
        """
        host = identifier.host
        try:
            homes = (await self._rest.request(self._homes, item_id=identifier.id)).value
        except NotFound as exc:
            reason = f"no public item {identifier.id} has it as its address"
            raise NotFound(f"{host} is not figshare's, and {reason}") from exc
        addresses = tuple(homes.addresses())
        if host in map(host_of, addresses):
            self._portals.add(host)
            return ""
        address = "is not in its record"
        if addresses:
            address = f"is {one_line(addresses[0].partition('://')[2] or addresses[0])[:_LONGEST_ADDRESS]}"
        return f"{host} is not figshare's, and item {identifier.id}'s own address {address}"

    async def by_doi(self, doi: str) -> tuple[ItemIdentifier, ...]:
        """
        Return the items with this DOI, with or without its version; () if there is none.

        Several items may share a DOI. The filter may know only the DOI with the current version, or only the
        one without. So these are tried in turn: the item whose number ends the DOI, the form with or without
        a version, both in lower case, and the versions up to `_LAST_TRIED`.
        """
        if found := await self._listed("doi", doi, doi):
            return found
        if tail := re.search(rf"[./]({ID})(?:\.v[0-9]+)?$", doi, re.IGNORECASE):
            try:
                homes = (await self._rest.request(self._homes, item_id=int(tail[1]))).value
                if isinstance(homes.doi, str) and same_name(homes.doi, doi):
                    return (ItemIdentifier(int(tail[1]), version_in(doi)),)
            except (NotFound, InvalidResponse, Rejected):
                pass
        return await self._in_other_forms("doi", doi)

    async def by_handle(self, handle: str) -> tuple[ItemIdentifier, ...]:
        """Return the items with this handle, as `by_doi` does."""
        return await self._listed("handle", handle, handle) or await self._in_other_forms("handle", handle)

    async def _in_other_forms(self, field: str, name: str) -> tuple[ItemIdentifier, ...]:
        """Request the other forms of a name, one by one, until one is found."""
        for form in _other_forms(name):
            if found := await self._listed(field, form, name):
                return found
        return ()

    async def _listed(self, field: str, form: str, name: str) -> tuple[ItemIdentifier, ...]:
        """Return the items that a listing finds by one form of a name, and that have the name."""
        endpoint = self._version.articles
        params = {endpoint.params[field]: form, self._version.paging.page_size: MOST_AT_ONCE}
        page = (await self._rest.request(endpoint, params)).value
        names = {entry.id: str(getattr(entry, field) or "") for entry in page.entries}
        same = {item_id: text for item_id, text in names.items() if same_name(text, name)}
        exact = {item_id: text for item_id, text in same.items() if text.lower() == name.lower()}
        return tuple(
            ItemIdentifier(item_id, _version(field, text, name))
            for item_id, text in sorted((exact or same).items())
        )


def _version(field: str, own_name: str, name: str) -> int:
    """Return the version that a name means; the item's own handle means the current one."""
    return 0 if field == "handle" and own_name.lower() == name.lower() else version_in(name)


def _other_forms(name: str) -> tuple[str, ...]:
    """Return the name without and with versions, each also in lower case; likely ones first."""
    bare = without_version(name)
    first = (bare if bare != name else f"{bare}.v1", name.lower())
    versions = [f"{bare}.v{number}" for number in range(1, _LAST_TRIED + 1)]
    forms = (*first, first[0].lower(), *versions, *map(str.lower, versions))
    return tuple(form for form in dict.fromkeys(forms) if form != name)
