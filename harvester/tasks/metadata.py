"""The full record of an item, what has changed in it, and what is to become of each file that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from msgspec.structs import replace

from harvester.concurrency import apart
from harvester.config import FileRules
from harvester.config.keys import ALL, LATEST
from harvester.errors import ConnectionFailed, DoubtfulResponse, InvalidResponse
from harvester.figshare.client_side_filters import is_wanted_by
from harvester.figshare.diff import VOLATILE, changed_fields, changed_files, has_only_new_sums
from harvester.figshare.file_lists import with_known_files
from harvester.figshare.protocol import Figshare
from harvester.figshare.records import METADATA_ONLY, read_article
from harvester.figshare.staleness import says_less
from harvester.ledger.ledger import Ledger
from harvester.ledger.messages import Harvested
from harvester.ledger.tables.dates import latest_from
from harvester.models import (
    ANOTHER_VERSION,
    Article,
    Change,
    Changed,
    FileStatus,
    PendingItem,
    PlannedFile,
    Record,
    RemoteFile,
    TaskResult,
)
from harvester.storage.local import Store, assign_paths, item_dir
from harvester.tasks.record_access import Access, Records, remarks

BEYOND_ALL = 2**31
"""The number of no version, and greater than that of any."""
MOST_VERSIONS = 1000
"""A record that claims to have more is not believed to: only those that are listed are asked for."""
SHOWN = 10
"""So many fields, files or numbers of versions are named in one message."""


@dataclass(frozen=True)
class Metadata:
    """Asks for records; `access`: with whose rights, see `ownership.Records`."""

    name: ClassVar[str] = "metadata"
    tells_of_withdrawal: ClassVar[bool] = True

    figshare: Figshare
    ledger: Ledger
    rules: FileRules
    versions: str | tuple[int, ...]
    store: Store
    access: Access = Access()

    async def visit(self, item: PendingItem) -> TaskResult:
        record = await Records(self.figshare, self.access).ask(item)
        if record is None:  # what is here is what is there
            return TaskResult()
        if not (item.known or is_wanted_by(record.raw, item.conditions, private=record.private)):
            return TaskResult(excluded=True)
        before = await self.ledger.harvested(item.key) if item.known else None
        is_same = before is not None and (before.raw, before.file_list) == (record.raw, record.file_list)
        if record.doubt and before is not None:  # nothing that is here is given up for it
            size = len(before.raw) + len(before.file_list or b"")
            record = await apart(size, with_known_files, record, before.raw, before.file_list, before.files)
        article = record.article
        sizes = [len(each.raw) + len(each.file_list or b"") for each in (record, before) if each is not None]
        old = await apart(sum(sizes), _read_again, before) if before else None
        if before is not None and old is not None and not item.withdrawn:
            latest = latest_from(self.ledger.now())
            if less := await apart(sum(sizes), says_less, article, record.raw, old, before.raw, latest):
                raise DoubtfulResponse(less)
        earlier, missing = await self._earlier(item, article)
        here = await self._proven(article, before.files) if before else {}
        refused = before.refused if before and is_same else {}
        found = await apart(sum(sizes), self._found, item, record, before, old, here, refused)
        doubts = tuple(filter(None, (record.doubt, missing)))
        return replace(
            found,
            record=replace(record, etag="") if doubts else record,  # it is asked for again, whole
            versions=earlier,
            doubt="; ".join(doubts),
            doubt_of="files" if record.doubt else "",
        )

    def _found(
        self,
        item: PendingItem,
        record: Record,
        before: Harvested | None,
        old: Article | None,
        here: Mapping[int, tuple[RemoteFile, str]],
        refused: Mapping[int, str],
    ) -> TaskResult:
        """Say what becomes of a record's files, and what has changed in it."""
        article, home = record.article, item_dir(item.id, item.version)
        files = plan_files(
            article,
            here,
            self.rules,
            home=home,
            is_wanted=bool(item.version) or is_wanted(number_of(article), self.versions, is_current=True),
            own=record.private,
            refused=refused,
            now=self.ledger.now(),
        )
        return TaskResult(
            files=files,
            change=_change(item, before, record, old),
            warning="; ".join(filter(None, (*remarks(item, record), _warning(record, old)))),
            is_unplaced=before is not None and not are_placed(files, home),
        )

    async def _proven(
        self, article: Article, here: Mapping[int, tuple[RemoteFile, str]]
    ) -> Mapping[int, tuple[RemoteFile, str]]:
        """Return the files that are here, each with the sum that figshare tells later, where it is right."""
        late = {file.id: file for file in article.files if file.md5 is not None and file.id in here}
        proven = dict(here)
        for file_id, file in late.items():
            old, path = here[file_id]
            if old.md5 is None and await self.store.holds(path, file.size, file.md5):
                proven[file_id] = (replace(old, md5=file.md5), path)
        return proven

    async def _earlier(self, item: PendingItem, article: Article) -> tuple[tuple[int, ...], str]:
        """
        Return the versions of an item that are wanted besides its current one and not known yet.

        And why these may not be all: the list of them lacks numbers below that of the record.
        """
        current = end_of_earlier(article)
        if item.version or not has_earlier(current, self.versions):
            return (), ""
        here = await self.ledger.versions(item.id)
        if self.versions != ALL and here.issuperset(self.versions):
            return (), ""
        told = await self.figshare.versions(item.id)
        if told == () and article.withheld:  # seen: a total embargo shows no version
            return (), ""
        listed = told or ()
        wanted = [
            number
            for number in sorted({*listed, *range(1, min(article.version, MOST_VERSIONS))})
            if number < current and is_wanted(number, self.versions, is_current=False)
        ]
        fresh = tuple(number for number in wanted if number in listed and number not in here)
        return fresh, _missing([number for number in wanted if number not in {*listed, *here}])


def _read_again(before: Harvested) -> Article | None:
    """Read a record that was kept; None for one that only another version of the program could read."""
    try:
        return read_article(before.raw, before.file_list)
    except (ConnectionFailed, InvalidResponse):
        return None


def _missing(versions: Sequence[int]) -> str:
    """Say which versions no list names, "" where it names all."""
    if not versions:
        return ""
    some = ", ".join(str(number) for number in versions[:SHOWN]) + (", …" if len(versions) > SHOWN else "")
    return f"the list of versions lacks {some}, and the record's own number is higher"


def number_of(article: Article) -> int:
    """Return the number of the version that a record is of; a draft has none yet."""
    return 0 if article.draft_of else article.version


def end_of_earlier(article: Article) -> int:
    """Return the number before which all versions are earlier ones: those behind a draft all are."""
    return BEYOND_ALL if article.draft_of else article.version


def has_earlier(current: int, versions: str | tuple[int, ...]) -> bool:
    """Tell whether versions before the current one may be wanted; its number is not to be trusted."""
    if isinstance(versions, str):
        return versions == ALL and current > 1
    return any(number < current for number in versions)


def is_wanted(version: int, versions: str | tuple[int, ...], *, is_current: bool) -> bool:
    """Tell whether a version of an item is wanted; what was never published has the number 0."""
    if versions == LATEST or not version:
        return is_current
    return versions == ALL or version in versions


def _change(
    item: PendingItem, before: Harvested | None, record: Record, old: Article | None
) -> Change | None:
    """Say what has changed since a record was harvested (`old` was read of it), None for nothing."""
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
    """Put what is no failure, and strange all the same, into one line; "" for nothing."""
    article = record.article
    known = old.sums_differ if old else ()
    notes = []
    if article.odd_fields:
        notes.append(f"not read, because its meaning is unclear: {_few(article.odd_fields)}")
    if new := [line for line in article.sums_differ if line not in known]:
        notes.append(f"{_few(new)}; the computed one counts")
    if record.list_problem:
        notes.append(f"only the files in the record are known: {record.list_problem}")
    told = [f"item {article.id}: {note}" for note in notes]
    surplus = "" if record.doubt else difference(article)
    return "; ".join(filter(None, (surplus, *told)))


def _few(names: Sequence[str]) -> str:
    """Join names, so many that they fit into a message."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def difference(article: Article) -> str:
    """Say by how much an item's size differs from that of its files, "" where all is well."""
    listed = sum(file.size for file in article.files)
    if listed == article.size or article.withheld:
        return ""
    return f"item {article.id}: its files add up to {listed} bytes, its record says {article.size}"


def plan_files(
    article: Article,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
    *,
    home: str = "",
    is_wanted: bool = True,
    own: bool = False,
    refused: Mapping[int, str] = MappingProxyType({}),
    now: str = "",
) -> tuple[PlannedFile, ...]:
    """
    Decide what becomes of each file; `here` are those fetched before: file id to file and path.

    One that is here and has not changed stays; the rest is owed, unless the user's rules, its kind or
    the item's own state keep it from being fetched. A file that the record no longer names has no claim to
    its path. `home`: the folder they go to. `is_wanted`: whether this version of the item is. `own`: the
    record is the account's, so that what is withheld from the public is asked for with the token. `refused`:
    file id to why one is withheld that the token was refused before, for a record that has not changed since.
    `now`: ISO 8601; an embargo that should have ended by then keeps nothing from being asked for.
    """
    named = {file.id: _with_known_sum(file, here.get(file.id)) for file in article.files}
    if article.withheld not in {"", METADATA_ONLY} and not own:
        # A record under embargo names no files to the public: that says nothing against those that are here.
        named = {file_id: file for file_id, (file, _) in here.items()} | named
    unique = tuple(named.values())
    kept = {file.id: here[file.id][1] for file in unique if file.id in here}
    paths = assign_paths(home or item_dir(article.id), unique, kept)
    closed = {} if own else dict.fromkeys((file.id for file in unique), article.withheld)
    closed |= refused
    if article.withheld and "" < article.embargo_until <= now:
        closed = {}
    statuses = {
        file.id: _status(file, here, rules, is_open=not closed.get(file.id), is_wanted=is_wanted)
        for file in unique
    }
    return tuple(
        PlannedFile(
            file,
            paths[file.id],
            statuses[file.id],
            _reason(statuses[file.id], closed.get(file.id, ""), is_wanted=is_wanted),
        )
        for file in unique
    )


def are_placed(files: Sequence[PlannedFile], home: str) -> bool:
    """Tell whether files have the paths that their record alone would give them."""
    wanted = assign_paths(home, [each.file for each in files], {})
    return all(each.path == wanted[each.file.id] for each in files)


def _with_known_sum(file: RemoteFile, old: tuple[RemoteFile, str] | None) -> RemoteFile:
    """Return a file with the sum, or size, that it had before, where figshare does not tell it."""
    if old is not None and file.size == 0 and file.md5 is not None and old[0].md5 == file.md5:
        return replace(file, size=old[0].size)
    if old is None or file.md5 is not None or old[0].size != file.size:
        return file
    return replace(file, md5=old[0].md5)


def _reason(status: FileStatus, withheld: str, *, is_wanted: bool) -> str:
    """Say why a file is not fetched, where no rule for files can change that."""
    if status is FileStatus.WITHHELD:
        return withheld
    return ANOTHER_VERSION if status is FileStatus.SKIPPED and not is_wanted else ""


def _status(
    file: RemoteFile,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
    *,
    is_open: bool,
    is_wanted: bool,
) -> FileStatus:
    if file.is_link:
        return FileStatus.LINK
    old = here.get(file.id)
    if old is not None and (old[0].md5, old[0].size) == (file.md5, file.size):
        return FileStatus.DONE
    if not is_open:
        return FileStatus.WITHHELD
    if not (is_wanted and rules.wants(full_name(file), file.size)):
        return FileStatus.SKIPPED
    return FileStatus.PENDING


def full_name(file: RemoteFile) -> str:
    """Return ``folder/name``, what rules for files are matched with."""
    return f"{file.folder}/{file.name}" if file.folder else file.name
