"""The items of an institution: what it has published, or all that it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from harvester.figshare.filters import Filters
from harvester.figshare.listings import (
    OWN_INSTITUTION,
    PUBLIC_SEARCH,
    ArticleListing,
    article_listing,
    unsuited,
)


class Institution(Filters):
    """
    ``kind = "institution"``: the public items of the institution with this id.

    With ``private`` all items of the token's own institution, those of all its accounts that are not
    published included; figshare gives them to an administrator's token only, and needs no id.
    """

    kind: ClassVar[str] = "institution"
    owner: ClassVar[str] = "institution"

    id: int | None = None
    private: bool = False

    def faults(self) -> Iterator[str]:
        yield from super().faults()
        if self.id is None and not self.private:
            yield "id: missing; without it only the token's own institution, with private = true"
        if self.id is not None and self.id < 1:
            yield "id: expected int >= 1"
        if self.id is not None and self.private:
            yield "id: not taken with private = true, which lists the token's own institution"
        yield from unsuited(OWN_INSTITUTION if self.private else PUBLIC_SEARCH, self)

    @property
    def needs_token(self) -> bool:
        return self.private

    async def listings(self) -> Sequence[ArticleListing]:
        told = self.told()
        if self.private:
            return [article_listing(f"institution private {told}", OWN_INSTITUTION, {}, self)]
        return [
            article_listing(f"institution {self.id} {told}", PUBLIC_SEARCH, {"institution": self.id}, self)
        ]
