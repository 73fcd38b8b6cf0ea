"""
Reads listings page by page, past every cap; `positions.py` reckons where the next page begins.

Where a service gives a cursor (X-Cursor), that leads on. Where it gives none, pages are asked for by number
until one is refused: the documents name three caps, so none is presumed. From there on the listing is cut
into slices: the next one begins a second before the last date that was seen, as "since" may mean at that
moment or after it, and again at page 1. A feed that has neither cursor nor date hands over to the one that
is named for this, which begins from its start. An item that comes up again is no new one for the ledger.

By date of change every page is a slice of its own, where that leads on: an item that is changed meanwhile
moves to the end, and at the edge of two numbered pages another one would be lost for it. It is by number
where a service knows only days, to the end of a day, or ignores where to begin, to its cap. One page more by
number tells whether there is anything behind a first page that was not full.

Some services sort what has no date last, and leave it out where a slice begins. So where a listing was cut by
date, one last page is read in descending order, for entries without a date.

What an entry does not tell is no reason to leave it out: the item is wanted on the condition that its record
does not say otherwise, see `conditions.py`.

A position says all of it in JSON, so that a listing goes on where it was left, by whoever left it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from harvester.client import Reply
from harvester.errors import BadRequest, FailureKind, NotFound, Rejected, UnprovenNotFound
from harvester.figshare.client_side_filters import Condition
from harvester.figshare.cursor import PAGE_SIZE, PageCursor
from harvester.figshare.entries import Entry, EntryPage, decode_entries
from harvester.figshare.filters import is_before
from harvester.figshare.listings import ArticleListing, ListingEndpoint
from harvester.figshare.page_request import cut_by, endpoint_of, fields_of, sent_filters
from harvester.figshare.rest import RestApi
from harvester.figshare.vocabulary import Vocabulary
from harvester.models import ItemRef, ListingEntry, Page, Unresolved

__all__ = ["PAGE_SIZE", "PageCursor", "Pager"]


class Pager:
    """Reads the pages of listings."""

    def __init__(self, endpoints: RestApi) -> None:
        self._endpoints = endpoints
        self._vocabulary = Vocabulary(endpoints)

    async def page(self, listed: ArticleListing, position: str | None) -> Page:
        """
        Return one page of a listing; `position` is None for the first, later what the page before gave.

        Raises:
            Rejected: the listing cannot be had, or not as a whole.
            Others: as `Client.retry`.
        """
        at = await self._named(listed, PageCursor.read(position))
        if 0 < at.pages < at.page and not at.cursor:
            at = _past_cap(listed, at)
        try:
            reply = await self._ask(listed, at)
        except (NotFound, Rejected) as error:
            if at.confirming:
                return Page((), _unconfirmed(at))
            if isinstance(error, NotFound):
                raise _founded(error, endpoint_of(listed, at)) from error
            if at.cursor and not at.again:  # it has died in a long pause
                return Page((), at.anew(again=True).write())
            if isinstance(error, BadRequest) and (smaller := at.asking_for_less()) is not None:
                return await self.page(listed, smaller.write())
            if at.cursor or at.page == 1:
                raise
            further = _past_cap(listed, at)
            return Page((), further.write(), warning=_order_given_up(listed, at, further))
        return _read(listed, at, reply)

    async def doubts(self, listed: ArticleListing) -> list[str]:
        """Say which of the names that a listing is narrowed to are known neither here nor by figshare."""
        return await self._vocabulary.doubts(listed.selection)

    async def _named(self, listed: ArticleListing, at: PageCursor) -> PageCursor:
        """Look up what is wanted by name, where that has not been done."""
        selection = listed.selection
        if (wanted := selection.licence) is not None and not at.licence:
            known = await self._vocabulary.licence(wanted)
            at = at.but(licence=known or wanted.strip())
        if selection.type_name and not at.type_number:
            at = at.but(type_number=await self._vocabulary.type_number(selection.type_name))
        return at

    async def _ask(self, listed: ArticleListing, at: PageCursor) -> Reply[EntryPage]:
        feed = endpoint_of(listed, at)
        fields = fields_of(listed, at, feed)
        path = feed.path.format(**listed.criteria)
        headers = {"X-Cursor": at.cursor} if at.cursor else {}
        if feed.is_search:
            return await self._endpoints.post(
                path, decode_entries, fields, headers=headers, authorised=feed.is_private
            )
        right = f"list the items of {feed.what}" if feed.for_administrators else ""
        return await self._endpoints.get(
            path, decode_entries, fields, headers=headers, authorised=feed.is_private, right=right
        )


def _unconfirmed(at: PageCursor) -> str | None:
    """
    Tell what follows where the cap forbids to confirm the end of cursors; None: nothing.

    A full page that gives no cursor is believed. An empty answer may be that to a dead cursor: the listing
    is begun anew, once.
    """
    return at.anew(again=True).write() if at.was_empty and not at.again else None


def _founded(error: NotFound, feed: ListingEndpoint) -> NotFound | UnprovenNotFound:
    """
    Return what it means that a listing is not found.

    A collection may be gone. A search, or the list of all there is, is there as long as the api is.
    """
    if "{" in feed.path:
        return error
    doubt = UnprovenNotFound(f"{error}: it always exists, so this answer is not the api's")
    doubt.attempts = error.attempts
    return doubt


def _past_cap(listed: ArticleListing, at: PageCursor) -> PageCursor:
    """
    Tell where a listing goes on when the page at `at` is behind its cap.

    Raises:
        Rejected: it cannot go on.
    """
    feed, pages = endpoint_of(listed, at), at.page - 1
    reason = ""
    if cut_by(listed, at, feed):
        if (further := at.in_a_new_slice(pages)) is not None:
            return further
        reason = f": more of them share one moment, {at.last}, or it ignores where to begin"
        if at.is_misled:
            reason = f": it ignores {feed.date.replace('_date', '_since')}, which would lead to the rest"
        elif at.unordered or not at.last:
            reason = f": they do not come ordered by {feed.date}"
    elif feed.past_cap is not None:
        return at.anew(feeds=at.feeds + 1, by_date=False)
    elif feed.date:  # an order of the user's has no slices
        return at.anew(by_date=True)
    raise Rejected(f"{feed.what} can be listed only up to {pages * at.page_size} items{reason}; incomplete")


def _order_given_up(listed: ArticleListing, at: PageCursor, further: PageCursor) -> str:
    """Say so where a listing goes on by date, though another order was wanted."""
    if at.by_date or not further.by_date:
        return ""
    where = _where(listed, endpoint_of(listed, at))
    return f"{where}: past {(at.page - 1) * at.page_size} items the order is figshare's by date"


def _read(listed: ArticleListing, at: PageCursor, reply: Reply[EntryPage]) -> Page:
    """Make a page of what came back."""
    found, feed = reply.value, endpoint_of(listed, at)
    where = f"{_where(listed, feed)}, page {at.page}"
    if at.tail:
        found = _undated(feed, at, found)
    following = _following(listed, at, feed, reply)
    if at.is_repeated_by(found):
        return Page((), following.write() if following else None)
    strangers, criterion = _strangers(listed, feed, found.entries)

    def mismatch(entry: Entry) -> str:
        return criterion if entry.id in strangers else listed.mismatch(entry, at.type_number)

    refs, excluded = _refs(
        found, mismatch if strangers or listed.narrows else None, feed, _conditions(listed, at, feed)
    )
    sent = sent_filters(listed, at, feed)
    ignored = Counter(
        field
        for entry, field in excluded
        if field in {*sent, criterion} and not listed.is_at_the_edge(entry, field)
    )
    return Page(
        refs,
        following.write() if following else None,
        tuple(
            Unresolved(f"{where}, entry {place}", reason, FailureKind.FOR_GOOD) for place, reason in found.odd
        ),
        excluded=len(excluded),
        warning=_warning(where, ignored, found.size),
        told_at=reply.told_at,
    )


def _following(
    listed: ArticleListing, at: PageCursor, feed: ListingEndpoint, reply: Reply[EntryPage]
) -> PageCursor | None:
    """Tell where the page behind one begins, None when it is the last."""
    found = reply.value
    if at.tail:
        return None if found.size or at.was_empty else at.but(was_empty=True)
    cut = cut_by(listed, at, feed)
    dates = [date for entry in found.entries if (date := getattr(entry, cut))] if cut else []
    here = at.noticing(dates)
    following = here.after(found, reply.headers.get("X-Cursor"))
    if not cut or (following is not None and not found.size):
        return following
    seen = here.having_seen(dates)
    if following is not None:
        following = following.but(last=seen.last, unordered=seen.unordered)
    if cut == "modified_date":
        following = _by_change(at, found, following)
    if following is not None and not _is_past(listed, seen, cut, dates):
        return following
    is_cut = bool(at.since) or following is not None
    return at.anew(tail=True, largest=max(at.largest, found.size)) if is_cut else None


def _undated(feed: ListingEndpoint, at: PageCursor, found: EntryPage) -> EntryPage:
    """
    Return what of a last page, the newest first, tells no date: the rest was listed or is not wanted.

    Raises:
        Rejected: all of a full page, so that there may be more of them.
    """
    entries = tuple(entry for entry in found.entries if not getattr(entry, feed.date))
    if len(entries) == found.size >= max(at.largest, 1):
        told = f"{len(entries)} items or more tell no {feed.date}, by which it is cut"
        raise Rejected(f"{feed.what} cannot be listed completely: {told}; incomplete")
    return EntryPage(entries, found.bare)


def _by_change(at: PageCursor, found: EntryPage, following: PageCursor | None) -> PageCursor | None:
    """Go on in a slice, where pages come by date of change; see the module's docstring."""
    if at.probing and found.size:
        return at.in_a_new_slice(at.pages) or following
    if following is None or following.cursor:
        return following
    if not at.largest and found.size < at.most:
        return following.but(probing=True)
    return following.in_a_new_slice(at.pages) or following


def _conditions(
    listed: ArticleListing, at: PageCursor, feed: ListingEndpoint
) -> Callable[[Entry | None], str]:
    """Return what tells the condition of an entry: all that is wanted and that it does not say itself."""
    whole = listed.condition(feed, at.licence, at.type_number)
    texts: dict[frozenset[str], str] = {}

    def condition(entry: Entry | None) -> str:
        if whole == Condition():
            return ""
        unsaid = _unsaid(listed, at, entry) if entry is not None else frozenset(Condition.__struct_fields__)
        if unsaid not in texts:
            texts[unsaid] = whole.only(unsaid).write()
        return texts[unsaid]

    return condition


def _unsaid(listed: ArticleListing, at: PageCursor, entry: Entry) -> frozenset[str]:
    """Name the fields of a condition that an entry does not tell; 0 is no group, and none has a licence."""
    unsaid = {"licence", *listed.selection.unsaid(entry, at.type_number)}
    if not entry.group_id:
        unsaid.add("group")
    if entry.project_id is None:
        unsaid.add("project")
    return frozenset(unsaid)


def _is_past(listed: ArticleListing, seen: PageCursor, cut: str, dates: Sequence[str]) -> bool:
    """Tell whether nothing that is wanted can come any more."""
    day = listed.selection.published_before
    if day is None or cut != "published_date" or seen.unordered or not dates:
        return False
    return not any(is_before(date, day.isoformat()) for date in dates)


def _where(listed: ArticleListing, feed: ListingEndpoint) -> str:
    """Name a listing in what is told of its entries."""
    if own := listed.own_criteria(feed):
        return str(own)
    return feed.path.format(**listed.criteria).removesuffix("/articles")


def _refs(
    found: EntryPage,
    mismatch: Callable[[Entry], str] | None,
    feed: ListingEndpoint,
    condition: Callable[[Entry | None], str],
) -> tuple[tuple[ItemRef, ...], list[tuple[Entry, str]]]:
    """Return the items of a page, and the entries left out, each with the field that `mismatch` names."""
    refs: list[ItemRef] = []
    excluded: list[tuple[Entry, str]] = []
    for entry in found.entries:
        if mismatch is not None and (field := mismatch(entry)):
            excluded.append((entry, field))
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
                entry.id,
                private=feed.is_private,
                modified_date=entry.modified_date,
                condition=condition(entry),
                brief=brief,
            )
        )
    refs += [ItemRef(item_id, private=feed.is_private, condition=condition(None)) for item_id in found.bare]
    return tuple(refs), excluded


def _strangers(
    listed: ArticleListing, feed: ListingEndpoint, entries: Sequence[Entry]
) -> tuple[set[int], str]:
    """
    Find the entries that say they are not of the group or project asked for, and the name of that criterion.

    A group of 0 says nothing; a project is 0 for an item that is in none.

    Raises:
        Rejected: most of those that say it are not, so that this would become a listing of all of figshare.
    """
    own = listed.own_criteria(feed)
    told = dict[int, int]()
    criterion, wanted = "", None
    if (wanted := own.get("group")) is not None:
        told, criterion = {entry.id: entry.group_id for entry in entries if entry.group_id}, "group"
    elif (wanted := own.get("project_id")) is not None:
        told = {entry.id: entry.project_id for entry in entries if entry.project_id is not None}
        criterion = "project"
    strangers = {item_id for item_id, number in told.items() if number != wanted}
    if 2 * len(strangers) > len(told) and 10 * len(strangers) >= len(entries):
        raise Rejected(f"{own}: figshare ignores the {criterion} and would list everything")
    return strangers, criterion


def _warning(where: str, ignored: Counter[str], size: int) -> str:
    """Say what figshare should have left out and did not, "" where it did."""
    if not ignored:
        return ""
    return f"{where}: figshare ignored {', '.join(ignored)}: {ignored.total()} of {size} entries are excluded"
