"""figshare's services as calls that return models."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace
from yarl import URL

from harvester.client import Client, Reply
from harvester.concurrency import apart
from harvester.errors import BadRequest, InvalidResponse, NotFound, PermanentError, Rejected, TransientError
from harvester.figshare.decoding import must_be_text
from harvester.figshare.entries import decode_entries
from harvester.figshare.file_lists import Pages, is_whole, whole
from harvester.figshare.listings import ArticleListing
from harvester.figshare.pager import PAGE_SIZE, Pager
from harvester.figshare.records import (
    Account,
    decode_account,
    decode_counts,
    decode_groups,
    decode_pieces,
    decode_versions,
    read_article,
)
from harvester.figshare.resolver import IdentifierResolver
from harvester.figshare.rest import RestApi
from harvester.figshare.statistics import decode_total
from harvester.models import ItemRef, Page, Record

__all__ = ["PAGE_SIZE", "FigshareApi"]

LONGEST_ETAG = 200


class FigshareApi:
    """
    Figshare's services as calls that return models.

    All raise what `Client.retry` raises. `impersonate`: the account for which an administrator's token
    asks, 0 for its own. ``finder``: for items by their names. ``hold_turn``: see `client.turns`.
    """

    def __init__(self, client: Client, *, api: URL, stats: URL, impersonate: int = 0) -> None:
        self._client = client
        self.hold_turn = client.memory.hold
        self._endpoints = RestApi(client, api, impersonate)
        self._lister = Pager(self._endpoints)
        self.finder = IdentifierResolver(self._endpoints, api)
        self._stats = stats
        client.expect("api", (api / "articles").with_query(page_size=1), decode_entries)
        client.expect("stats", stats / "total/views/article/1", decode_total)

    async def doubts(self, listed: ArticleListing) -> list[str]:
        """Say which of the names that a listing is narrowed to are known neither here nor by figshare."""
        return await self._lister.doubts(listed)

    async def page(self, listed: ArticleListing, position: str | None) -> Page:
        """
        Return one page of a listing; `position` is None for the first, later what the page before gave.

        Raises besides: see `Pager.page`.
        """
        return await self._lister.page(listed, position)

    async def confirm_token(self) -> None:
        """Ask whether the token is good, where a refusal was the last word on it; see `Client`."""
        await self._client.confirm_credentials("api")

    async def serves(self, known: Sequence[ItemRef]) -> bool:
        """
        Tell whether the api gives what is sure to be there: an item in its list of all, and one of these.

        A gateway in its place may say of everything that it is not found. `known`: items to be asked for as
        they were had before, until one comes; where there is none, the list alone has to do.
        """
        with contextlib.suppress(PermanentError, TransientError):
            found = (await self._endpoints.get("articles", decode_entries, {"page_size": 1})).value
            if not (found.entries and known):
                return bool(found.entries)
            for each in known:
                with contextlib.suppress(NotFound, Rejected):
                    path, authorised = _record_path(each.id, private=each.private, version=each.version)
                    decode = partial(_decode_record, each.id, each.version)
                    await self._endpoints.get(path, decode, authorised=authorised)
                    return True
        return False

    async def count(self, group_ids: Sequence[int]) -> int:
        """
        Ask how many public items some groups hold together.

        Source: API reference, Stats, Count articles.
        """
        body = {"groups": [{"id": group_id} for group_id in group_ids]}
        url = self._stats / "count/articles"
        counted = (await self._client.json("stats", "POST", url, decode_counts, body=body)).value
        if missing := {str(group_id) for group_id in group_ids} - counted.keys():
            raise InvalidResponse(f"no count for group {', '.join(sorted(missing))}")
        return sum(counted[str(group_id)] for group_id in group_ids)

    async def group_tree(self, group_id: int) -> list[int]:
        """
        Return a group and all groups below it.

        Raises:
            Rejected: the token may not see the institution's groups, or not this one.
        """
        path, right = "account/institution/groups", "see the institution's groups"
        groups = (await self._endpoints.get(path, decode_groups, authorised=True, right=right)).value
        if group_id not in {group.id for group in groups}:
            raise Rejected(f"group {group_id}: not among the groups that the token may see")
        found, waiting = [], [group_id]
        while waiting:
            parent = waiting.pop()
            found.append(parent)
            waiting += [g.id for g in groups if g.parent_id == parent and g.id not in found]
        return sorted(found)

    async def record(
        self, item_id: int, *, private: bool, version: int = 0, if_none_match: str = ""
    ) -> Record:
        """
        Return an item's full record, with the list of all its files.

        `version`: the one that is wanted, which only the public endpoint has; 0 for whatever is current.
        `if_none_match`: an ETag, "" for none.

        Raises:
            NotModified: the record still is the one that had the ETag.

        Source: API reference, Articles, View article details: "up to 10 article files".
        """
        path, authorised = _record_path(item_id, private=private, version=version)
        decode = partial(_decode_record, item_id, version)
        reply = await self._endpoints.get(path, decode, authorised=authorised, if_none_match=if_none_match)
        return await self._whole(reply, path, authorised=authorised)

    async def account(self) -> dict[str, int]:
        """
        Tell whose the token is, or for whom it acts: the numbers of ``account`` and ``institution``.

        Source: API reference, Other, Private Account information.
        """
        try:
            told = await self._account()
        except NotFound:  # whoever has a token has an account: one answer that denies it is no proof
            told = await self._account()
        return {"account": told.id} | ({"institution": told.institution_id} if told.institution_id else {})

    async def _account(self) -> Account:
        return (await self._endpoints.get("account", decode_account, authorised=True)).value

    async def versions(self, item_id: int) -> tuple[int, ...] | None:
        """Return the versions of a public item, oldest first; None where there is no such item."""
        try:
            told = (await self._endpoints.get(f"articles/{item_id}/versions", decode_versions)).value
        except NotFound:
            return None
        return tuple(sorted({each.version for each in told}))

    async def _whole(self, reply: Reply[Record], path: str, *, authorised: bool) -> Record:
        """
        Return a record with its ETag and all of its files.

        A file list that is refused, or fails with all attempts, costs no record. Where that leaves a doubt,
        the record has no ETag: its list is asked for again.
        """
        record = replace(reply.value, told_at=reply.told_at, private=authorised)
        if not is_whole(record):
            pages, error = await self._file_list(f"{path}/files", authorised=authorised)
            record = await apart(pages.bytes, whole, record, pages.pieces, error)
        return replace(record, etag="" if record.doubt else _kept(reply.headers.get("ETag", "")))

    async def _file_list(
        self, path: str, *, authorised: bool
    ) -> tuple[Pages, NotFound | Rejected | TransientError | None]:
        """Return the pages of a file list, and why there are no more, None at its end."""
        pages, is_more = Pages(), True
        while is_more:
            fields = {"page": pages.number, "page_size": pages.size}
            try:
                reply = await self._endpoints.get(path, _decode_file_list, fields, authorised=authorised)
            except (NotFound, Rejected, TransientError) as error:
                if isinstance(error, BadRequest) and pages.ask_for_less():
                    continue
                return pages, error
            is_more = pages.take(reply.value)
        return pages, None


def _record_path(item_id: int, *, private: bool, version: int) -> tuple[str, bool]:
    """Return where a record is, and whether it is asked for with the token."""
    if version:
        return f"articles/{item_id}/versions/{version}", False
    return (f"account/articles/{item_id}", True) if private else (f"articles/{item_id}", False)


def _kept(etag: str) -> str:
    """Return an ETag that can be kept and sent back, "" for any other."""
    return etag if etag.isascii() and etag.isprintable() and len(etag) <= LONGEST_ETAG else ""


def _decode_record(item_id: int, version: int, raw: bytes) -> Record:
    """Read the record of an item, or of one of its versions; that of another one is no answer."""
    article = read_article(raw)
    must_be_text(raw)
    if article.id != item_id:
        raise InvalidResponse(f"item {item_id}: answered with item {article.id}")
    if version and article.version not in {0, version}:
        raise InvalidResponse(f"item {item_id}, version {version}: answered with version {article.version}")
    return Record(article, raw)


def _decode_file_list(raw: bytes) -> list[msgspec.Raw]:
    pieces = decode_pieces(raw)
    must_be_text(raw)
    return pieces
