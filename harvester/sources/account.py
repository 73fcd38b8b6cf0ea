"""Account source: the items of the token's own account, published, private and drafts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harvester.sources import ArticleSource, queries_of, query_faults


class Account(ArticleSource):
    """
    ``kind = "account"``: every item that the account lists, all pages.

    With ``query``, one or several, the items that match it in figshare's query language. Items are listed
    with their newest version, which may be a draft, and need not be published.
    """

    kind: ClassVar[str] = "account"
    owner: ClassVar[str] = "account"

    query: str | tuple[str, ...] | None = None

    @property
    def private(self) -> bool:
        return True

    @property
    def endpoint(self) -> str:
        return "account" if self.query is None else "account_search"

    def faults(self) -> Iterator[str]:
        if self.query is not None:
            yield from query_faults(self.query)
        yield from super().faults()

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if self.query is None:
            yield "account", {}
        for query in queries_of(self.query):
            yield f"account search {query}", {"query": query}
