"""Metadata task: requests the full record of an item, finds its changes, and plans its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from msgspec.structs import replace

from harvester.config import FileRules
from harvester.config.keys import ALL
from harvester.errors import ConnectionFailed, DoubtfulResponse, InvalidResponse
from harvester.figshare.client_side_filters import is_wanted_by
from harvester.figshare.diff import VOLATILE, changed_fields, changed_files, has_only_new_sums
from harvester.figshare.file_lists import with_known_files
from harvester.figshare.protocol import Figshare
from harvester.figshare.records import read_article
from harvester.figshare.staleness import says_less
from harvester.ledger.tables.dates import latest_from
from harvester.models import Article, Change, Harvested, PendingItem, Record, RemoteFile, TaskResult
from harvester.states import Changed
from harvester.storage.paths import item_dir
from harvester.storage.protocol import Storage
from harvester.system.concurrency import apart
from harvester.tasks.file_plan import are_placed, plan_files
from harvester.tasks.record_access import Access, Records, remarks
from harvester.tasks.wanted_versions import (
    describe_missing,
    earlier_versions,
    end_of_earlier,
    has_earlier,
    is_wanted,
    number_of,
)

SHOWN = 10
"""Fields or files named in one message at most."""


@dataclass(frozen=True)
class Metadata:
    """
    Requests records and plans their files.

    ``rules``: which files are fetched.
    ``versions``: the wanted versions: "latest", "all" or their numbers.
    ``storage``: verifies files whose md5 figshare publishes later.
    ``now``: returns the time as ISO 8601.
    ``access``: the rights to request with, see `record_access.Records`.
    """

    name: ClassVar[str] = "metadata"
    tells_of_withdrawal: ClassVar[bool] = True

    figshare: Figshare
    rules: FileRules
    versions: str | tuple[int, ...]
    storage: Storage
    now: Callable[[], str]
    access: Access = Access()

    async def process(self, item: PendingItem) -> TaskResult:
        """Return an item's record, files and changes; an empty result if the record is unchanged."""
        record = await Records(self.figshare, self.access).fetch(item)
        if record is None:
            return TaskResult()
        if not (item.known or is_wanted_by(record.raw, item.conditions, private=record.private)):
            return TaskResult(excluded=True)
        before = item.history.harvested
        if before is None:
            return await self._complete(item, record, None, {}, {})
        is_same = (before.raw, before.file_list) == (record.raw, record.file_list)
        if record.doubt:  # no stored data is replaced because of a doubtful record
            args = (record, before.raw, before.file_list, before.files)
            record = await apart(_bytes_of(before), with_known_files, *args)
        old = await self._read_old(item, record, before)
        here = await self._proven(record.article, before.files)
        return await self._complete(item, record, old, here, before.refused if is_same else {})

    async def _read_old(self, item: PendingItem, record: Record, before: Harvested) -> Article | None:
        """
        Return the stored record; None if only another version of the program could read it.

        Raises:
            DoubtfulResponse: the new record is less complete than the stored one.
        """
        size = _bytes_of(record) + _bytes_of(before)
        old = await apart(size, _read_again, before)
        if old is not None and not item.withdrawn:
            latest = latest_from(self.now())
            if less := await apart(size, says_less, record.article, record.raw, old, before.raw, latest):
                raise DoubtfulResponse(less)
        return old

    async def _proven(
        self, article: Article, here: Mapping[int, tuple[RemoteFile, str]]
    ) -> Mapping[int, tuple[RemoteFile, str]]:
        """Return the fetched files, each with the md5 that figshare published since, if it matches."""
        late = {file.id: file for file in article.files if file.md5 is not None and file.id in here}
        proven = dict(here)
        for file_id, file in late.items():
            old, path = here[file_id]
            if old.md5 is None and await self.storage.is_intact(path, file.size, file.md5):
                proven[file_id] = (replace(old, md5=file.md5), path)
        return proven

    async def _complete(
        self,
        item: PendingItem,
        record: Record,
        old: Article | None,
        here: Mapping[int, tuple[RemoteFile, str]],
        refused: Mapping[int, str],
    ) -> TaskResult:
        """Return the result for a received record, with its earlier versions and what may be missing."""
        versions, missing = await self._earlier(item, record.article)
        before = item.history.harvested
        size = _bytes_of(record) + (_bytes_of(before) if before else 0)
        result = await apart(size, self._compare, item, record, old, here, refused)
        doubts = tuple(filter(None, (record.doubt, missing)))
        return replace(
            result,
            record=replace(record, etag="") if doubts else record,  # requested again completely
            versions=versions,
            doubt="; ".join(doubts),
            doubt_of="files" if record.doubt else "",
        )

    async def _earlier(self, item: PendingItem, article: Article) -> tuple[tuple[int, ...], str]:
        """
        Return the earlier versions of an item that are wanted and not known yet, and what is missing.

        Versions are missing if the list of versions lacks numbers below that of the record.
        """
        known = item.history.versions
        if item.version or not has_earlier(end_of_earlier(article), self.versions):
            return (), ""
        if self.versions != ALL and known.issuperset(self.versions):
            return (), ""
        answer = await self.figshare.versions(item.item_id)
        if answer == () and article.withheld:  # observed: under a total embargo there is no version
            return (), ""
        listed = answer or ()
        wanted = earlier_versions(article, listed, self.versions)
        fresh = tuple(number for number in wanted if number in listed and number not in known)
        return fresh, describe_missing([number for number in wanted if number not in {*listed, *known}])

    def _compare(
        self,
        item: PendingItem,
        record: Record,
        old: Article | None,
        here: Mapping[int, tuple[RemoteFile, str]],
        refused: Mapping[int, str],
    ) -> TaskResult:
        """Return the planned files of a record, and its changes."""
        article, folder = record.article, item_dir(item.item_id, item.version)
        files = plan_files(
            article,
            here,
            self.rules,
            folder=folder,
            is_wanted=bool(item.version) or is_wanted(number_of(article), self.versions, is_current=True),
            own=record.private,
            refused=refused,
            now=self.now(),
        )
        return TaskResult(
            files=files,
            change=_change(item, record, old),
            warning="; ".join(filter(None, (*remarks(item, record), _warning(record, old)))),
            is_unplaced=item.history.harvested is not None and not are_placed(files, folder),
        )


def _bytes_of(record: Record | Harvested) -> int:
    return len(record.raw) + len(record.file_list or b"")


def _read_again(before: Harvested) -> Article | None:
    """Return a stored record; None if only another version of the program could read it."""
    try:
        return read_article(before.raw, before.file_list)
    except (ConnectionFailed, InvalidResponse):
        return None


def _change(item: PendingItem, record: Record, old: Article | None) -> Change | None:
    """Return the changes since the record was harvested as `old`, None for none."""
    before = item.history.harvested
    if before is None or old is None:
        return Change(Changed.NEW)
    now = record.article.files
    fields, files = changed_fields(before.raw, record.raw), changed_files(old.files, now)
    if item.withdrawn:
        return Change(Changed.RETURNED, fields, files)
    if VOLATILE.issuperset(fields) and has_only_new_sums(old.files, now):
        return None
    return Change(Changed.CHANGED, fields, files) if fields or files else None


def _warning(record: Record, old: Article | None) -> str:
    """Return a warning on unexpected values, one line; "" for none."""
    article = record.article
    known = old.sums_differ if old else ()
    notes = []
    if article.odd_fields:
        notes.append(f"not read, because its meaning is unclear: {_few(article.odd_fields)}")
    if new := [line for line in article.sums_differ if line not in known]:
        notes.append(f"{_few(new)}; the computed one counts")
    if record.list_problem:
        notes.append(f"only the files in the record are known: {record.list_problem}")
    lines = [f"item {article.id}: {note}" for note in notes]
    surplus = "" if record.doubt else difference(article)
    return "; ".join(filter(None, (surplus, *lines)))


def _few(names: Sequence[str]) -> str:
    """Join as many names as fit into a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def difference(article: Article) -> str:
    """Return how an item's size differs from that of its files, "" if it does not."""
    listed = sum(file.size for file in article.files)
    if listed == article.size or article.withheld:
        return ""
    return f"item {article.id}: its files add up to {listed} bytes, its record says {article.size}"
