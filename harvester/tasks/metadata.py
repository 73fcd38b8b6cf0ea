"""The full record of an item, and what is to become of each file that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from harvester.config import FileRules
from harvester.figshare.api import Figshare
from harvester.ledger.writing import Ledger
from harvester.models import Article, Findings, OwedItem, PlacedFile, RemoteFile
from harvester.states import FileStatus
from harvester.store import place


@dataclass(frozen=True)
class Metadata:
    """Asks the account's endpoint for what the account listed, the public one otherwise."""

    name: ClassVar[str] = "metadata"
    tells_of_withdrawal: ClassVar[bool] = True

    figshare: Figshare
    ledger: Ledger
    rules: FileRules

    async def visit(self, item: OwedItem) -> Findings:
        record = await self.figshare.record(item.id, private=item.private)
        here = await self.ledger.files_here(item.id) if item.known else {}
        article = record.article
        return Findings(record=record, files=settle(article, here, self.rules), warning=difference(article))


def difference(article: Article) -> str:
    """Say by how much an item's size differs from that of its files, "" where all is well."""
    listed = sum(file.size for file in article.files)
    if listed == article.size or article.withheld:
        return ""
    return f"item {article.id}: its files add up to {listed} bytes, its record says {article.size}"


def settle(
    article: Article, here: Mapping[int, tuple[RemoteFile, str]], rules: FileRules
) -> tuple[PlacedFile, ...]:
    """
    Decide what becomes of each file; `here` are those fetched before: file id to file and path.

    One that is here and has not changed stays; the rest is owed, unless the user's rules, its kind or
    the item's own state keep it from being fetched.
    """
    unique = tuple({file.id: file for file in article.files}.values())
    paths = place(article.id, unique, {file_id: path for file_id, (_, path) in here.items()})
    statuses = {file.id: _status(file, article, here, rules) for file in unique}
    return tuple(
        PlacedFile(
            file,
            paths[file.id],
            statuses[file.id],
            article.withheld if statuses[file.id] is FileStatus.WITHHELD else "",
        )
        for file in unique
    )


def _status(
    file: RemoteFile,
    article: Article,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
) -> FileStatus:
    if file.is_link:
        return FileStatus.LINK
    old = here.get(file.id)
    if old is not None and (old[0].md5, old[0].size) == (file.md5, file.size):
        return FileStatus.DONE
    if article.withheld:
        return FileStatus.WITHHELD
    if not rules.wants(full_name(file), file.size):
        return FileStatus.SKIPPED
    return FileStatus.PENDING


def full_name(file: RemoteFile) -> str:
    """Return ``folder/name``, what rules for files are matched with."""
    return f"{file.folder}/{file.name}" if file.folder else file.name
