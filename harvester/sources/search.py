"""Public items that match figshare's own query language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from harvester.config.tables import Table
from harvester.figshare.selection import Selection

if TYPE_CHECKING:
    from harvester.figshare.api import Figshare
    from harvester.models import Page


class Search(Selection):
    """``kind = "search"``: one query or several, passed to figshare untouched."""

    kind: ClassVar[str] = "search"
    private: ClassVar[bool] = False
    needs_token: ClassVar[bool] = False

    query: str | tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.queries or not all(query.strip() for query in self.queries):
            raise ValueError("query: empty")

    @property
    def queries(self) -> tuple[str, ...]:
        return (self.query,) if isinstance(self.query, str) else self.query

    async def listings(self) -> Sequence[Query]:
        return [Query(query=query, selection=self) for query in self.queries]


class Query(Table):
    """The results of one query."""

    query: str
    selection: Selection

    @property
    def key(self) -> str:
        return f"search {self.query} {self.selection.criteria()}"

    async def page(self, figshare: Figshare, position: str | None) -> Page:
        return await figshare.search_page({"search_for": self.query}, self.selection, position)
