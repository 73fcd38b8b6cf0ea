"""The public items of a project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.config.keys import Id
from harvester.figshare.filters import Selection
from harvester.figshare.listings import PROJECT, Listed, listed, unsuited


class Project(Selection):
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

    async def listings(self) -> Sequence[Listed]:
        return [listed(f"project {self.id} {self.told()}", PROJECT, {"project_id": self.id}, self)]
