"""API service: listings, records, file lists and downloads of private files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from harvester.sandbox import hostile
from harvester.sandbox.answers import Answer, json_answer, redirect
from harvester.sandbox.auth import Caller, caller_of
from harvester.sandbox.catalogue import CATEGORIES, GROUPS, INSTITUTION, LICENCES, OWN_TYPE, TYPES
from harvester.sandbox.downloads import Downloads
from harvester.sandbox.listings import Listings
from harvester.sandbox.records import licence
from harvester.sandbox.request import Refusal, Request
from harvester.sandbox.world import World


class Api:
    """Answers API requests for one world, from the public and from accounts."""

    def __init__(self, world: World, downloads: Downloads) -> None:
        self._world = world
        self._downloads = downloads
        self._listings = Listings(world)
        self._lists = Counter[str]()

    def answer(self, request: Request) -> Answer:
        """Answer a request to the api."""
        route = f"{request.method} {request.path}"
        if request.path.startswith("/account"):
            return self._account(request, route)
        if found := re.fullmatch(r"GET /file/download/(\d+)", route):
            return self._downloads.lead(request, int(found[1]), caller_of(request, self._world))
        if found := re.fullmatch(r"GET /articles/(\d+)(/versions(?:/(\d+))?)?(/files)?", route):
            return self._public_item(request, int(found[1]), found[2], found[3], is_list=bool(found[4]))
        return self._listing(request, route)

    def _listing(self, request: Request, route: str) -> Answer:
        if route in {"GET /articles", "POST /articles/search"}:
            return self._listings.public(request)
        if found := re.fullmatch(r"GET /collections/(\d+)/articles", route):
            return self._listings.collection(request, int(found[1]))
        if found := re.fullmatch(r"GET /projects/(\d+)/articles", route):
            return self._listings.project(request, int(found[1]))
        if route == "GET /categories":
            return json_answer([_category(number, title) for number, title in CATEGORIES])
        if route == "GET /licenses":
            return _licences()
        if route == "GET /item_types":
            return _item_types(with_own=self._world.settings.own_terms)
        raise Refusal(404, "No such endpoint")

    def _account(self, request: Request, route: str) -> Answer:
        if "Authorization" not in request.headers:
            raise Refusal(403, "Authentication required")
        caller = caller_of(request, self._world)
        assert caller is not None, "there is a token"
        if request.path.startswith("/account/institution/"):
            caller.must_be_admin()
        if found := re.fullmatch(r"GET /account/articles/(\d+)(/files)?", route):
            return self._own_item(request, int(found[1]), caller, is_list=bool(found[2]))
        answers: Mapping[str, Callable[[], Answer]] = {
            "GET /account": lambda: json_answer(
                self._world.loosened({"id": caller.account, "institution_id": INSTITUTION})
            ),
            "GET /account/articles": lambda: self._listings.account(request, caller),
            "POST /account/articles/search": lambda: self._listings.account_search(request, caller),
            "GET /account/institution/articles": lambda: self._listings.institution(request),
            "GET /account/institution/groups": lambda: json_answer(
                self._world.loosened([_group(*group) for group in GROUPS])
            ),
            "GET /account/licenses": lambda: _licences(with_own=self._world.settings.own_terms),
        }
        if route in answers:
            return answers[route]()
        raise Refusal(404, "No such endpoint")

    def _shorten(self, request: Request) -> bool:
        """Count a request for a list; return whether to answer with an empty list."""
        self._lists[request.path] += 1
        return self._lists[request.path] <= self._world.settings.short_lists

    def _own_item(self, request: Request, item_id: int, caller: Caller, *, is_list: bool) -> Answer:
        if not caller.sees(self._world, item_id):
            raise Refusal(404, "Entity not found: article")
        if not is_list and (status := self._world.take_refusal(item_id)):
            raise Refusal(
                status, "Entity not found: article" if status == 404 else "You cannot see this item"
            )
        return self._item(request, item_id, is_list=is_list, private=True)

    def _public_item(
        self, request: Request, item_id: int, versions: str | None, version: str | None, *, is_list: bool
    ) -> Answer:
        """Answer with an item's record, its versions, one of them, or the files of one."""
        numbers = self._world.versions(item_id)
        if not numbers or (version and int(version) not in numbers) or (versions and not version and is_list):
            raise Refusal(404, "Entity not found: article")
        if versions and not version and self._shorten(request):
            return json_answer([])
        if versions and not version:
            address = f"{self._world.at.api}/articles/{item_id}/versions"
            every = [{"version": number, "url": f"{address}/{number}"} for number in numbers]
            return json_answer(self._world.loosened(every, item_id))
        return self._item(request, item_id, int(version or 0), is_list=is_list)

    def _item(
        self, request: Request, item_id: int, version: int = 0, *, is_list: bool, private: bool = False
    ) -> Answer:
        world, item = self._world, self._world.item(item_id, version, own=private)
        if is_list:
            if world.settings.refused_lists:
                raise Refusal(world.settings.refused_lists, "This list is not for you")
            is_hidden = item.is_withheld and bool(world.settings.hides_withheld) and not private
            files = [] if is_hidden else world.files(item_id, version, private=private)
            cap, own_offsets = world.settings.file_page_cap, world.settings.own_offsets
            span = request.span(cap, own_offsets=own_offsets)
            page = [] if self._shorten(request) else hostile.file_page(item.hostile, files, *span)
            return json_answer(world.loosened(page, item_id))
        if world.settings.redirects == "api-elsewhere" and not version:
            return redirect(f"{world.at.elsewhere}/v2{request.path}")
        etag = f'{item.etag[:-1]}-own"' if private else item.etag
        headers = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
        if not world.settings.etags:
            del headers["ETag"]
        elif request.headers.get("If-None-Match") == etag:
            return Answer(304, headers)
        shown = world.public_ids[0] if item.hostile == "wrong-id" else item_id
        return hostile.answer(item.hostile, world.record(shown, version, private=private), headers)


def _licences(*, with_own: bool = False) -> Answer:
    return json_answer([licence(place) for place in range(len(LICENCES) + with_own)])


def _item_types(*, with_own: bool) -> Answer:
    return json_answer([_item_type(*each) for each in (*TYPES, *([OWN_TYPE] if with_own else []))])


def _item_type(number: int, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "string_id": name.replace(" ", "_"),
        "icon": "paper",
        "public_description": "",
        "is_selectable": True,
        "url_name": name.replace(" ", "_"),
    }


def _category(number: int, title: str) -> dict[str, Any]:
    return {
        "id": number,
        "title": title,
        "parent_id": 1000,
        "path": f"/1000/{number}",
        "source_id": str(number),
        "taxonomy_id": 100,
        "has_children": False,
        "is_selectable": True,
    }


def _group(number: int, parent: int, name: str) -> dict[str, Any]:
    return {
        "id": number,
        "parent_id": parent,
        "name": name,
        "resource_id": "",
        "association_criteria": "",
        "upload_access": "All Users",
    }
