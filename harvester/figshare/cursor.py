"""
Page cursor: where the next page of a listing begins. It is computed here, without a request.

A page that is not full proves nothing by itself, as a service may send fewer entries a page than requested.
The end is a page that is shorter than an earlier one, or two empty answers in a row: a single one may be a
temporary error. After a first page of k entries numbered pages of k are requested. Then the next page begins
at k times the number, whether the service counts with its own size or with the requested one. If a service
refuses the size of the first page, a smaller one is requested.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import msgspec
from msgspec import structs

from harvester.errors import InvalidResponse, Rejected
from harvester.figshare.entries import EntryPage
from harvester.figshare.filters import TO_THE_SECOND, a_second_before, is_same_day_or_later, moment_of

PAGE_SIZE = 1000
"""The largest page that figshare sends."""
SMALLER_PAGE_SIZE = 100
"""The largest page by its older documents, for a service that refuses more."""
ROUND = 10
"""The caps on page numbers are multiples of this: 10, 20, 50, 100."""


class PageCursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Where the next page of a listing begins: a cursor, or a page number if there is none.

    ``page``: its number, from 1.
    ``cursor``: as the service gave it, "" for none.
    ``first_id``: of the page before, to detect a service that always sends the same page.
    ``again``: the listing was restarted because its cursor had expired.
    ``handovers``: how many endpoints were left at their caps.
    ``since``: the date at which the slice begins.
    ``last``: the newest date in the slice so far.
    ``pages``: how many pages of the slice the service sends, 0 while that is unknown.
    ``unordered``: dates were not ascending.
    ``licence``: the wanted one as figshare spells it, or as given if figshare does not know it.
    ``type_number``: of a wanted type that only figshare knows.
    ``by_date``: the user's order was abandoned at the cap.
    ``by_pages``: how many numbered pages were read, 0 while the service honours "since"; see `noticing`.
    ``largest``: entries of the largest page so far.
    ``seen``: entries of this slice so far.
    ``confirming``: cursors or slices have ended, and a numbered page has to confirm it.
    ``is_deaf``: the service gives cursors but ignores them.
    ``was_empty``: the answer before was empty; after the same request, this is the second time.
    ``start_id``: of the first page.
    ``probing``: this page only shows whether anything follows a first page that was not full.
    ``tail``: this last page is in descending order, for entries without a date that slices exclude.
    ``most``: entries to request at most.
    """

    page: int = 1
    cursor: str = ""
    first_id: int = 0
    again: bool = False
    handovers: int = msgspec.field(default=0, name="feeds")  # its name in existing ledgers
    since: str = ""
    last: str = ""
    pages: int = 0
    unordered: bool = False
    licence: str = ""
    type_number: int = 0
    by_date: bool = False
    by_pages: int = 0
    largest: int = 0
    seen: int = 0
    confirming: bool = False
    is_deaf: bool = False
    was_empty: bool = False
    start_id: int = 0
    probing: bool = False
    tail: bool = False
    most: int = PAGE_SIZE

    @classmethod
    def read(cls, text: str | None) -> PageCursor:
        at = msgspec.json.decode(text, type=cls) if text else cls()
        if at.page > 1 and not at.largest:  # of a release that continued after full pages only
            return at.replace(largest=PAGE_SIZE, seen=(at.page - 1) * PAGE_SIZE)
        return at

    def write(self) -> str:
        return msgspec.json.encode(self).decode()

    def replace(self, **changes: object) -> PageCursor:
        return structs.replace(self, **changes)

    def restarted(self, **changes: object) -> PageCursor:
        """Return the beginning of the endpoint, with the looked-up licence and type."""
        kept = {
            name: getattr(self, name) for name in ("handovers", "licence", "type_number", "by_date", "most")
        }
        return PageCursor(**{**kept, **changes})

    @property
    def page_size(self) -> int:
        """How many entries to request; after the first numbered page, as many as the service sends."""
        return self.largest if self.page > 1 and not self.cursor and self.largest else self.most

    def with_smaller_pages(self) -> PageCursor | None:
        """Return the same page with fewer entries, None if the size cannot have been refused."""
        is_first = self.page == 1 and not self.cursor
        return self.replace(most=SMALLER_PAGE_SIZE) if is_first and self.most > SMALLER_PAGE_SIZE else None

    # -- the next page ----------------------------------------------------------------------------

    def after(self, found: EntryPage, cursor: str | None) -> PageCursor | None:
        """
        Return where the next page begins, None if this is the last.

        Raises:
            Rejected: the service repeats the page before.
            InvalidResponse: the cursor cannot be sent back.
        """
        first_id = found.entries[0].id if found.entries else 0
        if self.is_repeated_by(found):
            return self._repeated(first_id)
        here = self.replace(
            first_id=first_id,
            start_id=self.start_id or first_id,
            seen=self.seen + found.size,
            largest=max(self.largest, found.size),
            was_empty=not found.size,
            confirming=False,
            probing=False,
        )
        cursor = None if self.is_deaf else cursor
        if cursor and not (cursor.isascii() and cursor.isprintable()):
            raise InvalidResponse("the cursor of the next page is no printable text")
        if not found.size:
            return self._after_nothing(here, cursor)
        if cursor:
            return here.replace(page=self.page + 1, cursor=cursor)
        if found.size < self.largest:
            return None
        if self.cursor:
            return here._confirmed_by_number()
        return here.replace(page=self.page + 1)

    def is_repeated_by(self, found: EntryPage) -> bool:
        """Return whether a page repeats the one before or, if it had to confirm the end, the first one."""
        known = {self.first_id, self.start_id if self.confirming else 0}
        return bool(found.entries) and found.entries[0].id in known - {0}

    def _repeated(self, first_id: int) -> PageCursor | None:
        """Return None if a repeated page is the end; raise Rejected if the listing cannot continue."""
        if self.cursor and self.largest and first_id == self.first_id:
            return self.replace(cursor="", is_deaf=True, page=self.seen // self.largest + 1)
        if self.confirming or (self.page == 2 and self.largest < PAGE_SIZE and self.largest % ROUND):
            return None  # complete, from a service without paging
        raise Rejected("the listing repeats the same page")

    def _after_nothing(self, here: PageCursor, cursor: str | None) -> PageCursor | None:
        """
        Return what follows an empty page: its cursor, once; else the same page, a second time.

        After full pages by cursor a numbered page is the third; None: nothing follows.
        """
        if not self.was_empty:
            if cursor and cursor != self.cursor:
                return here.replace(page=self.page + 1, cursor=cursor)
            # One wrong answer would end the listing, and its items would seem to have vanished.
            return self.replace(was_empty=True)
        is_full = self.largest and self.seen == self.largest * (self.page - 1)
        return here._confirmed_by_number() if self.cursor and is_full else None

    def _confirmed_by_number(self) -> PageCursor:
        """Return a numbered page after the last cursor: if it is empty too, the listing has ended."""
        page = max(2, self.seen // self.largest + 1)
        return self.replace(page=page, cursor="", confirming=True)

    # -- slices -----------------------------------------------------------------------------------

    def with_dates(self, dates: Sequence[str]) -> PageCursor:
        """Return the cursor with the dates of this page."""
        seconds = [date[:TO_THE_SECOND] for date in dates]
        if not seconds or moment_of(newest := max(seconds)) is None:
            return self
        ascend = self.last <= seconds[0] and all(one <= other for one, other in pairwise(seconds))
        return self.replace(last=max(self.last, newest), unordered=self.unordered or not ascend)

    def noticing(self, dates: Sequence[str]) -> PageCursor:
        """
        Return the cursor with what the dates of this page show about how the service treats "since".

        If most dates of a first page are a little older, the service compares days only, and a new slice can
        begin at another day only. If they are much older, it ignores "since", and numbered pages continue.
        Single unexpected dates prove nothing.
        """
        by_pages = self.by_pages and max(self.by_pages, self.page)
        first = sorted(dates) if self.page == 1 else []
        middle = moment_of(first[len(first) // 2][:TO_THE_SECOND]) if first else None
        if (begin := moment_of(self.since)) is None or middle is None or middle >= begin:
            return self.replace(by_pages=by_pages)
        if middle >= begin - timedelta(days=1):
            return self.replace(by_pages=max(by_pages, 1))
        last_read = max(by_pages, self.pages, 1)
        return self.replace(page=last_read, since="", by_pages=last_read)

    @property
    def is_misled(self) -> bool:
        """Whether the service was seen to ignore "since"."""
        return self.by_pages > 0 and not self.since

    def next_slice(self, pages: int) -> PageCursor | None:
        """Return a slice that begins at the last date, None if that is no progress."""
        since = a_second_before(self.last)
        is_no_further = since <= self.since or (self.by_pages and is_same_day_or_later(self.since, since))
        if self.unordered or self.is_misled or is_no_further:
            return None
        return self.replace(
            page=1,
            first_id=0,
            since=since,
            last="",
            pages=pages,
            seen=0,
            start_id=0,
            probing=False,
            was_empty=False,
        )
