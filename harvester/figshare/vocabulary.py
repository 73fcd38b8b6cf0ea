"""
Vocabulary lookup: resolves the names of licences and item types.

An institution has its own licences and types, which only its own token can read. So an unknown name is no
error: it is sent as given, the records are compared with it, and the user gets a warning.
"""

from __future__ import annotations

from harvester.errors import InvalidResponse, NotFound, Rejected
from harvester.figshare.api_version import ApiVersion, Endpoint
from harvester.figshare.filters import ITEM_TYPES, Filters
from harvester.figshare.records import Licence
from harvester.figshare.rest import RestApi
from harvester.text.wording import quoted, suggest

_TYPE = "--type (in a config: item_type)"
_HAS_NONE = (NotFound, InvalidResponse, Rejected)
"""The errors of a service without such a list, for example for an account without an institution."""


class Vocabulary:
    """Looks names up; each list is requested once, and only for a name that needs it."""

    def __init__(self, rest: RestApi, version: ApiVersion) -> None:
        self._rest = rest
        self._version = version
        self._licences: dict[str, str] | None = None
        self._own_licences: dict[str, str] | None = None
        self._types: dict[str, int] | None = None

    async def licence(self, wanted: str) -> str:
        """
        Return a licence's name as figshare spells it, "" if figshare does not know it.

        The institution's list is requested if the public one does not have it and there is a token.
        """
        name = wanted.strip().casefold()
        if self._licences is None:
            self._licences = await self._named(self._version.licences)
        if name in self._licences or not self._rest.has_token:
            return self._licences.get(name, "")
        if self._own_licences is None:
            self._own_licences = await self._named(self._version.own_licences)
        return self._own_licences.get(name, "")

    async def type_number(self, wanted: str) -> int:
        """Return the number of a type, 0 if figshare does not know it."""
        if self._types is None:
            self._types = await self._numbered()
        return self._types.get(wanted.strip().casefold(), 0)

    async def unknown_values(self, filters: Filters) -> list[str]:
        """Return a warning for each unknown name and number, with similar names."""
        unknown = []
        if (licence := filters.licence) is not None and not await self.licence(licence):
            known = {**(self._licences or {}), **(self._own_licences or {})}
            unknown.append(f"--licence: unknown {quoted(licence)}{suggest(licence, known.values())}")
        number, name = filters.type_number, filters.type_name
        if number is not None and number not in ITEM_TYPES.values():
            unknown.append(f"{_TYPE}: unknown number {number}")
        if name and not await self.type_number(name):
            hint = suggest(name, {**ITEM_TYPES, **(self._types or {})})
            unknown.append(f"{_TYPE}: unknown {quoted(name)}{hint}")
        return [f"{each}: taken as it is, and compared with the records" for each in unknown]

    async def _named(self, endpoint: Endpoint[list[Licence]]) -> dict[str, str]:
        try:
            licences = (await self._rest.request(endpoint)).value
        except _HAS_NONE:
            return {}
        return {each.name.casefold(): each.name for each in licences if each.name}

    async def _numbered(self) -> dict[str, int]:
        try:
            types = (await self._rest.request(self._version.item_types)).value
        except _HAS_NONE:
            return {}
        return {each.name.strip().casefold(): each.id for each in types if each.name}
