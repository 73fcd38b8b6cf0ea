"""Request: a parsed request with its paging."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harvester.sandbox.answers import error_answer

MOST_ON_A_PAGE = 1000


class Refusal(Exception):
    """Ends a request with figshare's JSON error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = error_answer(status, message)


@dataclass(frozen=True)
class Request:
    """A request: its path without the service's prefix, its query and body merged, its headers."""

    method: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    largest_page: int = MOST_ON_A_PAGE  # a larger page is refused

    @property
    def page_size(self) -> int:
        size = self._number("page_size", self._number("limit", 10))
        if not 1 <= size <= self.largest_page:
            raise Refusal(422, f"page_size: 1 to {self.largest_page}")
        return size

    def span(self, cap: int = 0, *, own_offsets: bool = False) -> tuple[int, int]:
        """
        Return the requested page: the first entry, and the one after the last.

        `cap`: the most entries of a page, 0 for no limit; with `own_offsets` pages begin at its multiples.
        """
        if {"page", "page_size"} & self.fields.keys() and {"limit", "offset"} & self.fields.keys():
            raise Refusal(422, "page and page_size do not go with limit and offset")
        size = self.page_size
        held = min(size, cap or size)
        begin = self._number("offset", 0) + (self._number("page", 1) - 1) * (held if own_offsets else size)
        if begin < 0:
            raise Refusal(422, "page: at least 1")
        return begin, begin + held

    def span_of_cursor(self, cursor: str, cap: int = 0) -> tuple[int, int]:
        """Return the page of a cursor, as `span` does."""
        if "offset" in self.fields or self._number("page", 1) > 1:
            raise Refusal(422, "offset is not available with X-Cursor")
        try:
            begin = int(base64.urlsafe_b64decode(cursor).decode().removeprefix("offset ").rstrip("+"))
        except ValueError:
            raise Refusal(422, "X-Cursor: unknown") from None
        return begin, begin + min(self.page_size, cap or self.page_size)

    def _number(self, name: str, default: int) -> int:
        try:
            return int(self.fields.get(name, default))
        except (TypeError, ValueError):
            raise Refusal(422, f"{name}: a number is expected") from None


def cursor_to(offset: int, *, again: bool = False) -> str:
    """Return the cursor to an entry; `again`: a different cursor to the same entry."""
    return base64.urlsafe_b64encode(f"offset {offset}{'+' * again}".encode()).decode()
