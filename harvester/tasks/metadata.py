"""The full record of an item, what has changed in it, and what is to become of each file that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from harvester.config import FileRules
from harvester.config.keys import ALL, LATEST
from harvester.figshare.api import Figshare
from harvester.figshare.changes import changed_fields, changed_files
from harvester.figshare.records import read_article, read_description
from harvester.ledger.results import Harvested
from harvester.ledger.writing import Ledger
from harvester.models import Article, Change, Findings, OwedItem, PlacedFile, Record, RemoteFile
from harvester.ownership import Access, Records, remarks
from harvester.states import ANOTHER_VERSION, Changed, FileStatus
from harvester.store import home_of, place

BEYOND_ALL = 2**31
"""The number of no version, and greater than that of any."""


@dataclass(frozen=True)
class Metadata:
    """Asks for records; `access`: with whose rights, see `ownership.Records`."""

    name: ClassVar[str] = "metadata"
    tells_of_withdrawal: ClassVar[bool] = True

    figshare: Figshare
    ledger: Ledger
    rules: FileRules
    versions: str | tuple[int, ...]
    access: Access = Access()

    async def visit(self, item: OwedItem) -> Findings:
        record = await Records(self.figshare, self.access).ask(item)
        if record is None:  # what is here is what is there
            return Findings()
        if not (item.known or has_licence(record, item.licences)):
            return Findings(left_out=True)
        article = record.article
        before = await self.ledger.harvested(item.key) if item.known else None
        is_same = before is not None and (before.raw, before.file_list) == (record.raw, record.file_list)
        files = settle(
            article,
            before.files if before else {},
            self.rules,
            home=home_of(item.id, item.version),
            is_wanted=bool(item.version) or is_wanted(number_of(article), self.versions, is_current=True),
            own=record.private,
            refused=before.refused if before and is_same else {},
        )
        return Findings(
            record=record,
            files=files,
            change=_change(item, before, record),
            versions=await self._earlier(item, article),
            warning="; ".join(filter(None, (*remarks(item, record), difference(article)))),
        )

    async def _earlier(self, item: OwedItem, article: Article) -> tuple[int, ...]:
        """Return the versions of an item that are wanted besides its current one and not known yet."""
        current = end_of_earlier(article)
        if item.version or not has_earlier(current, self.versions):
            return ()
        here = await self.ledger.versions(item.id)
        if self.versions != ALL and here.issuperset(self.versions):
            return ()
        return tuple(
            number
            for number in await self.figshare.versions(item.id)
            if number < current and number not in here
            if is_wanted(number, self.versions, is_current=False)
        )


def has_licence(record: Record, licences: tuple[str, ...]) -> bool:
    """Tell whether a record has one of the licences that are wanted, if any are."""
    if not licences:
        return True
    name = read_description(record.raw).licence.casefold()
    return name in {licence.casefold() for licence in licences}


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


def _change(item: OwedItem, before: Harvested | None, record: Record) -> Change | None:
    """Say what has changed since a record was harvested, None for nothing."""
    if before is None:
        return Change(Changed.NEW)
    old = read_article(before.raw, before.file_list)
    fields = changed_fields(before.raw, record.raw)
    files = changed_files(old.files, record.article.files)
    if item.withdrawn:
        return Change(Changed.RETURNED, fields, files)
    return Change(Changed.CHANGED, fields, files) if fields or files else None


def difference(article: Article) -> str:
    """Say by how much an item's size differs from that of its files, "" where all is well."""
    listed = sum(file.size for file in article.files)
    if listed == article.size or article.withheld:
        return ""
    return f"item {article.id}: its files add up to {listed} bytes, its record says {article.size}"


def settle(
    article: Article,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
    *,
    home: str = "",
    is_wanted: bool = True,
    own: bool = False,
    refused: Mapping[int, str] = MappingProxyType({}),
) -> tuple[PlacedFile, ...]:
    """
    Decide what becomes of each file; `here` are those fetched before: file id to file and path.

    One that is here and has not changed stays; the rest is owed, unless the user's rules, its kind or
    the item's own state keep it from being fetched. `home`: the folder they go to. `is_wanted`: whether this
    version of the item is. `own`: the record is the account's, so that what is withheld from the public is
    asked for with the token. `refused`: file id to why one is withheld that the token was refused before, for
    a record that has not changed since.
    """
    unique = tuple({file.id: file for file in article.files}.values())
    kept = {file_id: path for file_id, (_, path) in here.items()}
    paths = place(home or home_of(article.id), unique, kept)
    closed = {} if own else dict.fromkeys((file.id for file in unique), article.withheld)
    closed |= refused
    statuses = {
        file.id: _status(file, here, rules, is_open=not closed.get(file.id), is_wanted=is_wanted)
        for file in unique
    }
    return tuple(
        PlacedFile(
            file,
            paths[file.id],
            statuses[file.id],
            _reason(statuses[file.id], closed.get(file.id, ""), is_wanted=is_wanted),
        )
        for file in unique
    )


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
