"""
Reads listings page by page, past every cap.

Where a feed gives a cursor (X-Cursor), that leads on. Where it gives none, pages are asked for by number
until one is refused: the documents name three caps, so none is presumed. From there on the listing is cut
into slices: the next one begins a second before the last date that was seen, as "since" may mean at that
moment or after it, and again at page 1. A feed that has neither cursor nor date hands over to the one that
is named for this, which begins from its start. An item that comes up again is no new one for the ledger.

By date of change every page is a slice of its own, where that leads on: an item that is changed meanwhile
moves to the end, and at the edge of two numbered pages another one would be lost for it. It is by number
where a service knows only days, to the end of a day, or ignores where to begin, to its cap.

A position says all of it in JSON, so that a listing goes on where it was left, by whoever left it.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import pairwise

import msgspec
from msgspec import structs

from harvester.client import Reply
from harvester.errors import GiveUp, Misshapen, Refused, UsageError, Verdict
from harvester.figshare.endpoints import Endpoints
from harvester.figshare.feeds import Feed, Listed
from harvester.figshare.records import Entry, EntryPage, decode_entries, decode_licences
from harvester.figshare.selection import TO_THE_SECOND, a_second_before, is_before, is_of_the_day, moment_of
from harvester.models import Brief, ItemRef, Page, Unresolved

PAGE_SIZE = 1000
"""The most that figshare gives at once."""


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Where the next page of a listing begins: a cursor, or a page number where there is none.

    ``first_id``: of the page before, to notice a service that answers everything with the same page.
    ``again``: the listing was begun a second time because its cursor had died. ``feeds``: how many were left
    behind at their caps. ``since``: where the slice begins; ``last``: the newest date in it so far;
    ``pages``: how many of it can be had, 0 while nobody knows. ``unordered``: dates did not ascend.
    ``licence``: the wanted one as figshare spells it. ``by_date``: the user's order was given up at the cap.
    ``by_pages``: how many were read by number, 0 while slices begin where they should, see `noticing`.
    """

    page: int = 1
    cursor: str = ""
    first_id: int = 0
    again: bool = False
    feeds: int = 0
    since: str = ""
    last: str = ""
    pages: int = 0
    unordered: bool = False
    licence: str = ""
    by_date: bool = False
    by_pages: int = 0

    @classmethod
    def read(cls, text: str | None) -> Position:
        return msgspec.json.decode(text, type=cls) if text else cls()

    def write(self) -> str:
        return msgspec.json.encode(self).decode()

    def but(self, **changes: object) -> Position:
        return structs.replace(self, **changes)

    def anew(self) -> Position:
        """Return the beginning of the feed, for a second and last try."""
        return Position(again=True, feeds=self.feeds, licence=self.licence, by_date=self.by_date)

    def after(self, found: EntryPage, cursor: str | None) -> Position | None:
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
        return self.but(page=self.page + 1, cursor=cursor or "", first_id=first_id)

    def having_seen(self, dates: Sequence[str]) -> Position:
        """Note the dates of this page, in their order."""
        told = [date[:TO_THE_SECOND] for date in dates]
        if not told or moment_of(newest := max(told)) is None:
            return self
        ascend = self.last <= told[0] and all(one <= other for one, other in pairwise(told))
        return self.but(last=max(self.last, newest), unordered=self.unordered or not ascend)

    def noticing(self, dates: Sequence[str]) -> Position:
        """
        Note what this page, of these dates, says of where the service lets a slice begin.

        Where most of a first page is a little older, days are all that it knows, and a new slice leads on
        from another day only. Where it is older still, "since" is ignored, and it goes on behind the pages
        that were read by number. Single dates that are odd prove nothing.
        """
        by_pages = self.by_pages and max(self.by_pages, self.page)
        first = sorted(dates) if self.page == 1 else []
        middle = moment_of(first[len(first) // 2][:TO_THE_SECOND]) if first else None
        if (begin := moment_of(self.since)) is None or middle is None or middle >= begin:
            return self.but(by_pages=by_pages)
        if middle >= begin - timedelta(days=1):
            return self.but(by_pages=max(by_pages, 1))
        last_read = max(by_pages, self.pages, 1)
        return self.but(page=last_read, since="", by_pages=last_read)

    @property
    def is_misled(self) -> bool:
        """Whether the service was seen to ignore where a slice begins."""
        return self.by_pages > 0 and not self.since

    def in_a_new_slice(self, pages: int) -> Position | None:
        """Go on in a slice that begins at the last date; None where that is no further than this one."""
        since = a_second_before(self.last)
        is_no_further = since <= self.since or (self.by_pages and is_of_the_day(self.since, since))
        if self.unordered or self.is_misled or is_no_further:
            return None
        return self.but(page=1, first_id=0, since=since, last="", pages=pages)


class Lister:
    """Reads the pages of listings."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._licences: dict[str, str] = {}

    async def page(self, listed: Listed, position: str | None) -> Page:
        """
        Return one page of a listing; `position` is None for the first, later what the page before gave.

        Raises:
            Refused: the listing cannot be had, or not as a whole.
            UsageError: figshare knows no such licence.
            Others: as `Client.persist`.
        """
        at = Position.read(position)
        if (wanted := listed.selection.licence) is not None and not at.licence:
            at = at.but(licence=await self._spelled(wanted))
        if 0 < at.pages < at.page and not at.cursor:
            at = _past_cap(listed, at)
        try:
            reply = await self._ask(listed, at)
        except Refused:
            if at.cursor and not at.again:  # it has died in a long pause
                return Page((), at.anew().write())
            if at.cursor or at.page == 1:
                raise
            further = _past_cap(listed, at)
            return Page((), further.write(), warning=_order_given_up(listed, at, further))
        return _read(listed, at, reply)

    async def check(self, listed: Listed) -> None:
        """
        Ask whether figshare knows the wanted licence.

        Raises:
            UsageError: it does not.
        """
        if (wanted := listed.selection.licence) is not None:
            await self._spelled(wanted)

    async def _ask(self, listed: Listed, at: Position) -> Reply[EntryPage]:
        feed = _feed(listed, at)
        fields = _fields(listed, at, feed)
        path = feed.path.format(**listed.criteria)
        if feed.is_search:
            headers = {"X-Cursor": at.cursor} if at.cursor else {}
            return await self._endpoints.post(
                path, decode_entries, fields, headers=headers, authorised=feed.is_private
            )
        right = f"list the items of {feed.what}" if feed.for_administrators else ""
        return await self._endpoints.get(
            path, decode_entries, fields, authorised=feed.is_private, right=right
        )

    async def _spelled(self, licence: str) -> str:
        """
        Return a licence's name as figshare spells it; its names are asked for once.

        Those of an institution are told to a token only, and asked for where the public ones do not help.
        """
        name = licence.strip().casefold()
        if not self._licences:
            self._licences = await self._named(authorised=False)
        if name not in self._licences:
            with contextlib.suppress(GiveUp):  # there is no token, or it has no institution
                self._licences |= await self._named(authorised=True)
        if name not in self._licences:
            known = ", ".join(self._licences.values())
            raise UsageError(f"licence: figshare knows no {licence!r}; known: {known}")
        return self._licences[name]

    async def _named(self, *, authorised: bool) -> dict[str, str]:
        path = "account/licenses" if authorised else "licenses"
        licences = (await self._endpoints.get(path, decode_licences, authorised=authorised)).value
        return {each.name.casefold(): each.name for each in licences if each.name}


def _feed(listed: Listed, at: Position) -> Feed:
    feed = listed.feed
    for _ in range(at.feeds):
        feed = feed.past_cap or feed
    return feed


def _ordering(listed: Listed, at: Position, feed: Feed) -> tuple[str, str] | None:
    """Return the field and the direction by which a feed is to come, None where it has its own order."""
    if not feed.orders:
        return None
    return (not at.by_date and listed.selection.ordering) or (feed.date, "asc")


def _cut_by(listed: Listed, at: Position, feed: Feed) -> str:
    """Return the date by which a feed comes ascending, "" where it does not."""
    return feed.date if feed.date and _ordering(listed, at, feed) == (feed.date, "asc") else ""


def _fields(listed: Listed, at: Position, feed: Feed) -> dict[str, object]:
    """Return the parameters of a page."""
    fields: dict[str, object] = _own_criteria(listed, feed)
    if at.licence and feed.is_search:
        term = f':licence: "{at.licence}"'
        query = fields.get("search_for")
        fields["search_for"] = f"({query}) AND {term}" if query else term
    filters = {name: text for name, text in listed.filters().items() if name in feed.takes}
    if at.since:
        name = feed.date.replace("_date", "_since")
        filters[name] = max(filters.get(name, ""), at.since)
    fields |= filters
    if ordering := _ordering(listed, at, feed):
        fields["order"], fields["order_direction"] = ordering
    fields["page_size"] = PAGE_SIZE
    if not at.cursor:
        fields["page"] = at.page
    return fields


def _own_criteria(listed: Listed, feed: Feed) -> dict[str, object]:
    """Return the criteria that do not stand in the path."""
    return {name: value for name, value in listed.criteria.items() if f"{{{name}}}" not in feed.path}


def _past_cap(listed: Listed, at: Position) -> Position:
    """
    Tell where a listing goes on when the page at `at` is behind its cap.

    Raises:
        Refused: it cannot go on.
    """
    feed, pages = _feed(listed, at), at.page - 1
    reason = ""
    if _cut_by(listed, at, feed):
        if (further := at.in_a_new_slice(pages)) is not None:
            return further
        reason = f": more of them share one moment, {at.last}, or it ignores where to begin"
        if at.is_misled:
            reason = f": it ignores {feed.date.replace('_date', '_since')}, which would lead to the rest"
        elif at.unordered or not at.last:
            reason = f": they do not come ordered by {feed.date}"
    elif feed.past_cap is not None:
        return Position(feeds=at.feeds + 1, licence=at.licence)
    elif feed.date:  # an order of the user's has no slices
        return Position(feeds=at.feeds, licence=at.licence, by_date=True)
    raise Refused(f"{feed.what} can be listed only up to {pages * PAGE_SIZE} items{reason}; incomplete")


def _order_given_up(listed: Listed, at: Position, further: Position) -> str:
    """Say so where a listing goes on by date, though another order was wanted."""
    if at.by_date or not further.by_date:
        return ""
    where = _where(listed, _feed(listed, at))
    return f"{where}: past {(at.page - 1) * PAGE_SIZE} items the order is figshare's by date"


def _read(listed: Listed, at: Position, reply: Reply[EntryPage]) -> Page:
    """Make a page of what came back."""
    found, feed = reply.value, _feed(listed, at)
    cut = _cut_by(listed, at, feed)
    dates = [date for entry in found.entries if (date := getattr(entry, cut))] if cut else []
    here = at.noticing(dates)
    following = here.after(found, reply.headers.get("X-Cursor") if feed.has_cursor else None)
    if cut:
        seen = here.having_seen(dates)
        if following is not None:
            following = following.but(last=seen.last, unordered=seen.unordered)
            if cut == "modified_date" and not following.cursor:
                following = following.in_a_new_slice(at.pages) or following
        if _is_past(listed, seen, cut, dates):
            following = None
    strangers, criterion = _strangers(listed, feed, found.entries)

    def mismatch(entry: Entry) -> str:
        return criterion if entry.id in strangers else listed.mismatch(entry)

    licence = "" if feed.is_search else at.licence  # no entry tells it: the record will
    refs, left_out = _refs(found, mismatch if strangers or listed.narrows else None, feed, licence)
    ignored = Counter(
        field
        for entry, field in left_out
        if field in {*feed.takes, criterion} and not listed.is_at_the_edge(entry, field)
    )
    where = f"{_where(listed, feed)}, page {at.page}"
    return Page(
        refs,
        following.write() if following else None,
        tuple(Unresolved(f"{where}, entry {place}", reason, Verdict.FOR_GOOD) for place, reason in found.odd),
        left_out=len(left_out),
        warning=_warning(where, ignored, found.size),
        told_at=reply.told_at,
    )


def _is_past(listed: Listed, seen: Position, cut: str, dates: Sequence[str]) -> bool:
    """Tell whether nothing that is wanted can come any more."""
    day = listed.selection.published_before
    if day is None or cut != "published_date" or seen.unordered or not dates:
        return False
    return not any(is_before(date, day) for date in dates)


def _where(listed: Listed, feed: Feed) -> str:
    """Name a listing in what is told of its entries."""
    if own := _own_criteria(listed, feed):
        return str(own)
    return feed.path.format(**listed.criteria).removesuffix("/articles")


def _refs(
    found: EntryPage, mismatch: Callable[[Entry], str] | None, feed: Feed, licence: str
) -> tuple[tuple[ItemRef, ...], list[tuple[Entry, str]]]:
    """Return the items of a page, and the entries left out, each with the field that `mismatch` names."""
    refs: list[ItemRef] = []
    left_out: list[tuple[Entry, str]] = []
    for entry in found.entries:
        if mismatch is not None and (field := mismatch(entry)):
            left_out.append((entry, field))
            continue
        brief = Brief(
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
                licence=licence,
                brief=brief,
            )
        )
    refs += [ItemRef(item_id, private=feed.is_private, licence=licence) for item_id in found.bare]
    return tuple(refs), left_out


def _strangers(listed: Listed, feed: Feed, entries: Sequence[Entry]) -> tuple[set[int], str]:
    """
    Find the entries that are not of the group or project asked for, and the name of that criterion.

    Where no entry tells a group, nobody knows; a project is 0 for an item that is in none.

    Raises:
        Refused: most of them are not, so that this would become a listing of all of figshare.
    """
    own = _own_criteria(listed, feed)
    strangers, criterion = set[int](), ""
    if (group := own.get("group")) is not None and any(entry.group_id for entry in entries):
        strangers, criterion = {entry.id for entry in entries if entry.group_id != group}, "group"
    elif (project := own.get("project_id")) is not None:
        strangers = {entry.id for entry in entries if entry.project_id not in {None, project}}
        criterion = "project"
    if 2 * len(strangers) > len(entries):
        raise Refused(f"{own}: figshare ignores the {criterion} and would list everything")
    return strangers, criterion


def _warning(where: str, ignored: Counter[str], size: int) -> str:
    """Say what figshare should have left out and did not, "" where it did."""
    if not ignored:
        return ""
    return f"{where}: figshare ignored {', '.join(ignored)}: {ignored.total()} of {size} entries are left out"
