"""The items of the token's own account: published, private and drafts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from harvester.figshare.selection import Selection

if TYPE_CHECKING:
    from harvester.figshare.api import Figshare
    from harvester.models import Page


class Account(Selection):
    """``kind = "account"``: every item that the account lists, all pages."""

    kind: ClassVar[str] = "account"
    private: ClassVar[bool] = True
    needs_token: ClassVar[bool] = True

    @property
    def key(self) -> str:
        return f"account {self.criteria()}"

    async def listings(self) -> Sequence[Account]:
        return [self]

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        return await figshare.account_page(self, position)
