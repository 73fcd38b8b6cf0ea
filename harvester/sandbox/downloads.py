"""Downloads: the routes to a file, the signed address that they redirect to, and the storage."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace

from harvester.sandbox.answers import Answer, page, redirect
from harvester.sandbox.auth import Caller
from harvester.sandbox.catalogue import FILES_AN_ITEM
from harvester.sandbox.redirects import download_address
from harvester.sandbox.request import Refusal, Request
from harvester.sandbox.world import World


class Downloads:
    """Answers requests for the files of one world; `clock`: seconds since 1970, for addresses that expire."""

    def __init__(self, world: World, clock: Callable[[], float]) -> None:
        self._world = world
        self._clock = clock

    def lead(self, request: Request, file_id: int, caller: Caller | None) -> Answer:
        """Answer a request for a file with a redirect to the storage."""
        world = self._world
        file = world.file(file_id)
        item_id = file_id // FILES_AN_ITEM
        is_owner = caller is not None and caller.sees(world, item_id)
        if request.method != "GET" or file is None or not (world.is_published(file_id) or is_owner):
            raise Refusal(404, "No such file")
        if not world.is_private(item_id) and world.number(item_id) < world.settings.blocked_items:
            return page(403)
        if world.is_withheld(item_id) and (world.settings.refuses_owner or not is_owner):
            raise Refusal(403, "Downloading is not allowed")
        if file["is_link_only"]:
            return redirect(file["download_url"])
        signed = self.signed(file_id, self._clock() + world.settings.signed_seconds)
        is_proven = file["computed_md5"] or file["supplied_md5"]
        if is_proven and world.settings.stale_route == (
            "api" if request.path.startswith("/file/") else "files"
        ):
            signed += "&copy=stale"
        return redirect(download_address(world.settings.redirects, request, signed, world.at))

    def signed(self, file_id: int, expires: float) -> str:
        """Return an address of the storage that is valid until `expires`."""
        until = f"{expires:.2f}"
        return f"{self._world.at.storage}/{file_id}?expires={until}&signature={self._sign(file_id, until)}"

    def _sign(self, file_id: int, expires: str) -> str:
        return hashlib.sha256(f"{self._world.settings.token} {file_id} {expires}".encode()).hexdigest()[:32]

    def stored(self, request: Request) -> Answer:
        """Answer a request to the storage."""
        if "Authorization" in request.headers:
            return _xml(400, "InvalidArgument", "Only one auth mechanism allowed")
        found = re.fullmatch(r"/(\d+)", request.path)
        file_id = int(found[1]) if found else 0
        expires = str(request.fields.get("expires", ""))
        if request.fields.get("signature") != self._sign(file_id, expires):
            return _xml(403, "SignatureDoesNotMatch", "The signature does not match")
        if float(expires) < self._clock():
            return _xml(403, "AccessDenied", "Request has expired")
        answer = self._bytes(request, file_id)
        if "copy" in request.fields:
            return replace(answer, chunks=(bytes(byte ^ 1 for byte in chunk) for chunk in answer.chunks))
        return answer

    def _bytes(self, request: Request, file_id: int) -> Answer:
        size = self._world.size(file_id)
        etag = f'"{file_id}-{size}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": self._world.settings.storage_type}
        begin, end = 0, size
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted and request.headers.get("If-Range", etag) == etag:
            begin = int(wanted[1])
            if begin >= size:
                return Answer(416, {"Content-Range": f"bytes */{size}"})
            end = min(size, int(wanted[2] or size) + 1)
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        status = 206 if "Content-Range" in headers else 200
        chunks = self._world.chunks(file_id, begin, end)
        return Answer(status, headers, end - begin, chunks, rate=self._rate(file_id // FILES_AN_ITEM))

    def _rate(self, item_id: int) -> float:
        settings = self._world.settings
        is_public = self._world.exists(item_id) and not self._world.is_private(item_id)
        is_slow = is_public and self._world.number(item_id) < settings.slow_items
        return settings.slow_rate if is_slow else settings.connection_rate


def _xml(status: int, code: str, message: str) -> Answer:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    body = f"{head}<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, len(body), (body,))
