"""
Doubtful answers: complete but wrong answers, as a failing service or a gateway gives them for some time.

A doubt is started and ended while the sandbox serves, for a number of answers to each address. Unlike a fault
the answer is complete, and wrong.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from harvester.sandbox import hostile
from harvester.sandbox.answers import Answer, error_answer, json_answer, page
from harvester.sandbox.catalogue import FILES_AN_ITEM
from harvester.sandbox.dates import FAR_FUTURE
from harvester.sandbox.request import Request
from harvester.sandbox.settings import FOR_EVER
from harvester.sandbox.world import World

Play = Callable[[World, Request, Answer], Answer]

_RECORD = r"api GET /(?:account/)?articles/(\d+)"
_FILE_LIST = r"api GET /(?:account/)?articles/(\d+)(?:/versions/\d+)?/files"
_VERSIONS = r"api GET /articles/(\d+)/versions"
_LISTING = r"api (?:GET|POST) /.*articles(?:/search)?"
_OWN_RECORD = r"api GET /account/articles/(\d+)"
_ACCOUNT = r"api GET /account"
_COUNTER = r"stats GET .*/article/(\d+)"
_STORED = r"storage GET /(\d+)"


@dataclass(frozen=True)
class Doubt:
    """A wrong answer. ``about``: a pattern of service, method and path; ``says``: the answer, in words."""

    says: str
    about: str
    play: Play


class Doubts:
    """The active doubts of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinds: dict[str, tuple[int, int]] = {}
        self._met: Counter[str] = Counter()
        for name, times in world.settings.doubts.items():
            self.begin(name, times)

    def begin(self, name: str, times: int = FOR_EVER, *, item_id: int = 0) -> None:
        """
        Give `times` wrong answers of a kind of `DOUBTS` to each address; restarts an active one.

        `item_id`: only about this item, 0 for all.
        """
        self._kinds[name] = (times, item_id)
        self._met = Counter({met: number for met, number in self._met.items() if met.split(" ")[0] != name})
        assert name in DOUBTS, name

    def end(self) -> None:
        """End all doubts."""
        self._kinds.clear()
        self._met.clear()

    def play(self, service: str, request: Request, address: str, answer: Answer) -> tuple[Answer, str | None]:
        """Return the answer, and the name of its doubt, None for the right answer."""
        for name, (times, item_id) in self._kinds.items():
            found = re.fullmatch(DOUBTS[name].about, f"{service} {request.method} {request.path}")
            if not found or (item_id and _item_of(service, found) != item_id):
                continue
            met = f"{name} {address} {'Range' in request.headers}"
            if self._met[met] >= times:
                continue
            other = DOUBTS[name].play(self._world, request, answer)
            if other is not answer:
                self._met[met] += 1
                return other, name
        return answer, None


def _item_of(service: str, found: re.Match[str]) -> int:
    """Return the item of a request, 0 for none; a file's id begins with its item's."""
    number = int(found[1]) if found.groups() else 0
    return number // FILES_AN_ITEM if service == "storage" else number


# -- wrong answers ----------------------------------------------------------------------------------


def _always(make: Callable[[], Answer]) -> Play:
    return lambda _world, _asked, _answer: make()


def _edited(edit: Callable[[Any], Any], *drops: str) -> Play:
    """Return a play that edits the JSON of the right answer, without the headers `drops`."""

    def play(_: World, __: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        right = orjson.loads(b"".join(answer.chunks))
        edited = edit(right)
        kept = {name: value for name, value in answer.headers.items() if name not in drops}
        if edited == orjson.loads(b"".join(answer.chunks)) and len(kept) == len(answer.headers):
            return answer
        return json_answer(edited, headers=kept)

    return play


def _body(change: Callable[[bytes], bytes]) -> Play:
    """Return a play that changes the body of the right answer."""

    def play(_: World, __: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        body = change(b"".join(answer.chunks))
        return replace(answer, length=len(body), chunks=(body,))

    return play


def _record(kind: str) -> Play:
    """Return a play that answers with the record of a hostile item."""

    def play(world: World, request: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        item_id = int(request.path.split("articles/")[1])
        shown = world.public_ids[-1] if kind == "wrong-id" else item_id
        return hostile.answer(kind, world.record(shown, private="/account" in request.path), {})

    return play


def _dead_cursor(_: World, request: Request, answer: Answer) -> Answer:
    """Answer with an empty page to a request with a cursor, like a service that has lost it."""
    return json_answer([]) if answer.status == 200 and "X-Cursor" in request.headers else answer


def _stale(world: World, request: Request, answer: Answer) -> Answer:
    """Answer with the record of the first version, like a stale cache."""
    item_id = int(request.path.split("articles/")[1])
    if answer.status not in {200, 304} or world.version(item_id) == 1:
        return answer
    return json_answer(world.record(item_id, 1))


def _dated(entries: Any) -> Any:
    return [{**entry, "modified_date": FAR_FUTURE} for entry in entries]


def _bare(record: Any) -> Any:
    return {**record, "title": None, "authors": [], "files": [], "size": 0}


def _fewer(record: Any) -> Any:
    *files, last = record["files"] or [{"size": 0}]
    return {**record, "files": files, "size": record["size"] - last["size"]}


def _older(record: Any) -> Any:
    return {**record, "modified_date": "2001-01-01T00:00:00Z", "title": "as it was"}


def _with_zero_counts(answer: Any) -> Any:
    return {kind: 0 if isinstance(counts, int) else {} for kind, counts in answer.items()}


def _inverted(answer: Answer) -> Answer:
    return replace(answer, chunks=tuple(bytes(255 - byte for byte in chunk) for chunk in answer.chunks))


def _other_bytes(_: World, __: Request, answer: Answer) -> Answer:
    return _inverted(answer) if answer.status in {200, 206} else answer


def _half(_: World, __: Request, answer: Answer) -> Answer:
    if answer.status != 200:
        return answer
    body = b"".join(answer.chunks)[: answer.length // 2]
    return replace(answer, length=len(body), chunks=(body,))


def _other_file(_: World, request: Request, answer: Answer) -> Answer:
    """Cut a complete download; answer a range request with the rest of another file, under its own ETag."""
    if "Range" not in request.headers:
        return replace(answer, cut=True) if answer.status == 200 and answer.length > 1 else answer
    if answer.status != 206:
        return answer
    return replace(_inverted(answer), headers={**answer.headers, "ETag": '"another"'})


def _storage_says(status: int, code: str) -> Play:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'.encode()
    return _always(lambda: Answer(status, {"Content-Type": "application/xml"}, len(body), (body,)))


def _api_says(status: int) -> Play:
    if status in {204, 205}:
        return _always(lambda: Answer(status))
    return _always(lambda: error_answer(status, "Not now"))


_NOT_FOUND = "Entity not found: article"
_ERROR: Mapping[str, Any] = {"message": "Internal error", "code": "InternalError", "data": None}
_STATUSES = (204, 205, 409, 421, 423, 425, 431)

DOUBTS: Mapping[str, Doubt] = {
    "gateway-404": Doubt("everything: a gateway's page, 404", r".*", _always(lambda: page(404))),
    "gateway-404-json": Doubt(
        "everything: 404 in JSON that is not figshare's",
        r".*",
        _always(lambda: json_answer({"error": "no route"}, 404)),
    ),
    "all-gone": Doubt(
        "the whole api: 404 in figshare's own JSON", r"api .*", _always(lambda: error_answer(404, _NOT_FOUND))
    ),
    "item-gone": Doubt(
        "records: 404 in figshare's own JSON", _RECORD, _always(lambda: error_answer(404, _NOT_FOUND))
    ),
    "files-empty": Doubt("file lists: none", _FILE_LIST, _edited(lambda files: [])),
    "files-short": Doubt(
        "file lists: without the last three of a page", _FILE_LIST, _edited(lambda files: files[:-3])
    ),
    "versions-gone": Doubt(
        "lists of versions: 404", _VERSIONS, _always(lambda: error_answer(404, _NOT_FOUND))
    ),
    "versions-empty": Doubt("lists of versions: none", _VERSIONS, _edited(lambda versions: [])),
    "versions-short": Doubt(
        "lists of versions: without the first", _VERSIONS, _edited(lambda versions: versions[1:])
    ),
    "listing-empty": Doubt(
        "listings: an empty page without a cursor", _LISTING, _edited(lambda page: [], "X-Cursor")
    ),
    "listing-short": Doubt(
        "listings: a page lacks its last entry", _LISTING, _edited(lambda page: page[:-1])
    ),
    "cursor-lost": Doubt(
        "listings: no cursor to the next page", _LISTING, _edited(lambda page: page, "X-Cursor")
    ),
    "cursor-dead": Doubt("listings: an empty page to a cursor", _LISTING, _dead_cursor),
    "listing-2924": Doubt("listings: every change in the year 2924", _LISTING, _edited(_dated)),
    "owner-404": Doubt(
        "the account's records: 404", _OWN_RECORD, _always(lambda: error_answer(404, _NOT_FOUND))
    ),
    "owner-403": Doubt(
        "the account's records: 403 in JSON",
        _OWN_RECORD,
        _always(lambda: error_answer(403, "You cannot see this item")),
    ),
    "account-404": Doubt("the token's account: a gateway's page, 404", _ACCOUNT, _always(lambda: page(404))),
    "account-gone": Doubt(
        "the token's account: 404 in figshare's own JSON",
        _ACCOUNT,
        _always(lambda: error_answer(404, _NOT_FOUND)),
    ),
    "account-500": Doubt(
        "the token's account: 500", _ACCOUNT, _always(lambda: error_answer(500, "Internal error"))
    ),
    "account-unsaid": Doubt(
        "the token's account: no number", _ACCOUNT, _edited(lambda answer: {"email": ""})
    ),
    **{
        f"stats-{status}": Doubt(
            f"counters: an error as JSON, with status {status}",
            _COUNTER,
            _always(lambda status=status: json_answer(_ERROR, status)),  # type: ignore[misc]  # bound now
        )
        for status in (200, 206, 416)
    },
    "stats-empty": Doubt("counters: an empty answer", _COUNTER, _edited(lambda answer: {})),
    "stats-zero": Doubt("counters: 0, or no counts at all", _COUNTER, _edited(_with_zero_counts)),
    "bytes-wrong": Doubt("storage: wrong bytes, always the same", _STORED, _other_bytes),
    "bytes-short": Doubt("storage: half of the bytes, the length agrees", _STORED, _half),
    "bytes-other-etag": Doubt(
        "storage: cut; a resumed download gets another file's rest", _STORED, _other_file
    ),
    "storage-400": Doubt("storage: 400, ExpiredToken", _STORED, _storage_says(400, "ExpiredToken")),
    "storage-421": Doubt("storage: 421", _STORED, _storage_says(421, "MisdirectedRequest")),
    "storage-425": Doubt("storage: 425", _STORED, _storage_says(425, "TooEarly")),
    "storage-451": Doubt("storage: 451", _STORED, _storage_says(451, "Unavailable")),
    **{f"record-{status}": Doubt(f"records: {status}", _RECORD, _api_says(status)) for status in _STATUSES},
    "record-null": Doubt("records: null", _RECORD, _body(lambda body: b"null")),
    "record-bom": Doubt(
        "records: a byte order mark before the JSON", _RECORD, _body(lambda body: b"\xef\xbb\xbf" + body)
    ),
    "record-brotli": Doubt("records: in an encoding that was not requested", _RECORD, _record("brotli")),
    "record-other": Doubt("records: those of another item", _RECORD, _record("wrong-id")),
    "record-bomb": Doubt(
        "records: less than 100 KB that decompress to 90 MB", _RECORD, _record("bomb-small")
    ),
    "record-bare": Doubt("records: no title, authors and files", _RECORD, _edited(_bare, "ETag")),
    "record-fewer": Doubt("records: without their last file", _RECORD, _edited(_fewer, "ETag")),
    "record-older": Doubt("records: with an older date and title", _RECORD, _edited(_older, "ETag")),
    "record-stale": Doubt("records: those of the first version", _RECORD, _stale),
}
"""By name."""
