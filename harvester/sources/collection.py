"""The public items of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.config.keys import Id
from harvester.figshare.filters import Filters
from harvester.figshare.listings import COLLECTION, ArticleListing, article_listing, unsuited


class Collection(Filters):
    """
    ``kind = "collection"``: the items of the collection's current version.

    figshare filters none of them, gives them in an order of its own, and no more than its cap: a collection
    that has more is reported as incomplete.
    """

    kind: ClassVar[str] = "collection"
    private: ClassVar[bool] = False
    owner: ClassVar[str] = ""
    needs_token: ClassVar[bool] = False

    id: Id

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        yield from unsuited(COLLECTION, self)

    async def listings(self) -> Sequence[ArticleListing]:
        return [
            article_listing(
                f"collection {self.id} {self.told()}", COLLECTION, {"collection_id": self.id}, self
            )
        ]
