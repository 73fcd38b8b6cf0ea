"""The frozen nouns that travel down the pipeline. No behaviour, no figshare spelling, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NewType

from msgspec import UNSET, Struct, UnsetType

ItemId = NewType("ItemId", int)  # figshare's, whatever the version
ItemKey = NewType("ItemKey", int)  # the ledger's, of an item or of one version: `key_of`, or negative


def key_of(item_id: ItemId) -> ItemKey:
    """Return the key of an item itself."""
    return ItemKey(item_id)


class FileStatus(StrEnum):
    """Where a file stands; the words of files.csv."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # filtered out by the user's own rules
    LINK = "link"  # hosted elsewhere: recorded, never fetched
    WITHHELD = "withheld"  # not for the public: embargo, confidential, …; nor for the token that asked


REFUSED_TO_OWNER = " (refused to the token)"
"""Behind why a file is withheld: its owner's record lists it, and it was asked for in vain."""
ANOTHER_VERSION = "another version"
"""Why a file is skipped whatever the rules for files say: another version of its item is wanted."""
NOT_ASKED = "not asked for"
"""Why a file is skipped that no rule excludes: the run that read its record was to fetch no files."""
BEYOND_ROOM = "beyond max_total"
"""Why a file is skipped that the rules for files take: there is no room for it among those wanted in all."""


class WorkState(StrEnum):
    """Where one task on one item stands."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"  # harvested before, and no longer public
    EXCLUDED = "excluded"  # its record says that it is none of those wanted


class Changed(StrEnum):
    """What became of an item since the last run, as changes.csv has it."""

    NEW = "new"
    CHANGED = "changed"
    WITHDRAWN = "withdrawn"
    RETURNED = "returned"  # public again after it was withdrawn
    MOVED = "moved"  # the same at figshare; files of it that are here have other paths


class ListingEntry(Struct, frozen=True):
    """What a listing tells of an item, for people; "" for what it does not tell."""

    title: str = ""
    doi: str = ""
    type: str = ""
    created_date: str = ""
    published_date: str = ""


class ItemRef(Struct, frozen=True):
    """
    An item as a listing names it.

    ``private``: the account listed it, so its record is asked of the account endpoint.
    ``modified_date``: ISO 8601 as listed, None where the listing does not say. ``version``: the one that is
    wanted, 0 for whatever is current. ``condition``: what its record must meet where the listing does not
    tell, as JSON, "" for nothing: see `figshare.conditions`. ``brief``: None where a listing tells nothing
    but ids. ``named``: the user named this very item.
    """

    id: ItemId
    private: bool = False
    modified_date: str | None = None
    version: int = 0
    condition: str = ""
    brief: ListingEntry | None = None
    named: bool = False


class Unresolved(Struct, frozen=True):
    """A name or entry that leads to no item; ``if_harvested``: the one that it means, if harvested before."""

    name: str
    reason: str
    failure_kind: str
    if_harvested: ItemRef | None = None


class Page(Struct, frozen=True):
    """
    One step of a listing.

    ``cursor``: where the next page begins, opaque to all but the listing; None after the last page.
    ``excluded``: entries that are not among those wanted. ``warning``: what the user should know of it,
    "" where there is nothing; the first of a listing is told. ``notes``: each of them is.
    ``served_at``: when the service gave it, ISO 8601 by its own clock, "" where it does not say.
    """

    refs: tuple[ItemRef, ...]
    cursor: str | None
    unresolved: tuple[Unresolved, ...] = ()
    excluded: int = 0
    warning: str = ""
    notes: tuple[str, ...] = ()
    served_at: str = ""


class RemoteFile(Struct, frozen=True):
    """
    A file as the item's record lists it.

    ``folder``: with "/" between its parts, "" at the top. ``size`` in bytes. ``md5``: in lower case, or None.
    """

    id: int
    name: str
    folder: str
    size: int
    md5: str | None
    url: str
    is_link: bool


class Article(Struct, frozen=True):
    """
    What the harvest itself reads of a record.

    ``size`` in bytes, of all its files. ``withheld``: why they cannot be downloaded, "" where they can.
    ``version``: its number, 0 for what was never published. ``odd_fields``: names of those that mean nothing
    plain, and are taken as not told. ``odd_files``: what is wrong with entries of its file list that cannot
    be read, one line each; ``files`` lacks them. ``sums_differ``: files whose uploader named another md5
    than figshare computed, with both, one line each. ``embargo_until``: ISO 8601, when an embargo on it ends
    by itself, "" for none. ``draft_of``: the number of the published version that this is an unpublished
    edit of, -1 for an unknown one, 0 for what is no draft or was never published.
    """

    id: int
    doi: str
    modified_date: str
    size: int
    files: tuple[RemoteFile, ...]
    files_complete: bool
    withheld: str
    version: int = 0
    odd_fields: tuple[str, ...] = ()
    odd_files: tuple[str, ...] = ()
    sums_differ: tuple[str, ...] = ()
    embargo_until: str = ""
    draft_of: int = 0


class Description(Struct, frozen=True):
    """What the tables show of a record; "" for what it does not tell."""

    title: str
    doi: str
    type: str
    created_date: str
    published_date: str
    modified_date: str
    licence: str
    group_id: int | None
    authors: tuple[str, ...]
    categories: tuple[str, ...]


class Record(Struct, frozen=True):
    """
    A full record: the bytes as received, and what was read of them.

    ``file_list``: the JSON array of all files as received, None where ``raw`` lists them all. ``etag``: what
    the service calls this state of it, "" where it says nothing. ``served_at``: as that of `Page`. ``doubt``:
    what of its files no list names, "" where all that the record promises is listed. ``list_problem``: why
    its file list was refused, where that leaves nothing in doubt. ``private``: it is the account's, asked for
    with the token.
    """

    article: Article
    raw: bytes
    file_list: bytes | None = None
    etag: str = ""
    served_at: str = ""
    doubt: str = ""
    list_problem: str = ""
    private: bool = False


class Totals(Struct, frozen=True):
    """Uses of an item since it was published; None where the service never saw it, UNSET where not asked."""

    views: int | UnsetType | None = UNSET
    downloads: int | UnsetType | None = UNSET
    shares: int | UnsetType | None = UNSET

    def requested(self) -> dict[str, int | None]:
        """Return the counters that were asked for."""
        told = {"views": self.views, "downloads": self.downloads, "shares": self.shares}
        return {name: number for name, number in told.items() if not isinstance(number, UnsetType)}


class UsageCount(Struct, frozen=True):
    """
    Uses of an item in a period.

    ``counter``: views, downloads, shares. ``granularity``: day, month, year, total. ``date``: ISO 8601, where
    the period begins. ``country``: "" for all of them together.
    """

    counter: str
    granularity: str
    date: str
    number: int
    country: str = ""


class Usage(Struct, frozen=True):
    """
    What a timeline or, ``by_country``, a breakdown tells of an item.

    ``counters`` and ``granularity``: what was asked for. It takes the place of all that was told of that
    before, also where ``counts`` is empty: the service knows nothing of the item.
    """

    counts: tuple[UsageCount, ...]
    counters: tuple[str, ...]
    granularity: str
    by_country: bool = False


class Change(Struct, frozen=True):
    """
    What became of an item since it was harvested before: see `states.Changed`.

    ``fields``: the record's own names of those that differ. ``files``: as ``added: a.csv``, ``changed: …``,
    ``removed: …``.
    """

    what: str
    fields: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


class Harvested(Struct, frozen=True):
    """
    An item as it was harvested last: its record and file list as received.

    ``files``: those that are here, by id, as their record described them, with their paths. ``refused``: why
    a file, by id, is withheld that the token was refused.
    """

    raw: bytes
    file_list: bytes | None
    files: Mapping[int, tuple[RemoteFile, str]]
    refused: Mapping[int, str] = {}


class UsageSpan(Struct, frozen=True):
    """The days for which timelines and breakdowns are requested: ISO 8601, both included."""

    granularity: str
    first: str
    last: str


class History(Struct, frozen=True):
    """
    What the ledger holds of an item before it is processed again, as far as its pending tasks need it.

    ``versions``: known earlier ones. ``usage``: sums of the run's `UsageSpan`, by task and counter.
    """

    harvested: Harvested | None = None
    versions: frozenset[int] = frozenset()
    totals: Mapping[str, int | None] = {}
    usage: Mapping[tuple[str, str], int] = {}


class PendingItem(Struct, frozen=True):
    """
    An item in the work queue.

    ``seq``: its place there. ``known``: its record has been harvested before.
    ``item_key``: its number in the ledger. ``version``: which one, 0 for the current one.
    ``etag``: of the record that is here, "" if it may have changed. ``withdrawn``: not found last time.
    ``conditions``, ``named``: see `ItemRef`. ``listed``: a listing of private items names it.
    ``stands_in``: its public record is here for a private one.
    ``has_history``: the ledger holds something that its tasks may need. ``history``: that, once it is read.
    """

    seq: int
    item_id: ItemId
    private: bool
    tasks: frozenset[str]
    known: bool
    item_key: ItemKey
    version: int = 0
    etag: str = ""
    withdrawn: bool = False
    conditions: tuple[str, ...] = ()
    named: bool = False
    listed: bool = False
    stands_in: bool = False
    has_history: bool = False
    history: History = History()


class PendingFile(Struct, frozen=True):
    """
    A file to fetch.

    ``path``: the one that it gets, relative to the output folder. ``item_key``: see `PendingItem`.
    ``is_taken``: a file that it replaces is still at its path. ``may_be_aside``: a file of its size that
    was replaced before is here. ``withheld``: why the public cannot have it, "" if it can.
    """

    seq: int
    item_id: ItemId
    file: RemoteFile
    path: str
    private: bool
    item_key: ItemKey
    is_taken: bool = False
    may_be_aside: bool = False
    withheld: str = ""


class PlannedFile(Struct, frozen=True):
    """
    A file of a record with what is to become of it and where it goes, or would go.

    ``reason``: why it is withheld, or skipped though the rules for files take it; "" for any other.
    """

    file: RemoteFile
    path: str
    status: FileStatus
    reason: str = ""


class TaskResult(Struct, frozen=True):
    """
    What one task learned of an item; ``files`` says what becomes of each file of the record.

    ``excluded``: the item is none of those wanted after all. ``change``: what is to be told of it, None for
    nothing. ``versions``: those to be harvested besides. ``warning``: something to tell the user that is no
    failure, "" where there is nothing. ``is_unplaced``: files that are here have other paths than the record
    alone would give them. ``doubt``: why this may not be all, "" where it is: it is kept, told as a failure
    for now of the task ``doubt_of``, and asked for again.
    """

    record: Record | None = None
    files: tuple[PlannedFile, ...] | None = None
    totals: Totals | None = None
    usage: Usage | None = None
    change: Change | None = None
    excluded: bool = False
    versions: tuple[int, ...] = ()
    warning: str = ""
    is_unplaced: bool = False
    doubt: str = ""
    doubt_of: str = ""


class Failure(Struct, frozen=True):
    """
    Why something could not be had.

    ``item_id`` None: a listing or a name that led to no item; ``subject`` then says which.
    ``attempts``: tries in the run that gave up. ``failure_kind``: see `errors.FailureKind`. ``version``: of
    the item, 0 for the current one. ``reported_as``: the task that failures.csv names, "" for ``task``.
    """

    task: str
    error: str
    failure_kind: str
    item_id: ItemId | None = None
    file_id: int | None = None
    subject: str = ""
    attempts: int = 1
    version: int = 0
    reported_as: str = ""


class Summary(Struct, frozen=True):
    """What a run did and what the folder holds, as summary.json shows them; the status it exits with."""

    run: dict[str, Any]
    folder: dict[str, Any]
    exit_status: int
