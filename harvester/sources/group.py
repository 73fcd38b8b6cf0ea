"""Group source: the public items of a group, and optionally of the groups below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harvester.config.keys import Id
from harvester.config.tables import Table
from harvester.figshare.protocol import ArticleListing, Listing
from harvester.sources import ArticleSource

if TYPE_CHECKING:
    from harvester.figshare.api_version import ListingEndpoints
    from harvester.figshare.protocol import Figshare
    from harvester.models import Page


class Group(ArticleSource):
    """
    ``kind = "group"``: the items of one group.

    With ``subgroups``, also those of all groups below it; figshare shows the tree only with a token.
    """

    kind: ClassVar[str] = "group"

    id: Id
    subgroups: bool = False

    @property
    def needs_token(self) -> bool:
        return self.subgroups

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield f"group {self.id}{' and below' if self.subgroups else ''}", {"group": self.id}

    async def listings(self, endpoints: ListingEndpoints) -> Sequence[Listing]:
        return [GroupListing(first=first, source=self) for first in self.article_listings(endpoints)]


class GroupListing(Table, Listing):
    """The listing of a group and the groups below it, one after the other; ``first``: of the group itself."""

    first: ArticleListing
    source: Group

    @property
    def key(self) -> str:
        return self.first.key

    @property
    def client_side_filters(self) -> tuple[str, ...]:
        return self.first.client_side_filters

    @property
    def what_selects(self) -> str:
        return self.first.what_selects

    def since(self, moment: str) -> GroupListing | None:
        first = self.first.since(moment)
        return None if first is None else GroupListing(first=first, source=self.source)

    async def unknown_values(self, figshare: Figshare) -> list[str]:
        return await self.first.unknown_values(figshare)

    async def page(self, figshare: Figshare, cursor: str | None) -> Page:
        """
        Return one page; `cursor`: the remaining groups, and the cursor of the first one, such as "12,13|…".

        The tree is requested once a listing: the cursor contains the rest of it.
        """
        from msgspec.structs import replace  # noqa: PLC0415 - to read a config needs no msgspec

        if cursor is not None:
            left, _, inner = cursor.partition("|")
            waiting = [int(number) for number in left.split(",")]
        else:
            waiting, inner = await self._groups(figshare), ""
        listing = ArticleListing(**{**vars(self.first), "criteria": {"group": waiting[0]}})
        page = await listing.page(figshare, inner or None)
        if page.cursor is None:
            waiting = waiting[1:]
        left = ",".join(str(number) for number in waiting)
        return replace(page, cursor=f"{left}|{page.cursor or ''}" if waiting else None)

    async def count(self, figshare: Figshare) -> int | None:
        if self.first.narrows:
            return None
        return await figshare.count(await self._groups(figshare))

    async def _groups(self, figshare: Figshare) -> list[int]:
        group = self.source
        return await figshare.group_tree(group.id) if group.subgroups else [group.id]
