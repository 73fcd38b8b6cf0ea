"""The public items of a project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.config.keys import Id
from harvester.figshare.filters import Filters
from harvester.figshare.listings import PROJECT, ArticleListing, article_listing, unsuited


class Project(Filters):
    """
    ``kind = "project"``: the public items of a public project.

    figshare filters none of them and gives no more than its cap; past that, and where a licence is wanted,
    a search for the project's items takes over.
    """

    kind: ClassVar[str] = "project"
    private: ClassVar[bool] = False
    owner: ClassVar[str] = ""
    needs_token: ClassVar[bool] = False

    id: Id

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        yield from unsuited(PROJECT, self)

    async def listings(self) -> Sequence[ArticleListing]:
        return [article_listing(f"project {self.id} {self.told()}", PROJECT, {"project_id": self.id}, self)]
