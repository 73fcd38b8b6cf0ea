"""
The names that figshare gives to licences and types, as far as it tells them.

An institution has licences and types of its own, and tells them to its own token alone. So a name that is
not found here is no error: it is sent as it is, the records are compared with it, and the user is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from harvester.errors import InvalidResponse, NotFound, Rejected
from harvester.figshare.filters import ITEM_TYPES, Filters
from harvester.figshare.records import decode_licences, decode_types
from harvester.figshare.rest import RestApi


class Vocabulary:
    """Looks names up; each list is asked for once, and only for a name that needs it."""

    def __init__(self, endpoints: RestApi) -> None:
        self._endpoints = endpoints
        self._licences: dict[str, str] | None = None
        self._own_licences: dict[str, str] | None = None
        self._types: dict[str, int] | None = None

    async def licence(self, wanted: str) -> str:
        """
        Return a licence's name as figshare spells it, "" where it knows none of this name.

        Those of an institution are asked for where the public ones do not help and there is a token.
        """
        name = wanted.strip().casefold()
        if self._licences is None:
            self._licences = await self._named("licenses", authorised=False)
        if name in self._licences or not self._endpoints.has_token:
            return self._licences.get(name, "")
        if self._own_licences is None:
            self._own_licences = await self._named("account/licenses", authorised=True)
        return self._own_licences.get(name, "")

    async def type_number(self, wanted: str) -> int:
        """Return the number of a type, 0 where figshare knows none of this name."""
        if self._types is None:
            self._types = await self._numbered()
        return self._types.get(wanted.strip().casefold(), 0)

    async def doubts(self, selection: Filters) -> list[str]:
        """Say which names and numbers nobody here knows, with those that come near."""
        told = []
        if (licence := selection.licence) is not None and not await self.licence(licence):
            known = {**(self._licences or {}), **(self._own_licences or {})}
            told.append(f"licence: unknown {licence!r}{_near(licence, known.values())}")
        number, name = selection.type_number, selection.type_name
        if number is not None and number not in ITEM_TYPES.values():
            told.append(f"item_type: unknown number {number}")
        if name and not await self.type_number(name):
            told.append(f"item_type: unknown {name!r}{_near(name, {**ITEM_TYPES, **(self._types or {})})}")
        return [f"{each}: taken as it is, and compared with the records" for each in told]

    async def _named(self, path: str, *, authorised: bool) -> dict[str, str]:
        try:
            licences = (await self._endpoints.get(path, decode_licences, authorised=authorised)).value
        except (
            NotFound,
            InvalidResponse,
            Rejected,
        ):  # a service, or an account without an institution, that has none
            return {}
        return {each.name.casefold(): each.name for each in licences if each.name}

    async def _numbered(self) -> dict[str, int]:
        try:
            types = (await self._endpoints.get("item_types", decode_types)).value
        except (NotFound, InvalidResponse, Rejected):
            return {}
        return {each.name.strip().casefold(): each.id for each in types if each.name}


def _near(name: str, known: Iterable[str]) -> str:
    names = {each.casefold(): each for each in known}
    found = [names[each] for each in get_close_matches(name.strip().casefold(), names)]
    return f" (near: {', '.join(found)})" if found else ""
