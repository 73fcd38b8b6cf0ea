"""What the four services answer. Pure: a request as data goes in, an `Answer` comes out."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harvester.sandbox.answers import Answer, challenge, error_answer, json_answer, redirect
from harvester.sandbox.world import CATEGORIES, GROUPS, World

MOST_ON_A_PAGE = 1000
_PAGING = {"page", "page_size", "limit", "offset"}


@dataclass(frozen=True)
class Asked:
    """A request: its path without the service's prefix, its query and body merged, its headers."""

    method: str
    path: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """Ends a request with an error of figshare's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = error_answer(status, message)


class Services:
    """All four, over one world."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self._world = world
        self._clock = clock

    def answer(self, service: str, asked: Asked) -> Answer:
        """Answer a request to one of the services."""
        handlers: Mapping[str, Callable[[Asked], Answer]] = {
            "api": self._api, "stats": self._stats, "files": self._files, "storage": self._storage,
        }  # fmt: skip
        try:
            return handlers[service](asked)
        except Refusal as refusal:
            return refusal.answer
        except (TypeError, ValueError) as error:
            return error_answer(422, f"One of the parameters cannot be processed: {error}")

    # -- api ------------------------------------------------------------------------------------------

    def _api(self, asked: Asked) -> Answer:
        route = f"{asked.method} {asked.path}"
        if route in {"GET /articles", "POST /articles/search"}:
            return self._public_listing(asked)
        if asked.path.startswith("/account"):
            return self._account(asked)
        if found := re.fullmatch(r"GET /articles/(\d+)(/files)?", route):
            item_id = int(found[1])
            self._must_exist(item_id, private=False)
            return self._item(asked, item_id, is_list=bool(found[2]), private=False)
        if found := re.fullmatch(r"GET /file/download/(\d+)", route):
            return self._download(asked, int(found[1]), with_token=self._has_token(asked))
        if route == "GET /categories":
            return json_answer([_category(number, title) for number, title in CATEGORIES])
        if route == "GET /licenses":
            address = "https://creativecommons.org/licenses/by/4.0/"
            return json_answer([{"value": 1, "name": "CC BY 4.0", "url": address}])
        raise Refusal(404, "No such endpoint")

    def _account(self, asked: Asked) -> Answer:
        if "Authorization" not in asked.headers:
            raise Refusal(403, "Authentication required")
        if not self._has_token(asked):
            raise Refusal(401, "Invalid token")
        route = f"{asked.method} {asked.path}"
        if route == "GET /account/articles":
            return self._listing(asked, list(self._world.account_ids), cursors=False)
        if route == "GET /account/institution/groups":
            return json_answer([_group(*group) for group in GROUPS])
        if found := re.fullmatch(r"GET /account/articles/(\d+)(/files)?", route):
            item_id = int(found[1])
            self._must_exist(item_id, private=True)
            return self._item(asked, item_id, is_list=bool(found[2]), private=True)
        raise Refusal(404, "No such endpoint")

    def _has_token(self, asked: Asked) -> bool:
        return asked.headers.get("Authorization") == f"token {self._world.settings.token}"

    def _must_exist(self, item_id: int, *, private: bool) -> None:
        world = self._world
        is_there = world.exists(item_id) and (not world.is_private(item_id) or private)
        if private and not world.is_private(item_id):
            is_there = is_there and item_id in world.account_ids
        if not is_there:
            raise Refusal(404, "Entity not found: article")

    def _item(self, asked: Asked, item_id: int, *, is_list: bool, private: bool) -> Answer:
        if is_list:
            begin, end = _span(asked.fields)
            return json_answer(self._world.files(item_id, private=private)[begin:end])
        etag = f'"{item_id}-{self._world.version(item_id)}"'
        headers = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
        if asked.headers.get("If-None-Match") == etag:
            return Answer(304, headers)
        return json_answer(self._world.record(item_id, private=private), headers=headers)

    def _public_listing(self, asked: Asked) -> Answer:
        criteria = {name: value for name, value in asked.fields.items() if name not in _PAGING}
        order = criteria.pop("order_direction", "desc")
        criteria.pop("order", None)
        ids = self._world.select(criteria)
        return self._listing(
            asked, ids if order == "asc" else ids[::-1], cursors=self._world.settings.cursors
        )

    def _listing(self, asked: Asked, ids: Sequence[int], *, cursors: bool) -> Answer:
        given = asked.headers.get("X-Cursor")
        if given and cursors:
            if "offset" in asked.fields or int(asked.fields.get("page", 1)) > 1:
                raise Refusal(422, "offset is not available with X-Cursor")
            begin = _read_cursor(given)
            end = begin + _page_size(asked.fields)
        else:
            begin, end = _span(asked.fields)
            if end > self._world.settings.cap:
                raise Refusal(
                    422, f"Only the first {self._world.settings.cap} entries can be listed by offset"
                )
        headers = {}
        if cursors and end < len(ids):  # whether a last page has a cursor is not documented: here it has none
            headers["X-Cursor"] = _write_cursor(end)
        return json_answer([self._entry(asked, item_id) for item_id in ids[begin:end]], headers=headers)

    def _entry(self, asked: Asked, item_id: int) -> dict[str, Any]:
        entry = self._world.entry(item_id)
        return {**entry, "project_id": 0} if asked.path.endswith("search") else entry

    # -- statistics -----------------------------------------------------------------------------------

    def _stats(self, asked: Asked) -> Answer:
        if found := re.fullmatch(r"/total/(views|downloads|shares)/article/(\d+)", asked.path):
            totals = self._world.totals(int(found[2]))
            return json_answer({"totals": totals[found[1]]} if totals else {})
        if asked.method == "POST" and asked.path == "/count/articles":
            groups = [str(group["id"]) for group in asked.fields.get("groups", ())]
            return json_answer({group: len(self._world.group_items(int(group))) for group in groups})
        raise Refusal(404, "No such endpoint")

    # -- files ----------------------------------------------------------------------------------------

    def _files(self, asked: Asked) -> Answer:
        if re.fullmatch(r"/ndownloader/files/\d+", asked.path):
            return challenge()
        if found := re.fullmatch(r"/files/(\d+)", asked.path):
            return self._download(asked, int(found[1]), with_token=False)
        raise Refusal(404, "No such file")

    def _download(self, asked: Asked, file_id: int, *, with_token: bool) -> Answer:
        world = self._world
        file = world.file(file_id)
        item_id = file_id // 100
        if asked.method != "GET" or file is None or (world.is_private(item_id) and not with_token):
            raise Refusal(404, "No such file")
        if world.is_withheld(item_id):
            raise Refusal(403, "Downloading is not allowed")
        if file["is_link_only"]:
            return redirect(file["download_url"])
        return redirect(self.signed(file_id, self._clock() + world.settings.signed_seconds))

    def signed(self, file_id: int, expires: float) -> str:
        """Return an address of the storage that lives until `expires`."""
        until = f"{expires:.2f}"
        return f"{self._world.at.storage}/{file_id}?expires={until}&signature={self._sign(file_id, until)}"

    def _sign(self, file_id: int, expires: str) -> str:
        return hashlib.sha256(f"{self._world.settings.token} {file_id} {expires}".encode()).hexdigest()[:32]

    def _storage(self, asked: Asked) -> Answer:
        if "Authorization" in asked.headers:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        found = re.fullmatch(r"/(\d+)", asked.path)
        file_id = int(found[1]) if found else 0
        expires = str(asked.fields.get("expires", ""))
        if asked.fields.get("signature") != self._sign(file_id, expires):
            return _xml(403, "SignatureDoesNotMatch", "The signature does not match")
        if float(expires) < self._clock():
            return _xml(403, "AccessDenied", "Request has expired")
        return self._stored(asked, file_id)

    def _stored(self, asked: Asked, file_id: int) -> Answer:
        size = self._world.size(file_id)
        etag = f'"{file_id}-{size}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        begin = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range", ""))
        if wanted and asked.headers.get("If-Range", etag) == etag:
            begin = int(wanted[1])
            if begin >= size:
                return Answer(416, {"Content-Range": f"bytes */{size}"})
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        status = 206 if "Content-Range" in headers else 200
        return Answer(status, headers, size - begin, self._world.pieces(file_id, begin))


def _page_size(fields: Mapping[str, Any]) -> int:
    size = _number(fields, "page_size", _number(fields, "limit", 10))
    if not 1 <= size <= MOST_ON_A_PAGE:
        raise Refusal(422, f"page_size: 1 to {MOST_ON_A_PAGE}")
    return size


def _span(fields: Mapping[str, Any]) -> tuple[int, int]:
    """Read the paging of a request as the first entry and the one behind the last."""
    if {"page", "page_size"} & fields.keys() and {"limit", "offset"} & fields.keys():
        raise Refusal(422, "page and page_size do not go with limit and offset")
    size = _page_size(fields)
    begin = _number(fields, "offset", 0) + (_number(fields, "page", 1) - 1) * size
    if begin < 0:
        raise Refusal(422, "page: at least 1")
    return begin, begin + size


def _number(fields: Mapping[str, Any], name: str, default: int) -> int:
    try:
        return int(fields.get(name, default))
    except (TypeError, ValueError):
        raise Refusal(422, f"{name}: a number is expected") from None


def _write_cursor(offset: int) -> str:
    return base64.urlsafe_b64encode(f"offset {offset}".encode()).decode()


def _read_cursor(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor).decode().removeprefix("offset "))
    except ValueError:
        raise Refusal(422, "X-Cursor: unknown") from None


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


def _xml(status: int, code: str, message: str) -> Answer:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    body = f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, len(body), (body,))
