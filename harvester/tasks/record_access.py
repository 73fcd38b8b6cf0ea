"""Access control of records: requests a record from the public endpoint or from the account's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from harvester.config import Config
from harvester.errors import (
    DoubtfulResponse,
    Forbidden,
    NotFound,
    NotModified,
    PermanentError,
    Rejected,
    TransientError,
)
from harvester.figshare.protocol import Figshare
from harvester.figshare.records import METADATA_ONLY
from harvester.models import PendingItem, Record


@dataclass(frozen=True)
class Access:
    """
    The rights of a run.

    ``has_token``: requests to the account's endpoints are possible.
    ``owners``: whose private items its sources list: "account", "institution".
    """

    has_token: bool = False
    owners: frozenset[str] = frozenset()

    @property
    def is_administrators(self) -> bool:
        """
        Whether private items are listed only because the token is an
        administrator's, who may not read all.
        """
        return self.owners == {"institution"}


def access_of(config: Config) -> Access:
    """Return the rights of a run with this config."""
    owners = frozenset(source.owner for source in config.sources if source.private)
    return Access(config.token is not None, owners)


@dataclass(frozen=True)
class Records:
    """
    Requests records, each with the rights that its item needs.

    An item from a listing of private items is requested from the account's endpoint. A refusal there
    contradicts the listing, so it is doubtful; the public record, which has fewer fields, does not replace
    the private one. An administrator may list items that only their owners may read: there the public record
    is used until a private one was received. An item that the user named is requested with the token only if
    it is not public.
    """

    figshare: Figshare
    access: Access

    async def fetch(self, item: PendingItem) -> Record | None:
        """Return the record of an item, None if it has not changed since it was stored."""
        try:
            return await self._fetch(item)
        except NotModified:
            return None
        except NotFound as error:
            if not item.known:
                await self._raise_with_namesakes(item, error)
            raise

    async def _raise_with_namesakes(self, item: PendingItem, error: NotFound) -> None:
        """Raise an error with the items that have the DOI, if the number in the DOI is no item's id."""
        others: tuple[int, ...] = ()
        with suppress(PermanentError, TransientError):
            others = await self.figshare.finder.with_doi_of(item.item_id, item.version)
        if others:
            ids = ", ".join(map(str, others))
            better = NotFound(f"{error}; but its DOI is that of item {ids}, which can be named by its id")
            better.attempts = error.attempts
            raise better from error

    async def _fetch(self, item: PendingItem) -> Record:
        if item.private:
            return await self._private(item)
        if item.named and self.access.has_token:
            return await self._named(item)
        return await self._public(item)

    async def _public(self, item: PendingItem) -> Record:
        return await self.figshare.record(
            item.item_id, private=False, version=item.version, if_none_match=item.etag
        )

    async def _private(self, item: PendingItem) -> Record:
        if not self.access.has_token:
            raise Rejected(f"item {item.item_id}: a private one, and its record needs the token")
        try:
            return await self.figshare.record(item.item_id, private=True, if_none_match=item.etag)
        except (NotFound, Rejected) as error:
            refusal: NotFound | Rejected = error
        if self._may_stand_in(item, refusal):
            await self.figshare.confirm_token()  # an expired token is refused everything
            with suppress(NotFound, Rejected):
                return await self.figshare.record(item.item_id, private=False)
        raise self._contradicted(item, refusal)

    def _contradicted(self, item: PendingItem, error: NotFound | Rejected) -> PermanentError:
        """Return the error of a refusal: DoubtfulResponse if the item is listed all the same."""
        if not (item.listed and self.access.owners):
            return error
        doubt = DoubtfulResponse(f"{error}, though it is listed among the private items")
        doubt.attempts = error.attempts
        return doubt

    def _may_stand_in(self, item: PendingItem, error: NotFound | Rejected) -> bool:
        is_decision = isinstance(error, NotFound | Forbidden)
        return self.access.is_administrators and is_decision and (item.stands_in or not item.known)

    async def _named(self, item: PendingItem) -> Record:
        try:
            public = await self._public(item)
        except (NotFound, Rejected):
            # A formerly public item is withdrawn, even if its owner can still read it.
            own = None if item.known else await self._own(item)
            if own is None:
                raise
            return own
        if public.article.withheld in {"", METADATA_ONLY}:
            return public
        own = await self._own(item)
        return own if own is not None and own.article.files else public

    async def _own(self, item: PendingItem) -> Record | None:
        """
        Return the account's record of an item, None if the token cannot read it, or
        it is another version.
        """
        try:
            own = await self.figshare.record(item.item_id, private=True)
        except (NotFound, Rejected):
            return None
        # A draft that was never published becomes the first version.
        return own if item.version in {0, own.article.version or 1} else None

    def needs_two_requests(self, item: PendingItem, record: Record) -> bool:
        """Return whether this record takes two requests, to the public and to the account's endpoint."""
        if item.private:
            return not record.private
        is_open = record.article.withheld in {"", METADATA_ONLY} and not record.private
        return item.named and self.access.has_token and not is_open


def remarks(item: PendingItem, record: Record) -> tuple[str, ...]:
    """Return notes for the user on the origin of a record."""
    found = []
    if item.private and not record.private:
        found.append(f"item {item.item_id}: its private record is refused; the public one stands in for now")
    if record.article.draft_of:
        number = record.article.draft_of
        version = f"version {number}" if number > 0 else "a published version"
        found.append(f"item {item.item_id}: the account's record is an unpublished edit of {version}")
    return tuple(found)
