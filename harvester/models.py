"""Data model: the frozen values that packages exchange. They have no behaviour and do no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NewType

from msgspec import UNSET, Struct, UnsetType

from harvester.states import FileStatus

ItemId = NewType("ItemId", int)  # figshare's id, the same for all versions
ItemKey = NewType("ItemKey", int)  # the ledger's key of an item (`key_of`) or of one version (negative)


def key_of(item_id: ItemId) -> ItemKey:
    """Return the key of an item itself."""
    return ItemKey(item_id)


class ListingEntry(Struct, frozen=True):
    """The fields of an item in a listing that are displayed; "" for a field that the listing lacks."""

    title: str = ""
    doi: str = ""
    type: str = ""
    created_date: str = ""
    published_date: str = ""


class ItemRef(Struct, frozen=True):
    """A reference to an item, as listings give it."""

    id: ItemId
    private: bool = False  # listed by the account: its record is requested from the account's endpoint
    modified_date: str | None = None  # ISO 8601 as listed, None if the listing has none
    version: int = 0  # the wanted version, 0 for the current one
    condition: str = ""  # JSON: what its record must meet; "" for none, see `figshare.client_side_filters`
    brief: ListingEntry | None = None  # None if the listing has ids only
    named: bool = False  # the user named this item


class Unresolved(Struct, frozen=True):
    """A name or listing entry that could not be resolved to an item."""

    name: str
    reason: str
    failure_kind: str
    if_harvested: ItemRef | None = None  # the item that it means if that was harvested before


class Page(Struct, frozen=True):
    """One page of a listing."""

    refs: tuple[ItemRef, ...]
    cursor: str | None  # where the next page begins, opaque to all but the listing; None after the last page
    unresolved: tuple[Unresolved, ...] = ()
    excluded: int = 0  # number of entries that the filters exclude
    warning: str = ""  # shown to the user once a listing, for its first page that has one
    notes: tuple[str, ...] = ()  # warnings that are all shown
    served_at: str = ""  # when the service answered, ISO 8601 by its own clock; "" if it does not say


class RemoteFile(Struct, frozen=True):
    """A file as the item's record lists it."""

    id: int
    name: str
    folder: str  # with "/" between its parts, "" at the top
    size: int  # bytes
    md5: str | None  # lower case
    url: str
    is_link: bool


class Article(Struct, frozen=True):
    """The fields of a record that the harvest itself uses."""

    id: int
    doi: str
    modified_date: str
    size: int  # bytes of all its files
    files: tuple[RemoteFile, ...]
    files_complete: bool
    withheld: str  # why its files cannot be downloaded, "" if they can
    version: int = 0  # 0 for an item that was never published
    odd_fields: tuple[str, ...] = ()  # names of fields without a clear meaning, which count as absent
    odd_files: tuple[str, ...] = ()  # what is wrong with unreadable entries of its file list, one line each
    sums_differ: tuple[str, ...] = ()  # files whose uploader gave another md5 than figshare, one line each
    embargo_until: str = ""  # ISO 8601, when its embargo ends; "" for none
    draft_of: int = 0  # the version that this is an unpublished edit of, -1 for an unknown one, 0 for no edit


class Description(Struct, frozen=True):
    """The fields of a record that tables show; "" for a field that the record lacks."""

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
    """A full record: the bytes as received, and the fields that were read from them."""

    article: Article
    raw: bytes
    file_list: bytes | None = None  # JSON array of all files as received, None if `raw` contains them all
    etag: str = ""
    served_at: str = ""  # see `Page`
    doubt: str = ""  # which announced files or bytes no list contains, "" for none
    list_problem: str = ""  # why its file list was refused, if no file is missing all the same
    private: bool = False  # the account's record, requested with the token
    api_version: str = ""  # the version of the API that sent it, as figshare calls it


class Totals(Struct, frozen=True):
    """
    Counters of an item since it was published.

    None for a counter that the service does not know, UNSET for one that was not requested.
    """

    views: int | UnsetType | None = UNSET
    downloads: int | UnsetType | None = UNSET
    shares: int | UnsetType | None = UNSET

    def requested(self) -> dict[str, int | None]:
        """Return the counters that were requested."""
        counters = {"views": self.views, "downloads": self.downloads, "shares": self.shares}
        return {name: number for name, number in counters.items() if not isinstance(number, UnsetType)}


class UsageCount(Struct, frozen=True):
    """How often an item was used in one period."""

    counter: str  # views, downloads, shares
    granularity: str  # day, month, year, total
    date: str  # ISO 8601, where the period begins
    number: int
    country: str = ""  # "" for all countries together


class Usage(Struct, frozen=True):
    """
    The timeline or, ``by_country``, the breakdown of an item.

    It replaces all stored counts of the same counters and granularity. Empty ``counts`` mean that the
    service does not know the item.
    """

    counts: tuple[UsageCount, ...]
    counters: tuple[str, ...]  # those that were requested
    granularity: str
    by_country: bool = False


class Change(Struct, frozen=True):
    """How an item has changed since the last harvest."""

    what: str  # see `Changed`
    fields: tuple[str, ...] = ()  # figshare's names of the fields that differ
    files: tuple[str, ...] = ()  # such as ``added: a.csv``, ``changed: b.csv``, ``removed: c.csv``


class Harvested(Struct, frozen=True):
    """An item as it was harvested last."""

    raw: bytes  # the record as received
    file_list: bytes | None
    files: Mapping[
        int, tuple[RemoteFile, str]
    ]  # fetched files by id: the file as its record had it, its path
    refused: Mapping[int, str] = {}  # by file id, why a file is withheld that was refused to the token


class UsageSpan(Struct, frozen=True):
    """The days for which timelines and breakdowns are requested: ISO 8601, both included."""

    granularity: str
    first: str
    last: str


class History(Struct, frozen=True):
    """The ledger's data on an item before it is processed again, as far as its pending tasks need it."""

    harvested: Harvested | None = None
    versions: frozenset[int] = frozenset()  # known earlier versions
    totals: Mapping[str, int | None] = {}
    usage: Mapping[tuple[str, str], int] = {}  # sums over the run's `UsageSpan`, by task and counter


class PendingItem(Struct, frozen=True):
    """An item in the work queue."""

    seq: int  # its place in the queue
    item_id: ItemId
    private: bool
    tasks: frozenset[str]
    known: bool  # its record was harvested before
    item_key: ItemKey
    version: int = 0  # 0 for the current one
    etag: str = ""  # of the stored record, "" if that may have changed
    withdrawn: bool = False  # not found last time
    conditions: tuple[str, ...] = ()  # see `ItemRef`
    named: bool = False  # see `ItemRef`
    listed: bool = False  # a listing of private items contains it
    stands_in: bool = False  # its public record is stored in place of a private one
    has_history: bool = False  # the ledger has data that its tasks may need
    history: History = History()  # these data, once they are read


class PendingFile(Struct, frozen=True):
    """A file in the work queue."""

    seq: int  # its place in the queue
    item_id: ItemId
    file: RemoteFile
    path: str  # where it goes, relative to the output folder
    private: bool
    item_key: ItemKey
    is_taken: bool = False  # a file that it replaces is still at its path
    may_be_aside: bool = False  # a file of the same size that was replaced before is here
    withheld: str = ""  # why the public cannot download it, "" if it can


class PlannedFile(Struct, frozen=True):
    """A file of a record, with its path and its status."""

    file: RemoteFile
    path: str
    status: FileStatus
    reason: str = ""  # why it is withheld, or skipped though the file rules accept it; "" for any other


class TaskResult(Struct, frozen=True):
    """The result of one task on an item."""

    record: Record | None = None
    files: tuple[PlannedFile, ...] | None = None
    totals: Totals | None = None
    usage: Usage | None = None
    change: Change | None = None  # None if nothing is to be reported
    excluded: bool = False  # the record shows that the filters exclude the item
    versions: tuple[int, ...] = ()  # earlier versions to harvest too
    warning: str = ""  # shown to the user; no failure
    is_unplaced: bool = False  # some files have other paths than the record alone would give them
    doubt: str = ""  # why data may be missing: saved, reported as a temporary failure and requested again
    doubt_of: str = ""  # the task that this failure belongs to


class Failure(Struct, frozen=True):
    """Why an item, a file, a listing or a name failed."""

    task: str
    error: str
    failure_kind: str  # see `errors.FailureKind`
    item_id: ItemId | None = None  # None for a listing or a name, which `subject` gives
    file_id: int | None = None
    subject: str = ""
    attempts: int = 1  # in the run in which it failed
    version: int = 0  # of the item, 0 for the current one
    reported_as: str = ""  # the task in failures.csv, "" for `task`
    common_cause: str = ""  # see `errors.HarvestError`
