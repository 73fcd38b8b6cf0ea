"""Public items that match figshare's own query language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.figshare.filters import Filters
from harvester.figshare.listings import PUBLIC_SEARCH, ArticleListing, article_listing, unsuited


class Search(Filters):
    """``kind = "search"``: one query or several, passed to figshare untouched."""

    kind: ClassVar[str] = "search"
    private: ClassVar[bool] = False
    owner: ClassVar[str] = ""
    needs_token: ClassVar[bool] = False

    query: str | tuple[str, ...]

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if not self.queries or not all(query.strip() for query in self.queries):
            yield "query: empty"
        yield from unsuited(PUBLIC_SEARCH, self)

    @property
    def queries(self) -> tuple[str, ...]:
        return (self.query,) if isinstance(self.query, str) else self.query

    async def listings(self) -> Sequence[ArticleListing]:
        return [
            article_listing(f"search {query} {self.told()}", PUBLIC_SEARCH, {"search_for": query}, self)
            for query in self.queries
        ]
