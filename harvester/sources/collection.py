"""The public items of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.config.keys import Id
from harvester.figshare.filters import Selection
from harvester.figshare.listings import COLLECTION, Listed, listed, unsuited


class Collection(Selection):
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

    async def listings(self) -> Sequence[Listed]:
        return [listed(f"collection {self.id} {self.told()}", COLLECTION, {"collection_id": self.id}, self)]
