"""The items of the token's own account: published, private and drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from harvester.figshare import Figshare, Selection
from harvester.models import Page


@dataclass(frozen=True, kw_only=True)
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
