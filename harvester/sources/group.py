"""The public items of a group, and of the groups below it where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from harvester.figshare.selection import Selection

if TYPE_CHECKING:
    from harvester.figshare.api import Figshare
    from harvester.models import Page


class Group(Selection):
    """
    ``kind = "group"``: the items of that very group.

    With ``subgroups`` those of all groups below it too; figshare shows the tree only to a token.
    """

    kind: ClassVar[str] = "group"
    private: ClassVar[bool] = False

    id: int
    subgroups: bool = False

    @property
    def needs_token(self) -> bool:
        return self.subgroups

    @property
    def key(self) -> str:
        tree = " and below" if self.subgroups else ""
        return f"group {self.id}{tree} {self.criteria()}"

    async def listings(self) -> Sequence[Group]:
        return [self]

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        """
        Read one page; with subgroups `position` says which groups are left: "12,13|cursor:abc".

        The tree is asked for once a listing: what is left of it travels in the position.
        """
        from msgspec.structs import replace  # noqa: PLC0415 - where there is work

        if position is not None:
            left, _, inner = position.partition("|")
            waiting = [int(number) for number in left.split(",")]
        else:
            waiting = await figshare.group_tree(self.id) if self.subgroups else [self.id]
            inner = ""
        page = await figshare.search_page({"group": waiting[0]}, self, inner or None)
        if page.position is None:
            waiting = waiting[1:]
        left = ",".join(str(number) for number in waiting)
        following = f"{left}|{page.position or ''}" if waiting else None
        return replace(page, position=following)

    async def count(self, figshare: Figshare) -> int | None:
        """Ask how many items the group holds, with those below it; None where filters apply."""
        if self.criteria():
            return None
        return await figshare.count(await figshare.group_tree(self.id) if self.subgroups else [self.id])
