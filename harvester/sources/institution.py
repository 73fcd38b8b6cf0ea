"""Institution source: the published items of an institution, or all of its items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harvester.sources import ArticleSource


class Institution(ArticleSource):
    """
    ``kind = "institution"``: the public items of the institution with this id.

    With ``private``, all items of the token's own institution, also the unpublished ones of all its accounts.
    figshare lists them for an administrator's token only, and needs no id.
    """

    kind: ClassVar[str] = "institution"
    owner: ClassVar[str] = "institution"

    id: int | None = None
    private: bool = False

    @property
    def endpoint(self) -> str:
        return "institution" if self.private else "search"

    def faults(self) -> Iterator[str]:
        if self.id is None and not self.private:
            yield "id: missing; without it only the token's own institution, with private = true"
        if self.id is not None and self.id < 1:
            yield f"id: expected a whole number above 0, got {self.id}"
        if self.id is not None and self.private:
            yield "id: not taken with private = true, which lists the token's own institution"
        yield from super().faults()

    def criteria(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if self.private:
            yield "institution private", {}
        else:
            yield f"institution {self.id}", {"institution": self.id}
