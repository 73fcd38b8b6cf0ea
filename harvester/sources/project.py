"""Project source: the public items of a project."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harvester.config.keys import Id
from harvester.sources import ArticleSource


class Project(ArticleSource):
    """
    ``kind = "project"``: the public items of a public project.

    figshare's endpoint has no filters, and lists no more than its cap. Past the cap, and for a licence, a
    search for the project's items is used.
    """

    kind: ClassVar[str] = "project"
    endpoint: ClassVar[str] = "project"

    id: Id

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        yield f"project {self.id}", {"project": self.id}
