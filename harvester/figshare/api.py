"""figshare's services as calls: addresses, paging, caps, cursors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from yarl import URL

from harvester.client import JSON_LIMIT, Client
from harvester.errors import Gone, Misshapen, Refused, Verdict
from harvester.figshare.names import ID, same_doi
from harvester.figshare.records import (
    Entry,
    EntryPage,
    decode_counts,
    decode_entries,
    decode_groups,
    decode_pieces,
    decode_total,
    must_be_text,
    read_article,
)
from harvester.figshare.selection import Selection
from harvester.models import ItemRef, Page, Record, Totals, Unresolved

PAGE_SIZE = 1000
"""The most that figshare gives at once."""


@dataclass(frozen=True)
class _Position:
    """
    Where the next page of a listing begins: a cursor, or a page number where there is none.

    ``again``: the listing was begun a second time because its cursor had died. ``first_id``: of the
    page before, to notice a service that answers everything with the same page.
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

    def after(self, found: EntryPage, cursor: str | None) -> _Position | None:
        """
        Tell where the page behind this one begins, None when it is the last.

        The proof of an end is a page that is not full, or a cursor that leads no further.

        Raises:
            Refused: this is the page before, again.
            Misshapen: the cursor is none that could be sent back.
        """
        first_id = found.entries[0].id if found.entries else 0
        if first_id and first_id == self.first_id:
            raise Refused("the listing repeats itself: the same page came again")
        if found.size < PAGE_SIZE or (self.cursor and not cursor):
            return None
        if cursor and not (cursor.isascii() and cursor.isprintable()):
            raise Misshapen("the cursor of the next page is no printable text")
        return replace(self, page=self.page + 1, cursor=cursor or "", first_id=first_id)


class Figshare:
    """
    Figshare's services as calls that return models.

    All raise what `Client.persist` raises. `authorised` calls use the account's endpoints.
    """

    def __init__(self, client: Client, *, api: URL, stats: URL) -> None:
        self._client = client
        self._api = api
        self._stats = stats
        client.expect("api", (api / "articles").with_query(page_size=1), decode_entries)
        client.expect("stats", stats / "total/views/article/1", decode_total)

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
            reply = await self._client.json("api", "POST", url, decode_entries, body=body, headers=headers)
        except Refused:
            if at.cursor and not at.again:  # it has died in a long pause: list anew, once
                return Page((), _Position(again=True).write())
            raise
        following = at.after(reply.value, reply.headers.get("X-Cursor"))
        entries = reply.value.entries
        strangers = _strangers(entries, criteria.get("group"))
        if 2 * len(strangers) > len(entries):
            raise Refused(f"{criteria}: figshare ignores the group and would list everything")

        def mismatch(entry: Entry) -> str:
            return "group" if entry.id in strangers else selection.mismatch(entry)

        return _page(
            reply.value,
            mismatch,
            where=f"{criteria}, page {at.page}",
            following=following,
            blame="figshare ignored",
        )

    async def account_page(self, selection: Selection, position: str | None) -> Page:
        """
        Return one page of the token's own items, drafts and private ones included.

        Source: API reference, Articles, Private Articles. It has no cursor and takes no filter.
        """
        at = _Position.read(position)
        url = (self._api / "account/articles").with_query(page=at.page, page_size=PAGE_SIZE)
        reply = await self._client.json("api", "GET", url, decode_entries, authorised=True)
        return _page(
            reply.value,
            selection.mismatch,
            where=f"account, page {at.page}",
            following=at.after(reply.value, None),
            private=True,
        )

    async def count(self, group_ids: Sequence[int]) -> int:
        """
        Ask how many public items some groups hold together.

        Source: API reference, Stats, Count articles.
        """
        body = {"groups": [{"id": group_id} for group_id in group_ids]}
        url = self._stats / "count/articles"
        counted = (await self._client.json("stats", "POST", url, decode_counts, body=body)).value
        if missing := {str(group_id) for group_id in group_ids} - counted.keys():
            raise Misshapen(f"no count for group {', '.join(sorted(missing))}")
        return sum(counted[str(group_id)] for group_id in group_ids)

    async def group_tree(self, group_id: int) -> list[int]:
        """
        Return a group and all groups below it.

        Raises:
            Refused: the token may not see the institution's groups, or not this one.
        """
        url = self._api / "account/institution/groups"
        groups = (await self._client.json("api", "GET", url, decode_groups, authorised=True)).value
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
        found = (await self._client.json("api", "GET", url, decode_entries)).value
        for entry in found.entries:
            if same_doi(entry.doi, doi):
                return entry.id
        # The filter may know only the DOI with the current version; an item's number is its tail.
        if tail := re.search(rf"[./]({ID})(?:\.v\d+)?$", doi):
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
        url = _below(self._api, f"{account}articles/{item_id}")
        record = (await self._client.json("api", "GET", url, _decode_record, authorised=private)).value
        if record.article.id != item_id:
            raise Misshapen(f"item {item_id}: answered with item {record.article.id}")
        if record.article.files_complete:
            return record
        file_list = await self._file_list(url / "files", private=private)
        return Record(read_article(record.raw, file_list), record.raw, file_list)

    async def _file_list(self, url: URL, *, private: bool) -> bytes:
        pieces: list[msgspec.Raw] = []
        size, number = 0, 1
        while True:
            paged = url.with_query(page=number, page_size=PAGE_SIZE)
            page = (await self._client.json("api", "GET", paged, _decode_file_list, authorised=private)).value
            if page and page[0] in pieces[-PAGE_SIZE : -PAGE_SIZE + 1]:
                raise Misshapen("the file list repeats itself: the same page came again")
            pieces += page
            size += sum(len(memoryview(piece)) for piece in page)
            if size > JSON_LIMIT:
                raise Misshapen(f"a file list of more than {JSON_LIMIT} bytes")
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
        url = _below(self._stats, f"total/{counter}/article/{item_id}")
        return (await self._client.json("stats", "GET", url, decode_total)).value.totals


def _below(base: URL, path: str) -> URL:
    """Return the address of a plain path below another address, at a third of what ``/`` costs."""
    return base.with_path(f"{base.raw_path.rstrip('/')}/{path}", encoded=True)


def _decode_record(raw: bytes) -> Record:
    article = read_article(raw)
    must_be_text(raw)
    return Record(article, raw)


def _decode_file_list(raw: bytes) -> list[msgspec.Raw]:
    must_be_text(raw)
    return decode_pieces(raw)


def _page(
    found: EntryPage,
    mismatch: Callable[[Entry], str],
    *,
    where: str,
    following: _Position | None,
    private: bool = False,
    blame: str = "",
) -> Page:
    """
    Make a page of what came back; what `mismatch` names a field for is left out.

    `blame`: who should have left it out, "" where that is nobody's fault.
    """
    refs: list[ItemRef] = []
    mismatches = Counter[str]()
    for entry in found.entries:
        if field := mismatch(entry):
            mismatches[field] += 1
        else:
            refs.append(ItemRef(entry.id, private=private, modified_date=entry.modified_date))
    refs += [ItemRef(item_id, private=private) for item_id in found.bare]
    left_out = sum(mismatches.values())
    warning = ""
    if left_out and blame:
        warning = f"{blame} {', '.join(mismatches)}: {left_out} of {found.size} entries are left out"
    return Page(
        tuple(refs),
        following.write() if following else None,
        tuple(Unresolved(f"{where}, entry {place}", reason, Verdict.FOR_GOOD) for place, reason in found.odd),
        left_out=left_out,
        warning=f"{where}: {warning}" if warning else "",
    )


def _strangers(entries: Sequence[Entry], group_id: int | None) -> set[int]:
    """Find the entries that are not of the group asked for; where none tells a group, nobody knows."""
    if group_id is None or not any(entry.group_id for entry in entries):
        return set()
    return {entry.id for entry in entries if entry.group_id != group_id}
