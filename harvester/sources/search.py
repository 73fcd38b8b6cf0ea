"""Search source: public items that match a query in figshare's query language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harvester.sources import ArticleSource, queries_of, query_faults


class Search(ArticleSource):
    """``kind = "search"``: one query or several, passed to figshare unchanged."""

    kind: ClassVar[str] = "search"

    query: str | tuple[str, ...]

    def faults(self) -> Iterator[str]:
        yield from query_faults(self.query)
        yield from super().faults()

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for query in queries_of(self.query):
            yield f"search {query}", {"query": query}
