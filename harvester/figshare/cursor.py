"""
Page cursor: where the next page of a listing begins; paging as arithmetic, without a request.

A page that is not full proves nothing by itself, as a service may hold fewer entries a page than it is asked
for. The end is a page that is shorter than an earlier one, or two empty answers in a row: one alone may be a
bad moment's. Behind a first page of k entries pages of k are asked for by number: then k times the number is
where the next one begins, whether the service reckons with its own size or with the one that was asked for. A
service that refuses the size of a first page is asked for a smaller one.
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
"""The most that figshare gives at once."""
SMALLER_PAGE_SIZE = 100
"""What its older documents allow, for a service that refuses to be asked for more."""
ROUND = 10
"""Pages are capped at numbers that this divides: 10, 20, 50, 100."""


class PageCursor(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Where the next page of a listing begins: a cursor, or a page number if there is none.

    ``page``: its number, from 1.
    ``cursor``: as the service gave it, "" for none.
    ``first_id``: of the page before, to notice a service that answers everything with the same page.
    ``again``: the listing was begun a second time because its cursor had expired.
    ``handovers``: how many endpoints were left behind at their caps.
    ``since``: the date at which the slice begins.
    ``last``: the newest date in the slice so far.
    ``pages``: how many pages of the slice can be had, 0 while that is unknown.
    ``unordered``: dates did not ascend.
    ``licence``: the wanted one as figshare spells it, or as it was given if figshare does not know it.
    ``type_number``: of a wanted type that only figshare knows.
    ``by_date``: the user's order was given up at the cap.
    ``by_pages``: how many pages were read by number, 0 while slices begin where they should; see `noticing`.
    ``largest``: entries of the largest page so far.
    ``seen``: entries of this slice so far.
    ``confirming``: cursors or slices have ended, and a page by number has to agree.
    ``is_deaf``: the service gives cursors and does not follow them.
    ``was_empty``: the answer before was empty; if it was to the same request, this is the second time.
    ``start_id``: of the first page.
    ``probing``: this page only shows whether anything follows a first one that was not full.
    ``tail``: this last page comes in descending order, for entries without a date that a cut has excluded.
    ``most``: entries to ask for at once.
    """

    page: int = 1
    cursor: str = ""
    first_id: int = 0
    again: bool = False
    handovers: int = msgspec.field(default=0, name="feeds")  # the name in the ledgers there are
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
        if at.page > 1 and not at.largest:  # of a release that went on behind full pages only
            return at.replace(largest=PAGE_SIZE, seen=(at.page - 1) * PAGE_SIZE)
        return at

    def write(self) -> str:
        return msgspec.json.encode(self).decode()

    def replace(self, **changes: object) -> PageCursor:
        return structs.replace(self, **changes)

    def restarted(self, **changes: object) -> PageCursor:
        """Return the beginning of the endpoint, with what was learned of what is wanted."""
        kept = {
            name: getattr(self, name) for name in ("handovers", "licence", "type_number", "by_date", "most")
        }
        return PageCursor(**{**kept, **changes})

    @property
    def page_size(self) -> int:
        """How many entries to ask for: by number, behind the first page, as many as one can hold."""
        return self.largest if self.page > 1 and not self.cursor and self.largest else self.most

    def with_smaller_pages(self) -> PageCursor | None:
        """Return the same page with fewer entries, None where it is not the size that can be refused."""
        is_first = self.page == 1 and not self.cursor
        return self.replace(most=SMALLER_PAGE_SIZE) if is_first and self.most > SMALLER_PAGE_SIZE else None

    # -- the page behind this one -----------------------------------------------------------------

    def after(self, found: EntryPage, cursor: str | None) -> PageCursor | None:
        """
        Return where the page behind this one begins, None when it is the last.

        Raises:
            Rejected: this is the page before, again.
            InvalidResponse: the cursor is none that could be sent back.
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
        """Return whether a page is the one before or, where it had to confirm an end, the first one."""
        known = {self.first_id, self.start_id if self.confirming else 0}
        return bool(found.entries) and found.entries[0].id in known - {0}

    def _repeated(self, first_id: int) -> PageCursor | None:
        """Return what a page that was here before means: no way on, or nothing that it could lead to."""
        if self.cursor and self.largest and first_id == self.first_id:
            return self.replace(cursor="", is_deaf=True, page=self.seen // self.largest + 1)
        if self.confirming or (self.page == 2 and self.largest < PAGE_SIZE and self.largest % ROUND):
            return None  # all that there is, from a service that knows no pages
        raise Rejected("the listing repeats the same page")

    def _after_nothing(self, here: PageCursor, cursor: str | None) -> PageCursor | None:
        """
        Return what follows an empty page: its cursor, once; else the same page, once more.

        Behind full pages by cursor one by number is the third; None: nothing follows.
        """
        if not self.was_empty:
            if cursor and cursor != self.cursor:
                return here.replace(page=self.page + 1, cursor=cursor)
            # A bad moment's answer would end the listing, and its items would seem to have vanished.
            return self.replace(was_empty=True)
        is_full = self.largest and self.seen == self.largest * (self.page - 1)
        return here._confirmed_by_number() if self.cursor and is_full else None

    def _confirmed_by_number(self) -> PageCursor:
        """Go on by number where cursors lead no further: one page that agrees is the end."""
        page = max(2, self.seen // self.largest + 1)
        return self.replace(page=page, cursor="", confirming=True)

    # -- slices -----------------------------------------------------------------------------------

    def with_dates(self, dates: Sequence[str]) -> PageCursor:
        """Note the dates of this page, in their order."""
        seconds = [date[:TO_THE_SECOND] for date in dates]
        if not seconds or moment_of(newest := max(seconds)) is None:
            return self
        ascend = self.last <= seconds[0] and all(one <= other for one, other in pairwise(seconds))
        return self.replace(last=max(self.last, newest), unordered=self.unordered or not ascend)

    def noticing(self, dates: Sequence[str]) -> PageCursor:
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
            return self.replace(by_pages=by_pages)
        if middle >= begin - timedelta(days=1):
            return self.replace(by_pages=max(by_pages, 1))
        last_read = max(by_pages, self.pages, 1)
        return self.replace(page=last_read, since="", by_pages=last_read)

    @property
    def is_misled(self) -> bool:
        """Whether the service was seen to ignore where a slice begins."""
        return self.by_pages > 0 and not self.since

    def next_slice(self, pages: int) -> PageCursor | None:
        """Go on in a slice that begins at the last date; None where that is no further than this one."""
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
