"""
Everything true of figshare and of nothing else: addresses, paging, caps, JSON keys to models.

How a file's bytes are reached stands in `routes.py`. Source of what is documented: the figshare API
reference (https://docs.figshare.com), version 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, TypeVar

import msgspec
from yarl import URL

from harvester.client import Client
from harvester.errors import Broken, Gone, Misshapen, Refused
from harvester.models import Article, ItemRef, Page, Record, RemoteFile, Totals

T = TypeVar("T")

PAGE_SIZE = 1000
"""The most that figshare gives at once."""
LISTED_FILES = 10
"""A record lists so many files at most; the rest is in its file list only."""

ITEM_TYPES = {
    "figure": 1, "media": 2, "dataset": 3, "poster": 5, "journal contribution": 6,
    "presentation": 7, "thesis": 8, "software": 9, "online resource": 11, "preprint": 12,
    "book": 13, "conference contribution": 14, "chapter": 15, "peer review": 16,
    "educational resource": 17, "report": 18, "standard": 19, "composition": 20, "funding": 21,
    "physical object": 22, "data management plan": 23, "workflow": 24, "monograph": 25,
    "performance": 26, "event": 27, "service": 28, "model": 29,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Selection:
    """
    What a listing is narrowed to; the fields that such sources share.

    It is asked of the service where the service takes it, and checked here in any case: figshare
    ignores a filter that it does not know, and an account's listing takes none.
    """

    item_type: int | str | None = None
    published_since: date | None = None
    modified_since: date | None = None

    def __post_init__(self) -> None:
        if isinstance(self.item_type, str) and self.item_type.lower() not in ITEM_TYPES:
            raise ValueError(f"item_type: unknown {self.item_type!r}; known: {', '.join(ITEM_TYPES)}")
        if isinstance(self.item_type, int) and self.item_type not in ITEM_TYPES.values():
            raise ValueError(f"item_type: figshare has no type {self.item_type}")

    @property
    def type_number(self) -> int | None:
        """The number that figshare gives the wanted type."""
        if isinstance(self.item_type, str):
            return ITEM_TYPES[self.item_type.lower()]
        return self.item_type

    def criteria(self) -> dict[str, Any]:
        """Return the fields as figshare's search and listings take them."""
        return {
            key: str(value) if isinstance(value, date) else value
            for key, value in (
                ("item_type", self.type_number),
                ("published_since", self.published_since),
                ("modified_since", self.modified_since),
            )
            if value is not None
        }

    def takes(self, entry: Entry) -> bool:
        """Tell whether a listed item is one of those wanted."""
        return (
            (self.type_number is None or entry.defined_type in {None, self.type_number})
            and _since(entry.published_date, self.published_since)
            and _since(entry.modified_date, self.modified_since)
        )


def _since(day: str | None, wanted: date | None) -> bool:
    return wanted is None or (bool(day) and str(day) >= wanted.isoformat())


class Entry(msgspec.Struct, frozen=True):
    """An item as listings show it, as far as the harvest reads it."""

    id: int
    doi: str | None = None
    defined_type: int | None = None
    published_date: str | None = None
    modified_date: str | None = None


class _File(msgspec.Struct, frozen=True):
    id: int
    name: str | None = None
    size: int | None = None
    is_link_only: bool | None = None
    download_url: str | None = None
    supplied_md5: str | None = None
    computed_md5: str | None = None


class _Author(msgspec.Struct, frozen=True):
    full_name: str | None = None


class _Category(msgspec.Struct, frozen=True):
    title: str | None = None


class _Licence(msgspec.Struct, frozen=True):
    name: str | None = None


class _Record(msgspec.Struct, frozen=True):
    """The keys that are read of a record. All but the id may be null or absent."""

    id: int
    title: str | None = None
    doi: str | None = None
    defined_type_name: str | None = None
    created_date: str | None = None
    published_date: str | None = None
    modified_date: str | None = None
    license: _Licence | None = None
    group_id: int | None = None
    authors: list[_Author] | None = None
    categories: list[_Category] | None = None
    size: int | None = None
    files: list[_File] | None = None
    folder_structure: dict[str, str | None] | list[None] | None = None  # [] when there are none
    is_metadata_record: bool | None = None
    is_embargoed: bool | None = None
    is_confidential: bool | None = None
    download_disabled: bool | None = None


class _Total(msgspec.Struct, frozen=True):
    totals: int | None = None


class _Group(msgspec.Struct, frozen=True):
    id: int
    parent_id: int | None = None


def _decoder(kind: type[T]) -> Callable[[bytes], T]:
    decoder = msgspec.json.Decoder(kind)

    def decode(raw: bytes) -> T:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError as exc:
            raise Misshapen(f"not the promised JSON: {exc}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Broken(f"not whole JSON: {exc}") from exc
        except RecursionError as exc:
            raise Misshapen("JSON nested too deeply") from exc

    return decode


_decode_entries = _decoder(list[Entry])
_decode_record = _decoder(_Record)
_decode_files = _decoder(list[_File])
_decode_pieces = _decoder(list[msgspec.Raw])
_decode_total = _decoder(_Total)
_decode_groups = _decoder(list[_Group])


def read_article(raw: bytes, file_list: bytes | None = None) -> Article:
    """
    Read a record as figshare sent it; `file_list` is the whole list where the record cut it.

    Raises:
        Misshapen: it has another shape than documented.
        Broken: it is not JSON.
    """
    wire = _decode_record(raw)
    listed = _decode_files(file_list) if file_list is not None else wire.files
    structure = wire.folder_structure if isinstance(wire.folder_structure, dict) else {}
    files = tuple(_read_file(file, structure.get(str(file.id))) for file in listed or ())
    size = wire.size or 0
    is_whole = listed is not None and len(listed) < LISTED_FILES
    adds_up = sum(file.size for file in files) == size
    withheld = _withheld(wire)
    return Article(
        id=wire.id,
        title=wire.title or "",
        doi=wire.doi or "",
        type=wire.defined_type_name or "",
        created_date=wire.created_date or "",
        published_date=wire.published_date or "",
        modified_date=wire.modified_date or "",
        licence=(wire.license and wire.license.name) or "",
        group_id=wire.group_id,
        authors=tuple(author.full_name or "" for author in wire.authors or ()),
        categories=tuple(category.title or "" for category in wire.categories or ()),
        size=size,
        files=files,
        files_complete=file_list is not None or (is_whole and (adds_up or bool(withheld))),
        withheld=withheld,
    )


def _withheld(wire: _Record) -> str:
    if wire.is_confidential:
        return "confidential"
    if wire.is_embargoed:
        return "embargo"
    if wire.download_disabled:
        return "downloads disabled"
    return "metadata only" if wire.is_metadata_record else ""


def _read_file(wire: _File, folder: str | None) -> RemoteFile:
    promised = (md5.lower() for md5 in (wire.computed_md5, wire.supplied_md5) if md5)
    return RemoteFile(
        id=wire.id,
        name=wire.name or "",
        folder=(folder or "").strip("/"),
        size=wire.size or 0,
        md5=next((md5 for md5 in promised if re.fullmatch("[0-9a-f]{32}", md5)), None),
        url=wire.download_url or "",
        is_link=bool(wire.is_link_only),
    )


class Figshare:
    """
    Figshare's services as calls that return models.

    All raise what `Client.persist` raises. `authorised` calls use the account's endpoints.
    """

    def __init__(self, client: Client, *, api: URL, stats: URL) -> None:
        self._client = client
        self._api = api
        self._stats = stats

    async def search_page(
        self, criteria: Mapping[str, Any], selection: Selection, position: str | None
    ) -> Page:
        """
        Return one page of a public search, oldest first so that new items come last.

        `position` is None for the first page, later what the page before gave.

        Source: API reference, Articles, Public Articles Search; its X-Cursor goes past the cap.
        """
        at = _Position.read(position)
        body = {
            **criteria,
            **selection.criteria(),
            "order": "published_date",
            "order_direction": "asc",
            "page_size": PAGE_SIZE,
        }
        headers = {"X-Cursor": at.cursor} if at.cursor else {}
        if not at.cursor:
            body["page"] = at.page
        url = self._api / "articles/search"
        try:
            reply = await self._client.json("api", "POST", url, _decode_entries, body=body, headers=headers)
        except Refused:
            if at.cursor and not at.again:  # it has died in a long pause: list anew, once
                return Page((), _Position(again=True).write())
            raise
        following = at.after(reply.value, reply.headers.get("X-Cursor"))
        return _page(reply.value, selection, following.write() if following else None, private=False)

    async def account_page(self, selection: Selection, position: str | None) -> Page:
        """
        Return one page of the token's own items, drafts and private ones included.

        Source: API reference, Articles, Private Articles. It has no cursor and takes no filter.
        """
        number = int(position or 1)
        url = (self._api / "account/articles").with_query(page=number, page_size=PAGE_SIZE)
        reply = await self._client.json("api", "GET", url, _decode_entries, authorised=True)
        following = str(number + 1) if len(reply.value) == PAGE_SIZE else None
        return _page(reply.value, selection, following, private=True)

    async def group_tree(self, group_id: int) -> list[int]:
        """
        Return a group and all groups below it.

        Raises:
            Refused: the token may not see the institution's groups, or not this one.
        """
        url = self._api / "account/institution/groups"
        groups = (await self._client.json("api", "GET", url, _decode_groups, authorised=True)).value
        if group_id not in {group.id for group in groups}:
            raise Refused(f"group {group_id}: not among the groups that the token may see")
        found, waiting = [], [group_id]
        while waiting:
            parent = waiting.pop()
            found.append(parent)
            waiting += [g.id for g in groups if g.parent_id == parent and g.id not in found]
        return sorted(found)

    async def find_doi(self, doi: str) -> int | None:
        """
        Return the item with this DOI, with or without its version; None where there is none.

        figshare ignores filters that it does not know, so what comes back is compared.
        """
        url = (self._api / "articles").with_query(doi=doi, page_size=10)
        entries = (await self._client.json("api", "GET", url, _decode_entries)).value
        for entry in entries:
            if same_doi(entry.doi, doi):
                return entry.id
        # The filter may know only the DOI with the current version; an item's number is its tail.
        if tail := re.search(r"[./](\d+)(?:\.v\d+)?$", doi):
            try:
                article = (await self.record(int(tail[1]), private=False)).article
            except (Gone, Misshapen, Refused):
                return None
            if same_doi(article.doi, doi):
                return article.id
        return None

    async def record(self, item_id: int, *, private: bool) -> Record:
        """
        Return an item's full record, with the list of all its files.

        Source: API reference, Articles, View article details: "up to 10 article files".
        """
        account = "account/" if private else ""
        url = self._api / f"{account}articles/{item_id}"

        def decode(raw: bytes) -> Record:
            return Record(read_article(raw), raw)

        record = (await self._client.json("api", "GET", url, decode, authorised=private)).value
        if record.article.id != item_id:
            raise Misshapen(f"item {item_id}: answered with item {record.article.id}")
        if record.article.files_complete:
            return record
        file_list = await self._file_list(url / "files", private=private)
        return Record(read_article(record.raw, file_list), record.raw, file_list)

    async def _file_list(self, url: URL, *, private: bool) -> bytes:
        pieces: list[msgspec.Raw] = []
        number = 1
        while True:
            page = (
                await self._client.json(
                    "api", "GET", url.with_query(page=number, page_size=PAGE_SIZE),
                    _decode_pieces, authorised=private,
                )
            ).value  # fmt: skip
            pieces += page
            if len(page) < PAGE_SIZE:
                return msgspec.json.encode(pieces)
            number += 1

    async def totals(self, item_id: int) -> Totals:
        """
        Count the uses of one item since it was published.

        Source: API reference, Stats, Totals. An unknown item gets an empty answer: that is not 0.
        """
        views = await self._total("views", item_id)
        return Totals(views, await self._total("downloads", item_id))

    async def _total(self, counter: str, item_id: int) -> int | None:
        url = self._stats / f"total/{counter}/article/{item_id}"
        return (await self._client.json("stats", "GET", url, _decode_total)).value.totals


@dataclass(frozen=True)
class _Position:
    """
    Where the next page of a search begins: a cursor, or a page number where there is none.

    ``again``: the listing was begun a second time because its cursor had died. ``first_id``: of the
    page before, to notice a service that answers every cursor with the same page.
    """

    page: int = 1
    cursor: str = ""
    first_id: int = 0
    again: bool = False

    @classmethod
    def read(cls, text: str | None) -> _Position:
        return msgspec.json.decode(text, type=cls) if text else cls()

    def write(self) -> str:
        return msgspec.json.encode(self).decode()

    def after(self, entries: list[Entry], cursor: str | None) -> _Position | None:
        """Tell where the page behind these entries begins, None when they are the last."""
        if len(entries) < PAGE_SIZE or (self.cursor and not cursor):
            return None
        if self.cursor and entries[0].id == self.first_id:
            raise Refused("the listing repeats itself: X-Cursor leads to the same page again")
        return replace(self, page=self.page + 1, cursor=cursor or "", first_id=entries[0].id)


def _page(entries: list[Entry], selection: Selection, position: str | None, *, private: bool) -> Page:
    refs = (
        ItemRef(entry.id, private=private, modified_date=entry.modified_date)
        for entry in entries
        if selection.takes(entry)
    )
    return Page(tuple(refs), position)


def item_id_in(name: str) -> int | None:
    """
    Read the item's id where the name itself tells it, without asking anybody.

    An id, an item's address on figshare.com, the api or an institution's portal, a DOI of figshare's
    own prefix (an institution's DOI need not end with the id: see `Figshare.find_doi`).
    """
    for pattern in (
        r"0*(\d{1,18})",
        r"https?://[^?#]+?/articles/(?:[^/\d][^/]*/(?:[^/]*/)?)?(\d+)(?:[/?#].*)?",
        r".*\b10\.6084/m9\.figshare\.(\d+)(?:\.v\d+)?/?",
    ):
        if found := re.fullmatch(pattern, name.strip(), re.IGNORECASE):
            return int(found[1])
    return None


def doi_in(name: str) -> str | None:
    """Return the DOI in a name such as "10.1234/x", "doi:10.1234/x" or "https://doi.org/10.1234/x"."""
    found = re.search(r"\b10\.\d{4,9}/[^\s?#]+", name)
    return found[0].rstrip("/.,;") if found else None


def same_doi(one: str | None, other: str) -> bool:
    """Tell whether two DOIs name the same item, whatever their versions and case."""
    return bool(one) and _unversioned(str(one)) == _unversioned(other)


def _unversioned(doi: str) -> str:
    return re.sub(r"\.v\d+$", "", doi.lower())
