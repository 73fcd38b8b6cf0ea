"""The interface of figshare's API that sources, tasks and jobs work with, whatever version answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from harvester.figshare.resolver import IdentifierResolver
from harvester.models import ItemRef, Page, Record


class Figshare(Protocol):
    """
    figshare's services as calls that return models.

    All raise what `Client.retry` raises. ``finder``: for items by their names. ``hold_turn``: see
    `MemoryGate.hold`.
    """

    @property
    def finder(self) -> IdentifierResolver: ...

    @property
    def hold_turn(self) -> Callable[[], AbstractAsyncContextManager[object]]: ...

    async def doubts(self, listed: Any) -> list[str]: ...

    async def page(self, listed: Any, position: str | None) -> Page: ...

    async def confirm_token(self) -> None: ...

    async def serves(self, known: Sequence[ItemRef]) -> bool: ...

    async def count(self, group_ids: Sequence[int]) -> int: ...

    async def group_tree(self, group_id: int) -> list[int]: ...

    async def record(
        self, item_id: int, *, private: bool, version: int = 0, if_none_match: str = ""
    ) -> Record: ...

    async def account(self) -> dict[str, int]: ...

    async def versions(self, item_id: int) -> tuple[int, ...] | None: ...
