"""Items source: single items by id, DOI or address, from the config, a file or standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from harvester.config.tables import Table
from harvester.text.wording import HIDDEN, quoted, without_tokens

if TYPE_CHECKING:
    from harvester.figshare.api_version import ListingEndpoints
    from harvester.figshare.identifier_listing import IdentifierListing


class Items(Table):
    """``kind = "items"``: ``ids`` and the lines of ``file`` ("-": standard input), in any mixture."""

    kind: ClassVar[str] = "items"
    private: ClassVar[bool] = False
    owner: ClassVar[str] = ""
    needs_token: ClassVar[bool] = False

    ids: tuple[int | str, ...] = ()
    file: str | None = None

    def faults(self) -> Iterator[str]:
        if not self.ids and self.file is None:
            yield "ids or file: one of them is needed"
        for place, name in enumerate(self.ids):
            if not _may_name(str(name).strip()):
                yield f"ids: entry {place + 1}: {_expected(name)}, got {quoted(name)}"

    async def listings(self, endpoints: ListingEndpoints) -> Sequence[IdentifierListing]:
        """
        Return the listing of the names.

        Raises:
            UsageError: the file cannot be read.
        """
        from harvester.figshare.identifier_listing import IdentifierListing, read_names  # noqa: PLC0415 - where there is work

        names = [str(name).strip() for name in self.ids]
        if self.file is not None:
            names += await read_names(self.file)
        return [IdentifierListing(tuple(names), file=self.file or "")]


def _expected(name: object) -> str:
    is_number = str(name).strip().removeprefix("-").isdecimal()
    return "expected an id from 1 to 2^63" if is_number else "expected an id, DOI or address"


def _may_name(name: str) -> bool:
    """Return whether a text may be the name of an item; a number must be in the range of ids."""
    digits = name.removeprefix("-")
    if not digits.isdecimal():
        return bool(name) and without_tokens(name) != HIDDEN
    return digits == name and len(digits) < 20 and 0 < int(digits) < 2**63
