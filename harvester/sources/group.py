"""The public items of a group, and of the groups below it where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from harvester.config.keys import Id
from harvester.config.tables import Table
from harvester.figshare.filters import Filters
from harvester.figshare.listings import PUBLIC_SEARCH, ArticleListing, article_listing, unsuited

if TYPE_CHECKING:
    from harvester.figshare.protocol import Figshare
    from harvester.models import Page


class Group(Filters):
    """
    ``kind = "group"``: the items of that very group.

    With ``subgroups`` those of all groups below it too; figshare shows the tree only to a token.
    """

    kind: ClassVar[str] = "group"
    private: ClassVar[bool] = False
    owner: ClassVar[str] = ""

    id: Id
    subgroups: bool = False

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        yield from unsuited(PUBLIC_SEARCH, self)

    @property
    def needs_token(self) -> bool:
        return self.subgroups

    async def listings(self) -> Sequence[Grouped]:
        return [Grouped(group=self)]


class Grouped(Table):
    """The listing of a group, or of several one after the other; ``moment`` as that of `ArticleListing`."""

    group: Group
    moment: str = ""

    @property
    def key(self) -> str:
        tree = " and below" if self.group.subgroups else ""
        since = f" since {self.moment}" if self.moment else ""
        return f"group {self.group.id}{tree} {self.group.told()}{since}"

    @property
    def client_side_filters(self) -> tuple[str, ...]:
        return self._of(self.group.id).client_side_filters

    def since(self, moment: str) -> Grouped:
        """Return the listing of what was modified at or after a moment."""
        return Grouped(group=self.group, moment=moment)

    async def doubts(self, figshare: Figshare) -> list[str]:
        """Say what of the names that are selected by figshare does not know."""
        return await self._of(self.group.id).doubts(figshare)

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        """
        Read one page; `position` says which groups are left: "12,13|…", the rest is the first one's own.

        The tree is asked for once a listing: what is left of it travels in the position.
        """
        from msgspec.structs import replace  # noqa: PLC0415 - where there is work

        if position is not None:
            left, _, inner = position.partition("|")
            waiting = [int(number) for number in left.split(",")]
        else:
            waiting, inner = await self._groups(figshare), ""
        page = await self._of(waiting[0]).page(figshare, inner or None)
        if page.position is None:
            waiting = waiting[1:]
        left = ",".join(str(number) for number in waiting)
        following = f"{left}|{page.position or ''}" if waiting else None
        return replace(page, position=following)

    async def count(self, figshare: Figshare) -> int | None:
        """Ask how many items the groups hold together; None where not all of them are wanted."""
        if self.group.narrows or self.moment:
            return None
        return await figshare.count(await self._groups(figshare))

    async def _groups(self, figshare: Figshare) -> list[int]:
        return await figshare.group_tree(self.group.id) if self.group.subgroups else [self.group.id]

    def _of(self, group_id: int) -> ArticleListing:
        one = article_listing("", PUBLIC_SEARCH, {"group": group_id}, self.group)
        return (self.moment and one.since(self.moment)) or one
