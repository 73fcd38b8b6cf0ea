"""The full record of an item, what has changed in it, and what is to become of each file that it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from msgspec.structs import replace

from harvester.config import FileRules
from harvester.config.keys import ALL, LATEST
from harvester.errors import Gone, Refused
from harvester.figshare.api import Figshare
from harvester.figshare.changes import VOLATILE, changed_fields, changed_files, has_only_new_sums
from harvester.figshare.conditions import is_wanted_by
from harvester.figshare.filelists import with_known_files
from harvester.figshare.records import read_article
from harvester.ledger.results import Harvested
from harvester.ledger.writing import Ledger
from harvester.models import Article, Change, Findings, OwedItem, PlacedFile, Record, RemoteFile
from harvester.states import ANOTHER_VERSION, Changed, FileStatus
from harvester.store import home_of, place

MOST_VERSIONS = 1000
"""A record that claims to have more is not believed to: only those that are listed are asked for."""
SHOWN = 10
"""So many numbers of versions are told at most."""
MOST_NAMED = 5
"""So many fields or files are named in one warning."""


@dataclass(frozen=True)
class Metadata:
    """Asks the account's endpoint for what the account listed, the public one otherwise."""

    name: ClassVar[str] = "metadata"
    tells_of_withdrawal: ClassVar[bool] = True

    figshare: Figshare
    ledger: Ledger
    rules: FileRules
    versions: str | tuple[int, ...]

    async def visit(self, item: OwedItem) -> Findings:
        record = await self._ask(item)
        if record is None:  # what is here is what is there
            return Findings()
        if not (item.known or is_wanted_by(record.raw, item.conditions, private=item.private)):
            return Findings(left_out=True)
        before = await self.ledger.harvested(item.key) if item.known else None
        if record.doubt and before is not None:  # nothing that is here is given up for it
            record = with_known_files(record, before.raw, before.file_list, before.files)
        article = record.article
        earlier, missing = await self._earlier(item, article)
        files = settle(
            article,
            before.files if before else {},
            self.rules,
            home=home_of(item.id, item.version),
            is_wanted=bool(item.version) or is_wanted(article.version, self.versions, is_current=True),
        )
        old = read_article(before.raw, before.file_list) if before else None
        doubts = tuple(filter(None, (record.doubt, missing)))
        return Findings(
            record=replace(record, etag="") if doubts else record,  # it is asked for again, whole
            files=files,
            change=_change(item, before, record, old),
            versions=earlier,
            warning=_warning(record, old),
            doubt="; ".join(doubts),
            doubt_of="files" if record.doubt else "",
        )

    async def _ask(self, item: OwedItem) -> Record | None:
        """Ask for the record; None where it is known and has not changed."""
        try:
            return await self.figshare.record_unless(
                item.etag, item.id, private=item.private, version=item.version
            )
        except (Gone, Refused) as error:
            if not item.private:
                raise
            try:  # an administrator's listing names items that only their owners may see in full
                return await self.figshare.record_unless("", item.id, private=False)
            except (Gone, Refused):
                raise error from None

    async def _earlier(self, item: OwedItem, article: Article) -> tuple[tuple[int, ...], str]:
        """
        Return the versions of an item that are wanted besides its current one and not known yet.

        And why these may not be all: the list of them lacks numbers below that of the record.
        """
        if item.version or not has_earlier(article.version, self.versions):
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
            if number < article.version and is_wanted(number, self.versions, is_current=False)
        ]
        fresh = tuple(number for number in wanted if number in listed and number not in here)
        return fresh, _missing([number for number in wanted if number not in {*listed, *here}])


def _missing(versions: Sequence[int]) -> str:
    """Say which versions no list names, "" where it names all."""
    if not versions:
        return ""
    some = ", ".join(str(number) for number in versions[:SHOWN]) + (", …" if len(versions) > SHOWN else "")
    return f"the list of versions lacks {some}, and the record's own number is higher"


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


def _change(item: OwedItem, before: Harvested | None, record: Record, old: Article | None) -> Change | None:
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
        notes.append(f"not read, as nobody can say what it means: {_few(article.odd_fields)}")
    if new := [line for line in article.sums_differ if line not in known]:
        notes.append(f"{_few(new)}; the computed one counts")
    if record.list_problem:
        notes.append(f"only the files in the record are known: {record.list_problem}")
    told = [f"item {article.id}: {note}" for note in notes]
    return "; ".join(filter(None, ("" if record.doubt else difference(article), *told)))


def _few(names: Sequence[str]) -> str:
    """Join names, so many that they fit into a message."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


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
) -> tuple[PlacedFile, ...]:
    """
    Decide what becomes of each file; `here` are those fetched before: file id to file and path.

    One that is here and has not changed stays; the rest is owed, unless the user's rules, its kind or
    the item's own state keep it from being fetched. `home`: the folder they go to. `is_wanted`: whether this
    version of the item is.
    """
    unique = tuple({file.id: file for file in article.files}.values())
    kept = {file_id: path for file_id, (_, path) in here.items()}
    paths = place(home or home_of(article.id), unique, kept)
    statuses = {file.id: _status(file, article, here, rules, is_wanted=is_wanted) for file in unique}
    return tuple(
        PlacedFile(
            file,
            paths[file.id],
            statuses[file.id],
            _reason(statuses[file.id], article, is_wanted=is_wanted),
        )
        for file in unique
    )


def _reason(status: FileStatus, article: Article, *, is_wanted: bool) -> str:
    """Say why a file is not fetched, where no rule for files can change that."""
    if status is FileStatus.WITHHELD:
        return article.withheld
    return ANOTHER_VERSION if status is FileStatus.SKIPPED and not is_wanted else ""


def _status(
    file: RemoteFile,
    article: Article,
    here: Mapping[int, tuple[RemoteFile, str]],
    rules: FileRules,
    *,
    is_wanted: bool,
) -> FileStatus:
    if file.is_link:
        return FileStatus.LINK
    old = here.get(file.id)
    if old is not None and (old[0].md5, old[0].size) == (file.md5, file.size):
        return FileStatus.DONE
    if article.withheld:
        return FileStatus.WITHHELD
    if not (is_wanted and rules.wants(full_name(file), file.size)):
        return FileStatus.SKIPPED
    return FileStatus.PENDING


def full_name(file: RemoteFile) -> str:
    """Return ``folder/name``, what rules for files are matched with."""
    return f"{file.folder}/{file.name}" if file.folder else file.name
