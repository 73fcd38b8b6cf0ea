"""Public items that match figshare's own query language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from harvester.figshare.feeds import PUBLIC_SEARCH, Listed, listed, must_suit
from harvester.figshare.selection import Selection


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
        must_suit(PUBLIC_SEARCH, self)

    @property
    def queries(self) -> tuple[str, ...]:
        return (self.query,) if isinstance(self.query, str) else self.query

    async def listings(self) -> Sequence[Listed]:
        return [
            listed(f"search {query} {self.told()}", PUBLIC_SEARCH, {"search_for": query}, self)
            for query in self.queries
        ]
