"""
Answers that say less than the truth, or another thing: what a bad hour of a service or a gateway gives.

A doubt is begun and ended while the sandbox serves, for so many answers to each address. Unlike a fault it is
no accident of a connection: the answer is whole, and wrong.
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
    """``about``: what is asked for, as a pattern of service, method and path; ``says``: what is answered."""

    says: str
    about: str
    play: Play


class Doubts:
    """Those of one world that are under way."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kinds: dict[str, tuple[int, int]] = {}
        self._met: Counter[str] = Counter()
        for name, times in world.settings.doubts.items():
            self.begin(name, times)

    def begin(self, name: str, times: int = FOR_EVER, *, item_id: int = 0) -> None:
        """
        Give so many wrong answers of a kind of `DOUBTS` to each address, anew where it is under way.

        `item_id`: about this item alone, 0 for all.
        """
        self._kinds[name] = (times, item_id)
        self._met = Counter({met: number for met, number in self._met.items() if met.split(" ")[0] != name})
        assert name in DOUBTS, name

    def end(self) -> None:
        """Give right answers again."""
        self._kinds.clear()
        self._met.clear()

    def play(self, service: str, asked: Request, address: str, answer: Answer) -> tuple[Answer, str | None]:
        """Return what is answered, and the doubt that it is, None for the right answer."""
        for name, (times, item_id) in self._kinds.items():
            found = re.fullmatch(DOUBTS[name].about, f"{service} {asked.method} {asked.path}")
            if not found or (item_id and _item_of(service, found) != item_id):
                continue
            met = f"{name} {address} {'Range' in asked.headers}"
            if self._met[met] >= times:
                continue
            other = DOUBTS[name].play(self._world, asked, answer)
            if other is not answer:
                self._met[met] += 1
                return other, name
        return answer, None


def _item_of(service: str, found: re.Match[str]) -> int:
    """Return the item that something was asked about, 0 for none; a file's id begins with its item's."""
    number = int(found[1]) if found.groups() else 0
    return number // FILES_AN_ITEM if service == "storage" else number


# -- what is answered instead ------------------------------------------------------------------------


def _always(make: Callable[[], Answer]) -> Play:
    return lambda _world, _asked, _answer: make()


def _edited(edit: Callable[[Any], Any], *drops: str) -> Play:
    """Answer with JSON that is made of the right one, without the headers `drops`."""

    def play(_: World, __: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        right = orjson.loads(b"".join(answer.pieces))
        told = edit(right)
        kept = {name: value for name, value in answer.headers.items() if name not in drops}
        if told == orjson.loads(b"".join(answer.pieces)) and len(kept) == len(answer.headers):
            return answer
        return json_answer(told, headers=kept)

    return play


def _body(change: Callable[[bytes], bytes]) -> Play:
    """Answer with a body that is made of the right one."""

    def play(_: World, __: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        body = change(b"".join(answer.pieces))
        return replace(answer, length=len(body), pieces=(body,))

    return play


def _record(kind: str) -> Play:
    """Answer with what a hostile item's record is."""

    def play(world: World, asked: Request, answer: Answer) -> Answer:
        if answer.status != 200:
            return answer
        item_id = int(asked.path.split("articles/")[1])
        shown = world.public_ids[-1] if kind == "wrong-id" else item_id
        return hostile.answer(kind, world.record(shown, private="/account" in asked.path), {})

    return play


def _dead_cursor(_: World, asked: Request, answer: Answer) -> Answer:
    """Answer with an empty page to who comes with a cursor, as a service does that has forgotten it."""
    return json_answer([]) if answer.status == 200 and "X-Cursor" in asked.headers else answer


def _stale(world: World, asked: Request, answer: Answer) -> Answer:
    """Answer with the record of the first version, as a cache does that was not told."""
    item_id = int(asked.path.split("articles/")[1])
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


def _without_uses(told: Any) -> Any:
    return {kind: 0 if isinstance(uses, int) else {} for kind, uses in told.items()}


def _inverted(answer: Answer) -> Answer:
    return replace(answer, pieces=tuple(bytes(255 - byte for byte in piece) for piece in answer.pieces))


def _other_bytes(_: World, __: Request, answer: Answer) -> Answer:
    return _inverted(answer) if answer.status in {200, 206} else answer


def _half(_: World, __: Request, answer: Answer) -> Answer:
    if answer.status != 200:
        return answer
    body = b"".join(answer.pieces)[: answer.length // 2]
    return replace(answer, length=len(body), pieces=(body,))


def _other_file(_: World, asked: Request, answer: Answer) -> Answer:
    """Cut what is asked for whole; give the rest of another file, under its own ETag, to who goes on."""
    if "Range" not in asked.headers:
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
        "everything: 404 in JSON, without figshare's words",
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
    "account-404": Doubt("whose the token is: a gateway's page, 404", _ACCOUNT, _always(lambda: page(404))),
    "account-gone": Doubt(
        "whose the token is: 404 in figshare's own JSON",
        _ACCOUNT,
        _always(lambda: error_answer(404, _NOT_FOUND)),
    ),
    "account-500": Doubt(
        "whose the token is: 500", _ACCOUNT, _always(lambda: error_answer(500, "Internal error"))
    ),
    "account-unsaid": Doubt("whose the token is: no number", _ACCOUNT, _edited(lambda told: {"email": ""})),
    **{
        f"stats-{status}": Doubt(
            f"counters: an error as JSON, with status {status}",
            _COUNTER,
            _always(lambda status=status: json_answer(_ERROR, status)),  # type: ignore[misc]  # bound now
        )
        for status in (200, 206, 416)
    },
    "stats-empty": Doubt("counters: an empty answer", _COUNTER, _edited(lambda told: {})),
    "stats-zero": Doubt("counters: 0, or no uses at all", _COUNTER, _edited(_without_uses)),
    "bytes-wrong": Doubt("storage: wrong bytes, always the same", _STORED, _other_bytes),
    "bytes-short": Doubt("storage: half of the bytes, the length agrees", _STORED, _half),
    "bytes-other-etag": Doubt("storage: cut; what goes on gets another file's rest", _STORED, _other_file),
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
    "record-bomb": Doubt("records: less than 100 KB that unpack to 90 MB", _RECORD, _record("bomb-small")),
    "record-bare": Doubt("records: no title, authors and files", _RECORD, _edited(_bare, "ETag")),
    "record-fewer": Doubt("records: without their last file", _RECORD, _edited(_fewer, "ETag")),
    "record-older": Doubt("records: with an older date and title", _RECORD, _edited(_older, "ETag")),
    "record-stale": Doubt("records: those of the first version", _RECORD, _stale),
}
"""By name."""
