"""Lists of items, page by page, with all that can be wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harvester.sandbox.answers import Answer, json_answer
from harvester.sandbox.asked import Asked, Refusal, cursor_to
from harvester.sandbox.records import Json
from harvester.sandbox.world import World

_PAGING = {"page", "page_size", "limit", "offset"}
_ORDER = {"order", "order_direction"}


class Listings:
    """The public's and the account's, over one world that may change while it is listed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._settings = world.settings
        self._asked = 0
        self._failed: Counter[str] = Counter()

    def public(self, asked: Asked) -> Answer:
        """Answer a public listing or search."""
        left_out = {*_PAGING, *_ORDER, *self._settings.ignores}
        criteria = {name: value for name, value in asked.fields.items() if name not in left_out}
        ids = self._world.select(criteria)
        if asked.fields.get("order_direction") != "asc":
            ids = ids[::-1]
        more: Json = {"project_id": 0} if asked.path.endswith("search") else {}
        if "group" in criteria:
            more["group_id"] = int(criteria["group"])
        return self._counted(asked, ids, more, is_public=True)

    def account(self, asked: Asked) -> Answer:
        """Answer the listing of an account, which has no cursor and takes no filter."""
        return self._counted(asked, self._world.account_ids, {}, is_public=False)

    def _counted(self, asked: Asked, ids: Sequence[int], more: Json, *, is_public: bool) -> Answer:
        self._asked += 1
        try:
            return self._page(asked, ids, more, is_public=is_public)
        finally:
            if self._settings.shift_every and self._asked % self._settings.shift_every == 0:
                self._world.publish(1)

    def _page(self, asked: Asked, ids: Sequence[int], more: Json, *, is_public: bool) -> Answer:
        """Answer with a page; `more`: what its entries show besides, or instead."""
        cursors = is_public and self._settings.cursors
        begin, end = self._span(asked, cursors=cursors)
        self._fail(asked, begin // (end - begin) + 1)
        if self._settings.ignores_page:
            begin, end = 0, end - begin
        chosen = ids[begin:end]
        if self._settings.cycle and ids:
            chosen = [ids[place % len(ids)] for place in range(begin, end)]
        entries = [{**self._world.entry(item_id), **more} for item_id in chosen]
        headers = {}
        if cursors and (end < len(ids) or self._settings.cycle):
            headers["X-Cursor"] = cursor_to(
                end
            )  # not documented whether a last page has one: here it has none
        is_odd = is_public and self._settings.odd_entries and begin == 0
        return json_answer(_with_odd_ones(entries) if is_odd else entries, headers=headers)

    def _span(self, asked: Asked, *, cursors: bool) -> tuple[int, int]:
        cursor = asked.headers.get("X-Cursor")
        if cursor and cursors:
            return asked.span_of_cursor(cursor)
        begin, end = asked.span()
        cap = self._settings.cap
        if end > cap and not (self._settings.cycle or self._settings.ignores_page):
            raise Refusal(422, f"Only the first {cap} entries can be listed by offset")
        return begin, end

    def _fail(self, asked: Asked, number: int) -> None:
        if number != self._settings.fail_page:
            return
        criteria = {name: value for name, value in asked.fields.items() if name not in _PAGING}
        listing = f"{asked.path} {sorted(criteria.items())}"
        if self._failed[listing] < self._settings.fail_page_times:
            self._failed[listing] += 1
            raise Refusal(500, "Internal error")


def _with_odd_ones(entries: Sequence[Json]) -> list[Any]:
    """Put odd ones among good entries: without an id, with a text for one, null, nothing right but the id."""
    last: Json = entries[-1] if entries else {"id": 1}
    without = {name: value for name, value in last.items() if name != "id"}
    in_words = {**last, "id": str(last["id"])}
    wrong = {name: 7 if isinstance(value, str) else "wrong" for name, value in last.items()}
    middle = len(entries) // 2
    odd = [{**wrong, "id": last["id"]}] if entries else []
    return [without, *entries[:middle], None, in_words, *odd, *entries[middle:]]
