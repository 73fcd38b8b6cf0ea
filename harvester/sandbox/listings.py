"""Listings: lists of items, page by page, with all faults that the settings ask for."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harvester.sandbox.answers import Answer, json_answer
from harvester.sandbox.auth import Caller
from harvester.sandbox.catalogue import COLLECTIONS, PROJECTS
from harvester.sandbox.item import ORDERS
from harvester.sandbox.records import Json
from harvester.sandbox.request import Refusal, Request, cursor_to
from harvester.sandbox.world import World

_PAGING = {"page", "page_size", "limit", "offset"}
_INSTITUTION_FILTERS = {"published_since", "modified_since", "item_type", "group", "order"}
_INSTITUTION_ORDERS = {"published_date", "modified_date"}


@dataclass(frozen=True)
class _Listed:
    """
    The items of a listing, in order, and how it shows them.

    ``group``: the group in its entries, None for each item's own.
    ``shows_project``: whether entries contain projects. ``has_cursor``: whether a cursor continues past the
    cap.
    """

    ids: Sequence[int]
    group: int | None = None
    shows_project: bool = False
    has_cursor: bool = False
    is_public: bool = True


class Listings:
    """Public and account listings of one world, which may change while it is listed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._settings = world.settings
        self._asked = 0
        self._failed: Counter[str] = Counter()

    def public(self, request: Request) -> Answer:
        """Answer a public listing, which ignores `project_id`, or a search."""
        is_search = request.path.endswith("search")
        criteria = self._criteria(request, ORDERS)
        if not is_search:
            criteria.pop("project_id", None)
        ids = _directed(request, self._world.select(criteria))
        return self._counted(request, _Listed(ids, _group(criteria), is_search, self._settings.cursors))

    def collection(self, request: Request, collection_id: int) -> Answer:
        """Answer with the items of a collection, newest first, without filters and without a cursor."""
        if collection_id not in COLLECTIONS:
            raise Refusal(404, "Entity not found: collection")
        return self._counted(request, _Listed(self._world.collection_items(collection_id)[::-1]))

    def project(self, request: Request, project_id: int) -> Answer:
        """As `collection`, of a project."""
        if project_id not in PROJECTS:
            raise Refusal(404, "Entity not found: project")
        return self._counted(request, _Listed(self._world.project_items(project_id)[::-1]))

    def account(self, request: Request, caller: Caller) -> Answer:
        """Answer the listing of an account, which has no cursor and no filters."""
        ids = self._world.account_items(account=caller.account)
        return self._counted(request, _Listed(ids, is_public=False))

    def account_search(self, request: Request, caller: Caller) -> Answer:
        """Answer a search among the items of an account, which has no cursor either."""
        criteria = self._criteria(request, ORDERS)
        ids = _directed(request, self._world.account_items(criteria, caller.account))
        return self._counted(request, _Listed(ids, _group(criteria), shows_project=True, is_public=False))

    def institution(self, request: Request) -> Answer:
        """Answer the listing of the institution for its administrator."""
        criteria = {
            name: value
            for name, value in self._criteria(request, _INSTITUTION_ORDERS).items()
            if name in _INSTITUTION_FILTERS
        }
        ids = _directed(request, self._world.institution_items(criteria))
        return self._counted(request, _Listed(ids, _group(criteria), is_public=False))

    def _criteria(self, request: Request, orders: Collection[str]) -> dict[str, Any]:
        """Return the filters and the order of a listing, without those that the settings ignore."""
        excluded = {*_PAGING, "order_direction", *self._settings.ignores}
        criteria = {name: value for name, value in request.fields.items() if name not in excluded}
        if criteria.get("order", "published_date") not in orders:
            raise Refusal(422, f"order: one of {', '.join(sorted(orders))}")
        return criteria

    def _counted(self, request: Request, listed: _Listed) -> Answer:
        self._asked += 1
        try:
            return self._page(request, listed)
        finally:
            if self._settings.shift_every and self._asked % self._settings.shift_every == 0:
                self._world.publish(1)

    def _page(self, request: Request, listed: _Listed) -> Answer:
        begin, end = self._span(request, cursors=listed.has_cursor)
        number = begin // (end - begin) + 1
        self._fail(request, number)
        if number == self._settings.empty_page and request.headers.get("X-Cursor") == cursor_to(begin):
            return json_answer([], headers={"X-Cursor": cursor_to(begin, again=True)})
        if self._settings.ignores_page:
            begin, end = 0, end - begin
        ids = listed.ids
        chosen = ids[begin:end]
        if self._settings.cycle and ids:
            chosen = [ids[place % len(ids)] for place in range(begin, end)]
        entries = [self._entry(item_id, listed) for item_id in chosen]
        headers = {}
        if listed.has_cursor and (end < len(ids) or self._settings.cycle):
            headers["X-Cursor"] = cursor_to(
                end
            )  # whether a last page has one is not documented: here it has none
        is_odd = listed.is_public and self._settings.odd_entries and begin == 0
        return json_answer(_with_odd_ones(entries) if is_odd else entries, headers=headers)

    def _entry(self, item_id: int, listed: _Listed) -> Json:
        entry = self._world.entry(item_id, own=not listed.is_public)
        entry["modified_date"] = self._world.listed_modified(item_id, own=not listed.is_public)
        if listed.shows_project:
            entry["project_id"] = self._world.item(item_id).project
        if listed.group is not None:
            entry["group_id"] = listed.group
        return without_unsaid(entry, self._settings.unsaid)

    def _span(self, request: Request, *, cursors: bool) -> tuple[int, int]:
        cursor = request.headers.get("X-Cursor")
        if cursor and cursors:
            return request.span_of_cursor(cursor, self._settings.page_cap)
        begin, end = request.span(self._settings.page_cap, own_offsets=self._settings.own_offsets)
        cap = self._settings.cap
        if end > cap and not (self._settings.cycle or self._settings.ignores_page):
            raise Refusal(422, f"Only the first {cap} entries can be listed by offset")
        return begin, end

    def _fail(self, request: Request, number: int) -> None:
        if number != self._settings.fail_page:
            return
        criteria = {name: value for name, value in request.fields.items() if name not in _PAGING}
        listing = f"{request.path} {sorted(criteria.items())}"
        if self._failed[listing] < self._settings.fail_page_times:
            self._failed[listing] += 1
            raise Refusal(500, "Internal error")


def without_unsaid(entry: Json, unsaid: Mapping[str, float]) -> Json:
    """Return an entry without the fields that it lacks by the settings: absent, null or 0 alternately."""
    for name, share in unsaid.items():
        if name in entry and zlib.crc32(f"{name} {entry['id']}".encode()) < share * 2**32:
            entry[name] = (0 if name == "group_id" else None) if entry["id"] % 2 else None
            if entry["id"] % 5 == 0:
                del entry[name]
    return entry


def _directed(request: Request, ids: Sequence[int]) -> Sequence[int]:
    direction = request.fields.get("order_direction", "desc")
    if direction not in {"asc", "desc"}:
        raise Refusal(422, "order_direction: asc or desc")
    return ids if direction == "asc" else ids[::-1]


def _group(criteria: Mapping[str, Any]) -> int | None:
    return int(criteria["group"]) if "group" in criteria else None


def _with_odd_ones(entries: Sequence[Json]) -> list[Any]:
    """
    Return entries with malformed ones added: without an id, with a text as id, null, and with only the id
    right.
    """
    last: Json = entries[-1] if entries else {"id": 1}
    without = {name: value for name, value in last.items() if name != "id"}
    in_words = {**last, "id": f"item {last['id']}"}
    wrong = {name: 7 if isinstance(value, str) else "wrong" for name, value in last.items()}
    middle = len(entries) // 2
    odd = [{**wrong, "id": last["id"]}] if entries else []
    return [without, *entries[:middle], None, in_words, *odd, *entries[middle:]]
