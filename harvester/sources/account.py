"""The items of the token's own account: published, private and drafts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.figshare.filters import Filters
from harvester.figshare.listings import ACCOUNT, ACCOUNT_SEARCH, ArticleListing, article_listing, unsuited


class Account(Filters):
    """
    ``kind = "account"``: every item that the account lists, all pages.

    With ``query``, one or several, those that match figshare's own query language. Its items are listed with
    their newest version, a draft of it included, and need not be published.
    """

    kind: ClassVar[str] = "account"
    owner: ClassVar[str] = "account"
    private: ClassVar[bool] = True
    needs_token: ClassVar[bool] = True

    query: str | tuple[str, ...] | None = None

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.query is not None and not (self.queries and all(query.strip() for query in self.queries)):
            yield "query: empty"
        yield from unsuited(ACCOUNT if self.query is None else ACCOUNT_SEARCH, self)

    @property
    def queries(self) -> tuple[str, ...]:
        if self.query is None:
            return ()
        return (self.query,) if isinstance(self.query, str) else self.query

    async def listings(self) -> Sequence[ArticleListing]:
        told = self.told()
        if self.query is None:
            return [article_listing(f"account {told}", ACCOUNT, {}, self)]
        return [
            article_listing(f"account search {query} {told}", ACCOUNT_SEARCH, {"search_for": query}, self)
            for query in self.queries
        ]
