"""API facade: calls to figshare's services that return models."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace
from yarl import URL

from harvester.client import Client, Reply
from harvester.errors import BadRequest, InvalidResponse, NotFound, PermanentError, Rejected, TransientError
from harvester.figshare.api_version import ApiVersion, Endpoint
from harvester.figshare.decoding import must_be_text
from harvester.figshare.file_lists import Pages, is_whole, whole
from harvester.figshare.pager import Pager
from harvester.figshare.protocol import ArticleListing
from harvester.figshare.records import Account
from harvester.figshare.resolver import IdentifierResolver
from harvester.figshare.rest import RestApi
from harvester.figshare.v2 import V2
from harvester.models import Article, ItemId, ItemRef, Page, Record
from harvester.system.concurrency import apart

LONGEST_ETAG = 200
PROBED_ITEM = 1
"""Any id: the statistics of an unknown item are an empty answer."""


class FigshareApi:
    """
    Implements `protocol.Figshare` over HTTP.

    `impersonate`: the account that an administrator's token acts for, 0 for its own.
    """

    def __init__(
        self, client: Client, *, api: URL, stats: URL, impersonate: int = 0, version: ApiVersion = V2
    ) -> None:
        self.endpoints = version.endpoints
        self._client = client
        self._version = version
        self._rest = RestApi(client, api, impersonate=impersonate)
        self._stats = RestApi(client, stats, service="stats")
        self._pager = Pager(self._rest, version)
        self.finder = IdentifierResolver(self._rest, api, version)
        self._one_item = {version.paging.page_size: 1}
        everything, total = version.articles, version.total
        client.expect("api", self._rest.url(everything, self._one_item), everything.decode)
        client.expect("stats", self._stats.url(total, counter="views", item_id=PROBED_ITEM), total.decode)

    async def unknown_values(self, listing: ArticleListing) -> list[str]:
        """Return a warning for each filter value that neither figshare nor this program knows."""
        return await self._pager.unknown_values(listing)

    async def page(self, listing: ArticleListing, cursor: str | None) -> Page:
        """
        Return one page of a listing; `cursor`: None for the first, else `Page.cursor` of the page before.

        Raises besides: see `Pager.page`.
        """
        return await self._pager.page(listing, cursor)

    async def confirm_token(self) -> None:
        """Check the token again if its last answer was a refusal; see `Client`."""
        await self._client.confirm_credentials("api")

    async def serves(self, known: Sequence[ItemRef]) -> bool:
        """
        Return whether the API answers requests for items that certainly exist: any item, and one of `known`.

        A gateway in its place may answer 404 to everything. `known`: harvested items; they are requested as
        before until one is found. If there are none, the list of items has to be enough.
        """
        with contextlib.suppress(PermanentError, TransientError):
            found = (await self._rest.request(self._version.articles, self._one_item)).value
            if not (found.entries and known):
                return bool(found.entries)
            for each in known:
                with contextlib.suppress(NotFound, Rejected):
                    endpoint = self._record_endpoint(each.id, private=each.private, version=each.version)
                    await self._rest.request(endpoint, item_id=each.id, version=each.version)
                    return True
        return False

    async def count(self, group_ids: Sequence[int]) -> int:
        """
        Return the number of public items in some groups together.

        Source: API reference, Stats, Count articles.
        """
        groups = {"groups": [{"id": group_id} for group_id in group_ids]}
        counted = (await self._stats.request(self._version.group_count, groups)).value
        if missing := {str(group_id) for group_id in group_ids} - counted.keys():
            raise InvalidResponse(f"no count for group {', '.join(sorted(missing))}")
        return sum(counted[str(group_id)] for group_id in group_ids)

    async def group_tree(self, group_id: int) -> list[int]:
        """
        Return a group and all groups below it.

        Raises:
            Rejected: the token may not see the institution's groups, or not this one.
        """
        groups = (await self._rest.request(self._version.groups)).value
        if group_id not in {group.id for group in groups}:
            raise Rejected(f"group {group_id}: not among the groups that the token may see")
        found, waiting = [], [group_id]
        while waiting:
            parent = waiting.pop()
            found.append(parent)
            waiting += [g.id for g in groups if g.parent_id == parent and g.id not in found]
        return sorted(found)

    async def record(
        self, item_id: ItemId, *, private: bool, version: int = 0, if_none_match: str = ""
    ) -> Record:
        """
        Return an item's full record, with the list of all its files.

        `version`: only the public endpoint has versions; 0 for the current one.
        `if_none_match`: an ETag, "" for none.

        Raises:
            NotModified: the record still has the ETag.

        Source: API reference, Articles, View article details: "up to 10 article files".
        """
        endpoint = self._record_endpoint(item_id, private=private, version=version)
        reply = await self._rest.request(
            endpoint, if_none_match=if_none_match, item_id=item_id, version=version
        )
        return await self._whole(reply, endpoint, item_id=item_id, version=version)

    async def account(self) -> dict[str, int]:
        """
        Return the ids of the token's ``account`` and ``institution``, or of the account it acts for.

        Source: API reference, Other, Private Account information.
        """
        try:
            account = await self._account()
        except NotFound:  # every token has an account: a single 404 proves nothing
            account = await self._account()
        institution = {"institution": account.institution_id} if account.institution_id else {}
        return {"account": account.id} | institution

    async def _account(self) -> Account:
        return (await self._rest.request(self._version.account)).value

    async def versions(self, item_id: ItemId) -> tuple[int, ...] | None:
        """Return the versions of a public item, oldest first; None if there is no such item."""
        try:
            versions = (await self._rest.request(self._version.versions, item_id=item_id)).value
        except NotFound:
            return None
        return tuple(sorted({each.version for each in versions}))

    def _record_endpoint(self, item_id: ItemId, *, private: bool, version: int) -> Endpoint[Record]:
        """Return the endpoint of a record; its decoder rejects the record of another item or version."""
        endpoint = self._version.private_record if private else self._version.record
        if version:
            endpoint = self._version.record_version
        return endpoint.decoding(partial(self._decode_record, endpoint, item_id, version))

    async def _whole(self, reply: Reply[Record], endpoint: Endpoint[Record], **values: Any) -> Record:
        """
        Return a record with its ETag and all of its files.

        If the file list is refused, or fails in all attempts, the record is still returned. If files may be
        missing then, the record has no ETag, so that its list is requested again.
        """
        record = replace(reply.value, served_at=reply.served_at, private=endpoint.authorised)
        if not is_whole(record):
            path = endpoint.path.format(**values)
            pages, error = await self._file_list(path, authorised=endpoint.authorised)
            record = await apart(pages.bytes, whole, record, pages.raw_list, error)
        return replace(record, etag="" if record.doubt else _kept(reply.headers.get("ETag", "")))

    async def _file_list(
        self, record_path: str, *, authorised: bool
    ) -> tuple[Pages, NotFound | Rejected | TransientError | None]:
        """Return the pages of a file list, and the error that ended it, None at its end."""
        pages, is_more = Pages(), True
        paging = self._version.paging
        endpoint = self._version.file_list.decoding(self._decode_file_list)
        while is_more:
            params = {paging.page: pages.number, paging.page_size: pages.size}
            try:
                reply = await self._rest.request(endpoint, params, authorised=authorised, record=record_path)
            except (NotFound, Rejected, TransientError) as error:
                if isinstance(error, BadRequest) and pages.reduce_page_size():
                    continue
                return pages, error
            is_more = pages.take(reply.value)
        return pages, None

    def _decode_record(self, endpoint: Endpoint[Article], item_id: int, version: int, raw: bytes) -> Record:
        article = endpoint.decode(raw)
        must_be_text(raw)
        if article.id != item_id:
            raise InvalidResponse(f"item {item_id}: answered with item {article.id}")
        if version and article.version not in {0, version}:
            raise InvalidResponse(
                f"item {item_id}, version {version}: answered with version {article.version}"
            )
        return Record(article, raw, api_version=self._version.name)

    def _decode_file_list(self, raw: bytes) -> list[msgspec.Raw]:
        raw_list = self._version.file_list.decode(raw)
        must_be_text(raw)
        return raw_list


def _kept(etag: str) -> str:
    """Return an ETag that can be stored and sent back, "" for any other."""
    return etag if etag.isascii() and etag.isprintable() and len(etag) <= LONGEST_ETAG else ""
