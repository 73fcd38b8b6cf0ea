"""JSON keys to models: what is read of records, listings, file lists and counters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from harvester.errors import Broken, Misshapen
from harvester.models import Article, Description, RemoteFile

T = TypeVar("T")

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What ids and counters are: more than a database holds, or less than nothing, is no answer."""
Size = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""What a file has in bytes: no disk takes 9 petabytes in one, and JSON is not exact beyond that."""
LISTED_FILES = 10
"""A record lists so many files at most; the rest is in its file list only."""


_MD5 = re.compile("[0-9a-fA-F]{32}")


class _Selected(msgspec.Struct, frozen=True):
    """What of an entry decides whether it is wanted."""

    id: Natural
    doi: str | None = None
    group_id: Natural | None = None
    project_id: Natural | None = None
    defined_type: Natural | None = None
    published_date: str | None = None
    modified_date: str | None = None


class Entry(_Selected, frozen=True):
    """An item as listings show it, as far as the harvest reads it."""

    title: str | None = None
    defined_type_name: str | None = None
    created_date: str | None = None
    handle: str | None = None


class _Named(msgspec.Struct, frozen=True):
    """What is needed of an entry at the least."""

    id: Natural


@dataclass(frozen=True)
class EntryPage:
    """
    A page of a listing.

    ``bare``: entries of which only the id can be read, so that nobody can say whether they are wanted.
    ``odd``: the places (from 1) of entries that lead to no item, with what is wrong with them. ``size``:
    entries in all, so that a full page is known as one.
    """

    entries: tuple[Entry, ...]
    bare: tuple[int, ...] = ()
    odd: tuple[tuple[int, str], ...] = ()

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.bare) + len(self.odd)


class _File(msgspec.Struct, frozen=True):
    id: Natural
    name: str | None = None
    size: Size | None = None
    is_link_only: bool | None = None
    download_url: str | None = None
    supplied_md5: str | None = None
    computed_md5: str | None = None


class _Author(msgspec.Struct, frozen=True):
    full_name: str | None = None


class _Category(msgspec.Struct, frozen=True):
    title: str | None = None


class Licence(msgspec.Struct, frozen=True):
    name: str | None = None


class ItemType(msgspec.Struct, frozen=True):
    id: Natural
    name: str | None = None


class _Described(msgspec.Struct, frozen=True):
    """The keys of a record that tables show. All but the id may be null or absent, here and below."""

    id: Natural
    title: str | None = None
    doi: str | None = None
    defined_type_name: str | None = None
    created_date: str | None = None
    published_date: str | None = None
    modified_date: str | None = None
    license: Licence | None = None
    group_id: Natural | None = None
    authors: list[_Author] | None = None
    categories: list[_Category] | None = None


class _Record(_Described, frozen=True):
    """The keys that are read of a record."""

    version: Any = None  # read where it is a number: a record is worth more than that
    size: Natural | None = None
    files: list[_File] | None = None
    folder_structure: dict[str, str | None] | list[None] | None = None  # [] when there are none
    is_metadata_record: bool | None = None
    is_embargoed: bool | None = None
    is_confidential: bool | None = None
    download_disabled: bool | None = None


class Total(msgspec.Struct, frozen=True):
    totals: Natural | None = None


class Account(msgspec.Struct, frozen=True):
    id: Natural
    institution_id: Natural | None = None


class Version(msgspec.Struct, frozen=True):
    version: Natural


class Group(msgspec.Struct, frozen=True):
    id: Natural
    parent_id: Natural | None = None


def decoder(kind: type[T]) -> Callable[[bytes], T]:
    """
    Make a function that reads JSON of this shape.

    It raises `Misshapen` for JSON of another one, and `Broken` for what is not JSON.
    """
    inner = msgspec.json.Decoder(kind)

    def decode(raw: bytes) -> T:
        try:
            return inner.decode(raw)
        except msgspec.ValidationError as exc:
            raise Misshapen(f"not the promised JSON: {exc}") from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            if _is_whole(raw):
                raise Misshapen(f"JSON that no standard allows: {exc}") from exc
            raise Broken(f"not whole JSON: {exc}") from exc
        except RecursionError as exc:
            raise Misshapen("JSON nested too deeply") from exc

    return decode


def _is_whole(raw: bytes) -> bool:
    """Tell whether something refused is odd to its end (half a Unicode character) rather than cut."""
    try:
        json.loads(raw)  # of all readers the one that takes most
    except UnicodeDecodeError as exc:
        return exc.reason != "unexpected end of data"
    except (ValueError, RecursionError):
        return False
    return True


def must_be_text(raw: bytes) -> None:
    """
    Refuse bytes that are no UTF-8 also where nobody reads them: they are to be kept and shown.

    Raises:
        Misshapen: they are none.
    """
    try:
        raw.decode()
    except UnicodeDecodeError as exc:
        raise Misshapen(f"not UTF-8 text: {exc.reason} at byte {exc.start}") from exc


_decode_good_entries = decoder(tuple[Entry, ...])
_decode_entry = decoder(Entry)
_decode_selected = decoder(_Selected)
_decode_named = decoder(_Named)
_decode_record = decoder(_Record)
_decode_described = decoder(_Described)
_decode_files = decoder(list[_File])
decode_pieces = decoder(list[msgspec.Raw])
decode_total = decoder(Total)
decode_groups = decoder(list[Group])
decode_licences = decoder(list[Licence])
decode_types = decoder(list[ItemType])
decode_versions = decoder(list[Version])
decode_account = decoder(Account)
decode_counts = decoder(dict[str, Natural])


def decode_entries(raw: bytes) -> EntryPage:
    """
    Read a page of a listing; an entry that is odd costs that entry alone.

    Raises:
        Misshapen: it is no list.
        Broken: it is not JSON.
    """
    try:
        return EntryPage(_decode_good_entries(raw))
    except Misshapen:
        pieces = decode_pieces(raw)
    entries: list[Entry] = []
    bare: list[int] = []
    odd: list[tuple[int, str]] = []
    for place, piece in enumerate(pieces, start=1):
        try:
            entries.append(_read_entry(bytes(piece)))
        except Misshapen as error:
            try:
                bare.append(_decode_named(bytes(piece)).id)  # its record will tell the rest
            except Misshapen:
                odd.append((place, str(error)))
    return EntryPage(tuple(entries), tuple(bare), tuple(odd))


def _read_entry(raw: bytes) -> Entry:
    """Read an entry; where only what people are shown of it is odd, without that."""
    try:
        return _decode_entry(raw)
    except Misshapen:
        return Entry(**msgspec.structs.asdict(_decode_selected(raw)))


def read_article(raw: bytes, file_list: bytes | None = None) -> Article:
    """
    Read a record as figshare sent it; `file_list` is the whole list where the record cut it.

    Raises:
        Misshapen: it has another shape than documented.
        Broken: it is not JSON.
    """
    wire = _decode_record(raw)
    listed = _decode_files(file_list) if file_list is not None else wire.files
    structure = wire.folder_structure if isinstance(wire.folder_structure, dict) else {}
    files = tuple([_read_file(file, structure) for file in listed or ()])
    size = wire.size or 0
    is_whole = listed is not None and len(listed) < LISTED_FILES
    adds_up = sum([file.size for file in files]) == size
    withheld = _withheld(wire)
    return Article(
        id=wire.id,
        doi=wire.doi or "",
        modified_date=wire.modified_date or "",
        size=size,
        files=files,
        files_complete=file_list is not None or (is_whole and (adds_up or bool(withheld))),
        withheld=withheld,
        version=_version(wire.version),
    )


def read_description(raw: bytes) -> Description:
    """
    Read what tables show of a record.

    Raises what `read_article` raises, but not for a record that it has read.
    """
    wire = _decode_described(raw)
    return Description(
        title=wire.title or "",
        doi=wire.doi or "",
        type=wire.defined_type_name or "",
        created_date=wire.created_date or "",
        published_date=wire.published_date or "",
        modified_date=wire.modified_date or "",
        licence=(wire.license and wire.license.name) or "",
        group_id=wire.group_id,
        authors=tuple([author.full_name or "" for author in wire.authors or ()]),
        categories=tuple([category.title or "" for category in wire.categories or ()]),
    )


def _version(told: object) -> int:
    """Return the number of a version, 0 for what is none."""
    return told if isinstance(told, int) and not isinstance(told, bool) and 0 < told < 2**31 else 0


def _withheld(wire: _Record) -> str:
    if wire.is_confidential:
        return "confidential"
    if wire.is_embargoed:
        return "embargo"
    if wire.download_disabled:
        return "downloads disabled"
    return "metadata only" if wire.is_metadata_record else ""


def _read_file(wire: _File, structure: Mapping[str, str | None]) -> RemoteFile:
    return RemoteFile(
        id=wire.id,
        name=wire.name or "",
        folder=(structure.get(str(wire.id)) or "").strip("/") if structure else "",
        size=wire.size or 0,
        md5=_md5(wire.computed_md5) or _md5(wire.supplied_md5),
        url=wire.download_url or "",
        is_link=bool(wire.is_link_only),
    )


def _md5(text: str | None) -> str | None:
    """Return an md5 as it is written here, None for what is none."""
    return text.lower() if text and _MD5.fullmatch(text) else None
