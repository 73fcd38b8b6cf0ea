"""Record writer: the JSON of an item, as a listing entry and as a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harvester.sandbox.catalogue import (
    CATEGORIES,
    LICENCES,
    LISTED_FILES,
    OWN_LICENCE,
    Addresses,
)
from harvester.sandbox.files import folders_of
from harvester.sandbox.item import Item

Json = dict[str, Any]


def licence(place: int) -> Json:
    """Return a licence as the API writes it; `place`: in `LICENCES`, or after its end an institution's."""
    value, name, url = LICENCES[place] if place < len(LICENCES) else OWN_LICENCE
    return {"value": value, "name": name, "url": url}


def entry_of(item: Item, at: Addresses) -> Json:
    """Return the listing entry of an item."""
    address = f"{at.api}/articles/{item.id}"
    own_address = f"{at.api}/account/articles/{item.id}"
    return {**item.listed, "url": address, "url_public_api": address, "url_private_api": own_address}


def record_of(
    item: Item, files: Sequence[Json], at: Addresses, *, private: bool, whole: bool, hides: str = ""
) -> Json:
    """
    Return an item's record as the API sends it, with at most ten files, or with all files if `whole`.

    `private`: as the account's endpoint sends it, with more fields. `hides`: see `Settings.hides_withheld`.
    """
    number = item.number
    record: Json = {
        "files": list(files if whole else files[:LISTED_FILES]),
        "custom_fields": [_custom_field()] if number % 4 == 0 else [],
        "authors": [_author(number), _author(number + 5)],
        "figshare_url": f"https://{item.host}/articles/{item.type[1]}/x/{item.id}",
        "download_disabled": item.trait == "downloads disabled",
        "description": _description(item),
        "funding": None,
        "funding_list": [],
        **_state(item, files),
        **_words(item),
        **_embargo(item),
        **entry_of(item, at),
    }
    record.update(group_id=record["group_id"] or None, resource_title=None, resource_doi=None)
    if number % 3 == 0:
        record["keywords"] = record["tags"]
    folders = {
        str(file["id"]): folder
        for file, folder in zip(files, folders_of(item, len(files)), strict=True)
        if folder
    }
    if folders or number % 2:
        record["folder_structure"] = folders
    _leave_out(item, record, whole=whole)
    if not private:
        _hide(item, record, hides)
    if private:
        record.update(account_id=item.account, curation_status="approved", group_resource_id="")
    return record


def _leave_out(item: Item, record: Json, *, whole: bool) -> None:
    """Set fields to null that are null in some real records."""
    if item.trait == "nulls":
        record.update(description=None, references=None, license=None, categories=None, tags=None)
    if item.trait == "files null" and not whole:
        record["files"] = None


def _hide(item: Item, record: Json, how: str) -> None:
    """Remove the files of a withheld item from its public record."""
    if how and item.is_withheld:
        record["files"] = []
        if how == "absent":
            del record["files"]


def _state(item: Item, files: Sequence[Json]) -> Json:
    return {
        "version": item.version,
        "status": "draft" if item.is_private or item.is_draft else "public",
        "size": sum(file["size"] for file in files if isinstance(file["size"], int)),
        "is_public": not item.is_private,
        "is_confidential": item.trait == "confidential",
        "is_metadata_record": item.trait == "metadata record",
        "confidential_reason": "agreement" if item.trait == "confidential" else "",
        "metadata_reason": "",
    }


def _words(item: Item) -> Json:
    return {
        "license": licence(len(LICENCES) if item.has_own_terms else item.number % len(LICENCES)),
        "tags": [f"tag{item.number % 9}", "survey", "open data"],
        "categories": [_category(item.number % len(CATEGORIES))],
        "references": [f"https://example.org/reference/{item.number}"],
        "has_linked_file": item.trait == "link",
        "citation": f"Author {item.number % 13} ({item.published[:4]}). {item.title}.",
        "related_materials": [],
    }


def _embargo(item: Item) -> Json:
    return {
        "is_embargoed": item.is_embargoed,
        "embargo_date": item.embargo_date if item.is_embargoed else None,
        "embargo_type": "file",
        "embargo_title": "",
        "embargo_reason": "",
        "embargo_options": [],
    }


def _author(number: int) -> Json:
    names = ("Ana María Núñez", "O'Brien, K.", "李 明", "Author")
    name = f"{names[number % 4]} {number % 13}" if number % 4 == 3 else names[number % 4]
    return {
        "id": 90000 + number % 13,
        "full_name": name,
        "is_active": True,
        "url_name": f"author_{number % 13}",
        "orcid_id": "" if number % 2 else f"0000-0002-1825-{number % 10000:04}",
    }


def _custom_field() -> Json:
    return {
        "name": "Method",
        "value": "survey",
        "is_mandatory": False,
        "field_type": "text",
        "order": 0,
        "settings": {},
    }


def _category(place: int) -> Json:
    number, title = CATEGORIES[place]
    return {
        "id": number,
        "title": title,
        "parent_id": 1000,
        "path": f"/1000/{number}",
        "source_id": str(370800 + place),
        "taxonomy_id": 100,
    }


def _description(item: Item) -> str:
    paragraph = (
        "<p>Measurements of the survey, taken at station <b>{0}</b>: 8° 38.743'N, 79° 2.887'W.<br></p>"
        "<div>Weekly profiles &amp; calibration notes; see the readme for units.</div>"
    )
    corrected = f"<p>Corrected, {item.corrections} in all.</p>" if item.corrections else ""
    paragraphs = (paragraph.format(item.number + step) for step in range(4 + item.number % 5))
    return "".join(paragraphs) + corrected
