"""Collection source: the public items of a collection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harvester.config.keys import Id
from harvester.sources import ArticleSource


class Collection(ArticleSource):
    """
    ``kind = "collection"``: the items of the collection's current version.

    figshare's endpoint has no filters, a fixed order, and lists no more than its cap: a larger collection is
    reported as incomplete.
    """

    kind: ClassVar[str] = "collection"
    endpoint: ClassVar[str] = "collection"

    id: Id

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield f"collection {self.id}", {"collection": self.id}
