"""
Pager: reads a listing page by page, also past its caps; `cursor.py` computes where the next page begins.

If a service gives a cursor (X-Cursor), the pager follows it. If not, it requests pages by number until one is
refused: the documents give three different caps, so none is assumed. From there on the listing is cut into
slices by date. A slice begins again at page 1, a second before the last date seen, as "since" may include
that moment or not. An endpoint with neither cursor nor date hands over to its `past_cap` endpoint, which is
read from the start. The ledger does not count an item twice.

In the order of modification every page is a slice of its own, if that makes progress. An item that changes
meanwhile moves to the end, and with numbered pages another item would be lost at the edge of two pages. Pages
are numbered if a service knows only days (to the end of a day), or ignores "since" (to its cap). One more
numbered page shows whether anything follows a first page that was not full.

Some services sort entries without a date last, and exclude them from a slice. So if a listing was cut by
date, one last page is read in descending order, for entries without a date.

An entry that lacks a filtered field is kept: its record decides, see `client_side_filters.py`.
A cursor contains the whole state as JSON, so another process can continue the listing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from harvester.client import Reply
from harvester.errors import BadRequest, FailureKind, NotFound, Rejected, UnprovenNotFound
from harvester.figshare.api_version import ApiVersion
from harvester.figshare.cursor import PageCursor
from harvester.figshare.entries import Entry, EntryPage
from harvester.figshare.filters import is_before
from harvester.figshare.page_request import PageRequest
from harvester.figshare.protocol import ArticleListing
from harvester.figshare.rest import RestApi
from harvester.figshare.vocabulary import Vocabulary
from harvester.models import ItemId, ItemRef, ListingEntry, Page, Unresolved


class Pager:
    """Reads the pages of listings."""

    def __init__(self, rest: RestApi, version: ApiVersion) -> None:
        self._rest = rest
        self._paging = version.paging
        self._vocabulary = Vocabulary(rest, version)

    async def page(self, listing: ArticleListing, cursor: str | None) -> Page:
        """
        Return one page of a listing; `cursor`: None for the first, else `Page.cursor` of the page before.

        Raises:
            Rejected: the listing cannot be read, or not completely.
            Others: as `Client.retry`.
        """
        request = PageRequest(listing, await self._with_names(listing, PageCursor.read(cursor)))
        if 0 < request.cursor.pages < request.cursor.page and not request.cursor.cursor:
            request = PageRequest(listing, _past_cap(request))
        try:
            reply = await self._send(request)
        except (NotFound, Rejected) as error:
            return await self._after_refusal(request, error)
        return _read(request, reply.value, self._next_cursor(reply), reply.served_at)

    async def unknown_values(self, listing: ArticleListing) -> list[str]:
        """Return a warning for each filter value that neither figshare nor this program knows."""
        return await self._vocabulary.unknown_values(listing.filters)

    async def _with_names(self, listing: ArticleListing, cursor: PageCursor) -> PageCursor:
        """Look up the licence and the type that are given by name, unless that has been done."""
        filters = listing.filters
        if (wanted := filters.licence) is not None and not cursor.licence:
            known = await self._vocabulary.licence(wanted)
            cursor = cursor.replace(licence=known or wanted.strip())
        if filters.type_name and not cursor.type_number:
            cursor = cursor.replace(type_number=await self._vocabulary.type_number(filters.type_name))
        return cursor

    async def _send(self, request: PageRequest) -> Reply[EntryPage]:
        return await self._rest.request(
            request.endpoint,
            request.params(self._paging),
            headers=request.headers(self._paging),
            **request.listing.criteria,
        )

    def _next_cursor(self, reply: Reply[EntryPage]) -> str | None:
        return reply.value.cursor or (reply.headers.get(self._paging.cursor) if self._paging.cursor else None)

    async def _after_refusal(self, request: PageRequest, error: NotFound | Rejected) -> Page:
        """Return a page in place of a refused one, if the listing can continue."""
        cursor = request.cursor
        if cursor.confirming:
            return Page((), _unconfirmed(cursor))
        if isinstance(error, NotFound):
            raise _proven(error, request) from error
        if cursor.cursor and not cursor.again:  # it has expired in a long pause
            return Page((), cursor.restarted(again=True).write())
        if isinstance(error, BadRequest) and (smaller := cursor.with_smaller_pages()) is not None:
            return await self.page(request.listing, smaller.write())
        if cursor.cursor or cursor.page == 1:
            raise error
        further = _past_cap(request)
        return Page((), further.write(), warning=_order_given_up(request, further))


def _unconfirmed(cursor: PageCursor) -> str | None:
    """
    Return the next cursor if the cap prevents a check of the end of cursors, None for the end.

    A full page without a cursor is accepted as the end. An empty answer may mean an expired cursor: the
    listing is restarted, once.
    """
    return cursor.restarted(again=True).write() if cursor.was_empty and not cursor.again else None


def _proven(error: NotFound, request: PageRequest) -> NotFound | UnprovenNotFound:
    """
    Return the error for a listing that is not found.

    A collection may be deleted. A search, or the list of all items, exists as long as the API does.
    """
    if "{" in request.endpoint.path:
        return error
    doubt = UnprovenNotFound(f"{error}: it always exists, so this answer is not the api's")
    doubt.attempts = error.attempts
    return doubt


def _past_cap(request: PageRequest) -> PageCursor:
    """
    Return where a listing continues if the requested page is past its cap.

    Raises:
        Rejected: it cannot continue.
    """
    cursor, endpoint, pages = request.cursor, request.endpoint, request.cursor.page - 1
    reason = ""
    if request.cut_by:
        if (further := cursor.next_slice(pages)) is not None:
            return further
        reason = f": more of them share one moment, {cursor.last}, or it ignores where to begin"
        if cursor.is_misled:
            reason = f": it ignores {request.since}, which would lead to the rest"
        elif cursor.unordered or not cursor.last:
            reason = f": they do not come ordered by {endpoint.date}"
    elif endpoint.past_cap is not None:
        return cursor.restarted(handovers=cursor.handovers + 1, by_date=False)
    elif endpoint.date:  # the user's order has no slices
        return cursor.restarted(by_date=True)
    most = pages * cursor.page_size
    raise Rejected(f"{endpoint.what} can be listed only up to {most} items{reason}; incomplete")


def _order_given_up(request: PageRequest, further: PageCursor) -> str:
    """Return a warning if a listing continues by date though the user wants another order, "" if not."""
    if request.cursor.by_date or not further.by_date:
        return ""
    pages = request.cursor.page - 1
    return f"{request}: past {pages * request.cursor.page_size} items the order is figshare's by date"


def _read(request: PageRequest, found: EntryPage, next_cursor: str | None, served_at: str) -> Page:
    """Return the page for an answer."""
    following = _following(request, found, next_cursor)
    if request.cursor.tail:
        found = _undated(request, found)
    if request.cursor.is_repeated_by(found):
        return Page((), following.write() if following else None)
    where = f"{request}, page {request.cursor.page}"
    strangers, criterion = _strangers(request, found.entries)
    refs, excluded = _refs(request, found, _mismatch(request, strangers, criterion))
    ignored = Counter(
        name
        for entry, name in excluded
        if name in {*request.filters, criterion} and not request.listing.is_at_the_edge(entry, name)
    )
    return Page(
        refs,
        following.write() if following else None,
        tuple(
            Unresolved(f"{where}, entry {place}", reason, FailureKind.PERMANENT)
            for place, reason in found.odd
        ),
        excluded=len(excluded),
        warning=_warning(where, ignored, found.size),
        served_at=served_at,
    )


def _following(request: PageRequest, found: EntryPage, next_cursor: str | None) -> PageCursor | None:
    """Return where the next page begins, None after the last one."""
    cursor, cut = request.cursor, request.cut_by
    if cursor.tail:
        return None if found.size or cursor.was_empty else cursor.replace(was_empty=True)
    dates = [date for entry in found.entries if (date := getattr(entry, cut))] if cut else []
    here = cursor.noticing(dates)
    following = here.after(found, next_cursor)
    if not cut or (following is not None and not found.size):
        return following
    seen = here.with_dates(dates)
    if following is not None:
        following = following.replace(last=seen.last, unordered=seen.unordered)
    if cut == "modified_date":
        following = _by_change(cursor, found, following)
    if following is not None and not _is_past(request, seen, dates):
        return following
    is_cut = bool(cursor.since) or following is not None
    return cursor.restarted(tail=True, largest=max(cursor.largest, found.size)) if is_cut else None


def _undated(request: PageRequest, found: EntryPage) -> EntryPage:
    """
    Return the entries without a date on the last page; the others were listed before or are not wanted.

    Raises:
        Rejected: no entry of a full page has a date, so there may be more of them.
    """
    endpoint = request.endpoint
    entries = tuple(entry for entry in found.entries if not getattr(entry, endpoint.date))
    if len(entries) == found.size >= max(request.cursor.largest, 1):
        reason = f"{len(entries)} items or more have no {endpoint.date}, by which it is cut"
        raise Rejected(f"{endpoint.what} cannot be listed completely: {reason}; incomplete")
    return EntryPage(entries, found.bare)


def _by_change(cursor: PageCursor, found: EntryPage, following: PageCursor | None) -> PageCursor | None:
    """Return the next slice if pages come by date of modification; see the module's docstring."""
    if cursor.probing and found.size:
        return cursor.next_slice(cursor.pages) or following
    if following is None or following.cursor:
        return following
    if not cursor.largest and found.size < cursor.most:
        return following.replace(probing=True)
    return following.next_slice(cursor.pages) or following


def _is_past(request: PageRequest, seen: PageCursor, dates: Sequence[str]) -> bool:
    """Return whether no wanted item can follow any more."""
    day = request.listing.filters.published_before
    if day is None or request.cut_by != "published_date" or seen.unordered or not dates:
        return False
    return not any(is_before(date, day.isoformat()) for date in dates)


def _mismatch(request: PageRequest, strangers: set[int], criterion: str) -> Callable[[Entry], str] | None:
    """Return a function that gives the reason to exclude an entry, None if no entry is excluded."""
    if not (strangers or request.listing.narrows):
        return None

    def mismatch(entry: Entry) -> str:
        if entry.id in strangers:
            return criterion
        return request.listing.mismatch(entry, request.cursor.type_number)

    return mismatch


def _refs(
    request: PageRequest, found: EntryPage, mismatch: Callable[[Entry], str] | None
) -> tuple[tuple[ItemRef, ...], list[tuple[Entry, str]]]:
    """Return the items of a page, and the excluded entries by the filter that excluded them."""
    refs: list[ItemRef] = []
    excluded: list[tuple[Entry, str]] = []
    private = request.endpoint.authorised
    for entry in found.entries:
        if mismatch is not None and (name := mismatch(entry)):
            excluded.append((entry, name))
            continue
        brief = ListingEntry(
            entry.title or "",
            entry.doi or "",
            entry.defined_type_name or "",
            entry.created_date or "",
            entry.published_date or "",
        )
        refs.append(
            ItemRef(
                ItemId(entry.id),
                private=private,
                modified_date=entry.modified_date,
                condition=request.condition_of(entry),
                brief=brief,
            )
        )
    condition = request.condition_of(None)
    refs += [ItemRef(ItemId(item_id), private=private, condition=condition) for item_id in found.bare]
    return tuple(refs), excluded


def _strangers(request: PageRequest, entries: Sequence[Entry]) -> tuple[set[int], str]:
    """
    Return the entries of another group or project than requested, and the name of that criterion.

    A group of 0 means unknown; a project of 0 means that the item is in none.

    Raises:
        Rejected: most entries are of another one: this would become a listing of all of figshare.
    """
    numbers = dict[int, int]()
    criterion, wanted = "", None
    if (wanted := request.criteria.get("group")) is not None:
        numbers, criterion = {entry.id: entry.group_id for entry in entries if entry.group_id}, "group"
    elif (wanted := request.criteria.get("project")) is not None:
        numbers = {entry.id: entry.project_id for entry in entries if entry.project_id is not None}
        criterion = "project"
    strangers = {item_id for item_id, number in numbers.items() if number != wanted}
    if 2 * len(strangers) > len(numbers) and 10 * len(strangers) >= len(entries):
        raise Rejected(f"{request}: figshare ignores the {criterion} and would list everything")
    return strangers, criterion


def _warning(where: str, ignored: Counter[str], size: int) -> str:
    """Return a warning about the filters that figshare ignored, "" if it ignored none."""
    if not ignored:
        return ""
    return f"{where}: figshare ignored {', '.join(ignored)}: {ignored.total()} of {size} entries are excluded"
