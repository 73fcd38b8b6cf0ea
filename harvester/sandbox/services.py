"""What the services answer. Pure: a request as data goes in, an `Answer` comes out."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from harvester.sandbox import hostile
from harvester.sandbox.answers import Answer, challenge, error_answer, json_answer, page, redirect
from harvester.sandbox.asked import Asked, Refusal
from harvester.sandbox.catalogue import CATEGORIES, FILES_AN_ITEM, GROUPS
from harvester.sandbox.listings import Listings
from harvester.sandbox.redirects import download_address
from harvester.sandbox.world import World


class Services:
    """All four over one world, and the place elsewhere that records can lead to."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self._world = world
        self._listings = Listings(world)
        self._clock = clock

    def answer(self, service: str, asked: Asked) -> Answer:
        """Answer a request to one of the services."""
        handlers: Mapping[str, Callable[[Asked], Answer]] = {
            "api": self._api,
            "stats": self._stats,
            "files": self._files,
            "storage": self._storage,
            "elsewhere": self._elsewhere,
        }
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
            return self._listings.public(asked)
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
            return self._listings.account(asked)
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
        world = self._world
        kind = world.item(item_id).hostile
        if is_list:
            return json_answer(hostile.file_page(kind, world.files(item_id, private=private), *asked.span()))
        if world.settings.redirects == "api-elsewhere":
            return redirect(f"{world.at.elsewhere}/v2{asked.path}")
        etag = f'"{item_id}-{world.version(item_id)}"'
        headers = {"ETag": etag, "Last-Modified": "Thu, 01 Jan 2015 00:00:00 GMT"}
        if asked.headers.get("If-None-Match") == etag:
            return Answer(304, headers)
        shown = world.public_ids[0] if kind == "wrong-id" else item_id
        return hostile.answer(kind, world.record(shown, private=private), headers)

    def _elsewhere(self, asked: Asked) -> Answer:
        if found := re.fullmatch(r"/(account/)?articles/(\d+)", asked.path):
            return json_answer(self._world.record(int(found[2]), private=bool(found[1])))
        raise Refusal(404, "No such endpoint")

    # -- statistics -----------------------------------------------------------------------------------

    def _stats(self, asked: Asked) -> Answer:
        if found := re.fullmatch(r"/total/(views|downloads|shares)/article/(\d+)", asked.path):
            totals = self._world.totals(int(found[2]))
            return json_answer({"totals": totals[found[1]]} if totals else {})
        if asked.method == "POST" and asked.path == "/count/articles":
            groups = [str(group["id"]) for group in asked.fields.get("groups", ())]
            more = self._world.settings.miscount
            return json_answer({group: len(self._world.group_items(int(group))) + more for group in groups})
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
        item_id = file_id // FILES_AN_ITEM
        if asked.method != "GET" or file is None or (world.is_private(item_id) and not with_token):
            raise Refusal(404, "No such file")
        if not world.is_private(item_id) and world.number(item_id) < world.settings.blocked_items:
            return page(403)
        if world.is_withheld(item_id):
            raise Refusal(403, "Downloading is not allowed")
        if file["is_link_only"]:
            return redirect(file["download_url"])
        signed = self.signed(file_id, self._clock() + world.settings.signed_seconds)
        return redirect(download_address(world.settings.redirects, asked, signed, world.at))

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
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": self._world.settings.storage_type}
        begin, end = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("Range", ""))
        if wanted and asked.headers.get("If-Range", etag) == etag:
            begin = int(wanted[1])
            if begin >= size:
                return Answer(416, {"Content-Range": f"bytes */{size}"})
            end = min(size, int(wanted[2] or size) + 1)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        status = 206 if "Content-Range" in headers else 200
        return Answer(status, headers, end - begin, self._world.pieces(file_id, begin, end))


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
