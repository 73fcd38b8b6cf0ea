"""Access check: single requests that show what the services answer, and what the token may read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from yarl import URL

from harvester.client import Client, Reply
from harvester.config import Statistics
from harvester.errors import NotFound, Rejected
from harvester.figshare.api_version import ApiVersion, ListingEndpoint
from harvester.figshare.downloads import recorded_address
from harvester.figshare.entries import EntryPage
from harvester.figshare.records import Account
from harvester.figshare.rest import RestApi
from harvester.figshare.v2 import V2
from harvester.models import ItemId, RemoteFile

MOST_ITEMS = 5
"""Items whose records are read in search of a file."""


class AccessCheck:
    """
    Requests one thing at a time, through the client and its rate limits.

    `impersonate`: the account that an administrator's token acts for, 0 for its own.
    All calls raise what `Client.retry` raises.
    """

    def __init__(
        self,
        client: Client,
        *,
        api: URL,
        stats: URL,
        settings: Statistics,
        impersonate: int = 0,
        version: ApiVersion = V2,
    ) -> None:
        self._client = client
        self._api = api
        self._version = version
        self._own = RestApi(client, api)
        self._acting = RestApi(client, api, impersonate=impersonate)
        scope = stats / settings.institution if settings.institution else stats
        self._stats = RestApi(client, scope, service="stats")
        self._is_institution = bool(settings.institution)

    async def public_items(self) -> Reply[EntryPage]:
        """Request a few public items."""
        return await self._own.request(self._version.articles, self._page(MOST_ITEMS))

    async def account(self) -> Account:
        """Return the account of the token."""
        return (await self._own.request(self._version.account)).value

    async def impersonated(self) -> Account:
        """Return the account that the token acts for."""
        return (await self._acting.request(self._version.account)).value

    async def list_account(self) -> None:
        """Request an item of the account."""
        await self._list(self._version.endpoints.account)

    async def list_institution(self) -> None:
        """Request an item of the institution, which needs the rights of an administrator."""
        await self._list(self._version.endpoints.institution)

    async def _list(self, endpoint: ListingEndpoint) -> None:
        await self._acting.request(endpoint, self._page(1))

    def _page(self, size: int) -> dict[str, Any]:
        return {self._version.paging.page_size: size}

    async def statistics(self, item_id: ItemId) -> None:
        """Request statistics of an item; for an institution a timeline, as totals may be public."""
        if self._is_institution:
            await self._stats.request(
                self._version.timeline, authorised=True, granularity="month", counter="views", item_id=item_id
            )
        else:
            await self._stats.request(self._version.total, counter="views", item_id=item_id)

    async def any_file(self, item_ids: Iterable[ItemId]) -> RemoteFile | None:
        """Return a file that can be downloaded of the first items that have one, None if there is none."""
        for item_id in item_ids:
            try:
                article = (await self._own.request(self._version.record, item_id=item_id)).value
            except (NotFound, Rejected):  # withdrawn since it was listed
                continue
            if not article.withheld:
                for file in article.files:
                    if not file.is_link and file.size:
                        return file
        return None

    def routes(self, file: RemoteFile) -> dict[str, URL]:
        """Return the URLs of a public file, by who gives them: its record, and the API."""
        recorded = recorded_address(file.url, self._api)
        own = self._api / self._version.download.format(file_id=file.id)
        return {**({"record": recorded} if recorded else {}), "api": own}

    async def first_byte(self, url: URL) -> None:
        """Request the first byte of a file."""
        await self._client.touch(url, authorised=False)
