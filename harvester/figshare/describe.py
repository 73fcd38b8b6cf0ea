"""Descriptive metadata of a record for package formats such as DataCite, RO-Crate and BagIt."""

from __future__ import annotations

from typing import Any

import msgspec

from harvester.errors import ConnectionFailed, InvalidResponse
from harvester.figshare.decoding import decoder
from harvester.figshare.lenient import Unclear, whole_number


class Creator(msgspec.Struct, frozen=True):
    """
    An author.

    ``name``: the full name.
    ``orcid``: such as 0000-0002-1825-0097, without an address before it; "" if none is given.
    """

    name: str
    orcid: str = ""


class Rights(msgspec.Struct, frozen=True):
    """
    The licence.

    ``name``: such as CC BY 4.0.
    ``uri``: the address of its text; "" if none is given.
    """

    name: str
    uri: str = ""


class Funding(msgspec.Struct, frozen=True):
    """
    One source of funding; "" for a value that is not given.

    ``funder``: its name.
    ``title``: of the grant, or the funding in the authors' words.
    ``grant_code``: the funder's own number of the grant.
    ``uri``: of the grant.
    """

    funder: str = ""
    title: str = ""
    grant_code: str = ""
    uri: str = ""


class RelatedIdentifier(msgspec.Struct, frozen=True):
    """
    Another work that the record refers to.

    ``identifier``: a DOI, address or other identifier.
    ``type``: DataCite's name of it, such as DOI or URL; "" if figshare gives none.
    ``relation``: DataCite's name of it, such as IsSupplementTo; "References" if figshare gives none.
    ``title``: "" if none is given.
    """

    identifier: str
    type: str = ""
    relation: str = "References"
    title: str = ""


class PackageMetadata(msgspec.Struct, frozen=True):
    """
    The metadata of an item for a package format; "", 0 or () for values that the record lacks.

    ``description``: HTML, as figshare sends it.
    ``version``: the number of the version, from 1.
    ``subjects``: the titles of its categories.
    ``keywords``: its tags.
    Dates are as figshare writes them.
    """

    id: int
    title: str = ""
    description: str = ""
    doi: str = ""
    handle: str = ""
    type: str = ""
    url: str = ""
    citation: str = ""
    version: int = 0
    created_date: str = ""
    published_date: str = ""
    modified_date: str = ""
    creators: tuple[Creator, ...] = ()
    subjects: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    rights: Rights | None = None
    funding: tuple[Funding, ...] = ()
    related: tuple[RelatedIdentifier, ...] = ()


class _Author(msgspec.Struct, frozen=True):
    full_name: str | None = None
    orcid_id: str | None = None


class _Titled(msgspec.Struct, frozen=True):
    title: str | None = None


class _Licence(msgspec.Struct, frozen=True):
    name: str | None = None
    url: str | None = None


class _Grant(msgspec.Struct, frozen=True):
    title: str | None = None
    funder_name: str | None = None
    grant_code: str | None = None
    url: str | None = None


class _Material(msgspec.Struct, frozen=True):
    identifier: str | None = None
    identifier_type: str | None = None
    relation: str | None = None
    title: str | None = None
    link: str | None = None


class _Wire(msgspec.Struct, frozen=True):
    """The keys of a record that are read here. All but the id may be null or absent."""

    id: int
    title: str | None = None
    description: str | None = None
    doi: str | None = None
    handle: str | None = None
    defined_type_name: str | None = None
    url_public_html: str | None = None
    citation: str | None = None
    version: Any = None
    created_date: str | None = None
    published_date: str | None = None
    modified_date: str | None = None
    authors: list[_Author | None] | None = None
    categories: list[_Titled | None] | None = None
    tags: list[str | None] | None = None
    keywords: list[str | None] | None = None
    license: _Licence | None = None
    funding: str | None = None
    funding_list: list[_Grant | None] | None = None
    references: list[str | None] | None = None
    related_materials: list[_Material | None] | None = None
    resource_doi: str | None = None
    resource_title: str | None = None


_decode = decoder(_Wire, may_be_odd=True)


def describe(raw: bytes) -> PackageMetadata:
    """Return the metadata in a record as figshare sent it; all fields are empty if it is unreadable."""
    try:
        wire = _decode(raw)
    except (ConnectionFailed, InvalidResponse):
        return PackageMetadata(0)
    return PackageMetadata(
        id=wire.id,
        title=wire.title or "",
        description=wire.description or "",
        doi=wire.doi or "",
        handle=wire.handle or "",
        type=wire.defined_type_name or "",
        url=wire.url_public_html or "",
        citation=wire.citation or "",
        version=_version(wire.version),
        created_date=wire.created_date or "",
        published_date=wire.published_date or "",
        modified_date=wire.modified_date or "",
        creators=_creators(wire),
        subjects=tuple(each.title for each in wire.categories or () if each and each.title),
        keywords=tuple(dict.fromkeys(tag for tag in wire.tags or wire.keywords or () if tag)),
        rights=Rights(wire.license.name, wire.license.url or "")
        if wire.license and wire.license.name
        else None,
        funding=_funding(wire),
        related=_related(wire),
    )


def _version(number: Any) -> int:
    try:
        return whole_number(number)
    except Unclear:
        return 0


def _creators(wire: _Wire) -> tuple[Creator, ...]:
    return tuple(
        Creator(author.full_name, (author.orcid_id or "").strip().rpartition("/")[2])
        for author in wire.authors or ()
        if author and author.full_name
    )


def _funding(wire: _Wire) -> tuple[Funding, ...]:
    """Return the grants, or the funding in the authors' words if the record lists no grant."""
    grants = tuple(
        Funding(each.funder_name or "", each.title or "", each.grant_code or "", each.url or "")
        for each in wire.funding_list or ()
        if each
    )
    return grants or ((Funding(title=wire.funding),) if wire.funding else ())


def _related(wire: _Wire) -> tuple[RelatedIdentifier, ...]:
    """Return each related work once: from the materials, then the publication, then the references."""
    found: dict[str, RelatedIdentifier] = {}
    for each in wire.related_materials or ():
        if each and (identifier := each.identifier or each.link):
            related = RelatedIdentifier(
                identifier, each.identifier_type or "", each.relation or "References", each.title or ""
            )
            found.setdefault(identifier, related)
    if doi := wire.resource_doi:
        found.setdefault(doi, RelatedIdentifier(doi, "DOI", "IsSupplementTo", wire.resource_title or ""))
    for address in wire.references or ():
        if address:
            found.setdefault(address, RelatedIdentifier(address, "URL"))
    return tuple(found.values())
