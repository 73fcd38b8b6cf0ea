"""Record decoder: JSON keys to models, for records, file lists and the lists of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, NamedTuple

import msgspec

from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decoding import decode_anything, decoder, strict_decoder
from harvester.figshare.lenient import Unclear, read_leniently, whole_number
from harvester.models import Article, Description, RemoteFile
from harvester.text.redaction import REDACTOR

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Ids and counters: numbers that a database can hold."""
Size = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Bytes of a file: JSON numbers are not exact beyond 9 petabytes."""
LISTED_FILES = 10
"""The most files that a record lists; the others are only in its file list."""


_DECIDE_ON_FILES = frozenset({"size", "is_link_only"})
"""The fields of a file, apart from its id, that decide whether and how it is fetched."""
_DAY = re.compile(r"\s*(\d{4})[-/]?(\d{1,2})[-/]?(\d{1,2})(?!\d)")
_MD5 = re.compile("[0-9a-fA-F]{32}")


METADATA_ONLY = "metadata only"
"""The reason why an item has no downloads: it never had files."""


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
    """The keys of a record that tables show. All but the id may be null or absent, also in nested structs."""

    id: Natural
    title: str | None = None
    doi: str | None = None
    defined_type_name: str | None = None
    created_date: str | None = None
    published_date: str | None = None
    modified_date: str | None = None
    license: Licence | None = None
    group_id: Natural | None = None
    authors: list[_Author | None] | None = None
    categories: list[_Category | None] | None = None


class _Record(_Described, frozen=True):
    """The keys of a record that the harvest reads."""

    version: Any = None  # read if it is a number: else the record is still useful
    size: Natural | None = None
    files: list[_File] | None = None
    folder_structure: dict[str, str | None] | list[None] | None = None  # [] when there are none
    is_metadata_record: bool | None = None
    is_embargoed: bool | None = None
    embargo_date: Any = None
    status: Any = None
    is_public: bool | None = None
    is_confidential: bool | None = None
    download_disabled: bool | None = None


class Account(msgspec.Struct, frozen=True):
    id: Natural
    institution_id: Natural | None = None


class Version(msgspec.Struct, frozen=True):
    version: Natural


class Group(msgspec.Struct, frozen=True):
    id: Natural
    parent_id: Natural | None = None


_decode_record = strict_decoder(_Record)
_decode_described = decoder(_Described, may_be_odd=True)
_decode_files = strict_decoder(list[_File])
decode_raw_list = strict_decoder(list[msgspec.Raw], as_sent=True)
decode_groups = decoder(list[Group])
decode_licences = decoder(list[Licence], may_be_odd=True)
decode_types = decoder(list[ItemType], may_be_odd=True)
decode_versions = decoder(list[Version])
decode_account = decoder(Account, may_be_odd=True)


class _Read(NamedTuple):
    """
    A record with unexpected values, whose files were read one by one.

    ``listed``: the readable files, None if it lists none.
    ``odd_files``: what is wrong with the others.
    ``odd``: fields without a clear meaning.
    """

    wire: _Record
    listed: list[_File] | None
    odd_files: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


def _read_record_leniently(raw: bytes, error: InvalidResponse) -> _Read:
    """Return a record that the strict decoder rejected; each unexpected value but the id is dropped alone."""
    fields = decode_anything(raw)
    if not isinstance(fields, dict):
        raise error
    files = fields.get("files")
    try:
        if not isinstance(files, list):
            wire, odd = read_leniently(fields, _Record)
            return _Read(wire, None, odd=odd)
        wire, odd = read_leniently({**fields, "files": None}, _Record)
    except Unclear as unclear:
        raise error from unclear
    listed, odd_files, odd_in_files = _read_each(files)
    return _Read(wire, listed, odd_files, (*odd, *odd_in_files))


def _read_file_list(raw: bytes) -> tuple[list[_File], tuple[str, ...], tuple[str, ...]]:
    """Return a file list as `_read_each` does."""
    try:
        return _decode_files(raw), (), ()
    except InvalidResponse:
        raw_list = decode_anything(raw)
        if not isinstance(raw_list, list):
            raise
    return _read_each(raw_list)


def _read_each(raw_list: list[Any]) -> tuple[list[_File], tuple[str, ...], tuple[str, ...]]:
    """
    Return the readable files, what is wrong with the others, and the unclear fields
    of the readable ones.
    """
    listed: list[_File] = []
    wrong: list[str] = []
    fields: list[str] = []
    for place, each in enumerate(raw_list, start=1):
        try:
            file, odd = read_leniently(each, _File)
        except Unclear as unclear:
            wrong.append(f"file {place} of its list: {unclear}")
            continue
        if decisive := sorted(_DECIDE_ON_FILES.intersection(odd)):
            wrong.append(f"file {place} of its list, id {file.id}: unclear {', '.join(decisive)}")
            continue
        listed.append(file)
        fields += [f"files[{place}].{name}" for name in odd]
    return listed, tuple(wrong), tuple(fields)


def read_article(raw: bytes, file_list: bytes | None = None) -> Article:
    """
    Return a record as figshare sent it; `file_list`: the whole list if the record's own was cut.

    Raises:
        InvalidResponse: its JSON is not as documented.
        ConnectionFailed: it is not JSON.
    """
    read = _read_record(raw)
    if file_list is not None:
        listed, odd_files, odd_in_list = _read_file_list(file_list)
        odd = [name for name in read.odd if not name.startswith("files")]
        read = read._replace(listed=listed, odd_files=odd_files, odd=(*odd, *odd_in_list))
    wire, listed_files = read.wire, read.listed or ()
    structure = wire.folder_structure if isinstance(wire.folder_structure, dict) else {}
    files = tuple([_read_file(file, structure) for file in listed_files])
    total = sum([file.size for file in files])
    withheld = _withheld(wire)
    is_complete = total == (wire.size or 0) or bool(withheld)
    return Article(
        id=wire.id,
        doi=wire.doi or "",
        modified_date=wire.modified_date or "",
        size=total if wire.size is None else wire.size,
        files=files,
        files_complete=file_list is not None or (_lists_all(read) and is_complete),
        withheld=withheld,
        version=_version(wire.version),
        odd_fields=read.odd,
        odd_files=read.odd_files,
        sums_differ=tuple([line for file in listed_files if (line := _sums(file))]),
        embargo_until=_embargo_until(wire),
        draft_of=_draft_of(wire),
    )


def _read_record(raw: bytes) -> _Read:
    try:
        wire = _decode_record(raw)
    except InvalidResponse as error:
        return _read_record_leniently(raw, error)
    return _Read(wire, wire.files)


def _lists_all(read: _Read) -> bool:
    """Return whether a record lists all of its files; a list of ten may be cut."""
    return read.listed is not None and not read.odd_files and len(read.listed) < LISTED_FILES


def read_description(raw: bytes) -> Description:
    """Return the fields that tables show; none if another release stored a record that is unreadable now."""
    try:
        wire = _decode_described(raw)
    except (ConnectionFailed, InvalidResponse):
        wire = _Described(0)
    return Description(
        title=wire.title or "",
        doi=wire.doi or "",
        type=wire.defined_type_name or "",
        created_date=wire.created_date or "",
        published_date=wire.published_date or "",
        modified_date=wire.modified_date or "",
        licence=(wire.license and wire.license.name) or "",
        group_id=wire.group_id,
        authors=tuple([author.full_name or "" for author in wire.authors or () if author is not None]),
        categories=tuple([each.title or "" for each in wire.categories or () if each is not None]),
    )


def _version(value: object) -> int:
    """Return the number of a version, 0 for any other value."""
    try:
        number = whole_number(value)
    except Unclear:
        return 0
    return number if 0 < number < 2**31 else 0


def _embargo_until(wire: _Record) -> str:
    """Return when an embargo ends: ten past midnight UTC of its date, as figshare documents."""
    is_known = wire.is_embargoed and isinstance(wire.embargo_date, str | int)
    found = _DAY.match(str(wire.embargo_date)) if is_known else None
    try:
        return f"{date(*map(int, found.groups()))}T00:10:00Z" if found else ""
    except ValueError:
        return ""


def _draft_of(wire: _Record) -> int:
    """Return the version that an unpublished edit belongs to, -1 if it is unknown, 0 for no edit."""
    is_published = bool(wire.is_public or wire.published_date)
    return (_version(wire.version) or -1) if wire.status == "draft" and is_published else 0


def _withheld(wire: _Record) -> str:
    if wire.is_confidential:
        return "confidential"
    if wire.is_embargoed:
        return "embargo"
    if wire.download_disabled:
        return "downloads disabled"
    return METADATA_ONLY if wire.is_metadata_record else ""


def _read_file(wire: _File, structure: Mapping[str, str | None]) -> RemoteFile:
    return RemoteFile(
        id=wire.id,
        name=wire.name or "",
        folder=(structure.get(str(wire.id)) or "").strip("/") if structure else "",
        size=wire.size or 0,
        md5=_md5(wire.computed_md5) or _md5(wire.supplied_md5),
        url=REDACTOR.text(wire.download_url or ""),
        is_link=bool(wire.is_link_only),
    )


def _sums(wire: _File) -> str:
    """Return how the uploader's md5 differs from figshare's own, "" if it does not."""
    if wire.supplied_md5 == wire.computed_md5:  # most are equal: saves two regex matches a file
        return ""
    supplied, computed = _md5(wire.supplied_md5), _md5(wire.computed_md5)
    if supplied is None or computed is None or supplied == computed:
        return ""
    return f"file {wire.id}: supplied_md5 is {supplied}, computed_md5 is {computed}"


def _md5(text: str | None) -> str | None:
    """Return an md5 in lower case, None for any other text."""
    return text.lower() if text and _MD5.fullmatch(text) else None
