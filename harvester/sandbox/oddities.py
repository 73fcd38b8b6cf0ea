"""Odd records: valid data with values of undocumented types, and texts of real records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

WRONG_MD5 = "0" * 32
"""An md5 in a record that is not that of the file."""
WORDS = 'Two\nlines,\ta tab,\x0ca form feed,\x85 a C1 line <i>and</i> <p dir="rtl">עברית</p>'


def odd_fields(kind: str, record: Json) -> Json:
    """Return the fields that replace those of a record, for an odd kind."""
    files = [file["id"] for file in record["files"] or ()]
    odd: Mapping[str, Json] = {
        "odd-fields": {
            "title": ["in", "a", "list"],
            "doi": 10.6084,
            "defined_type_name": {"name": "dataset"},
            "created_date": 20240101,
            "published_date": {"date": "2024-01-01"},
            "license": [1],
            "group_id": "group",
            "authors": "nobody",
            "categories": {"1": "Soil"},
            "folder_structure": {str(file_id): 7 for file_id in files},
            "download_disabled": "perhaps",
            "size": "big",
        },
        "odd-lists": {
            "version": "1",
            "license": "CC BY 4.0",
            "authors": ["Ana Núñez", None, {"full_name": 7}, {"full_name": "O'Brien, K."}, 9],
            "categories": [None, {"title": "Soil"}, "Crops", {}],
        },
        "odd-words": {
            "title": WORDS,
            "authors": [
                {**record["authors"][0], "full_name": name} for name in ("A; B", 'C "D"', "E\nF", "G")
            ],
            "categories": [
                {**record["categories"][0], "title": title}
                for title in ("Sounds and echoes; ripples", '"Quoted"', "Soil", " ")
            ],
            "custom_fields": [
                {"name": "Sites; all", "value": ["one\x0c", "two\x9b"]},
                {"name": "Note", "value": WORDS},
            ],
            "funding_list": [{"id": 1, "title": "F", "funder_name": None, "is_user_defined": 1}],
        },
    }
    return odd.get(kind, {})


def odd_files(kind: str, files: Sequence[Json]) -> list[Json]:
    """Return the files of an item, for an odd kind."""
    if kind == "odd-file":
        return [files[0], {**files[1], "size": "big"}, {**files[2], "id": "third"}, files[3]]
    if kind == "untold-size":
        return [{**files[0], "size": None}, *files[1:]]
    if kind == "odd-words":
        link = {"size": 0, "is_link_only": True, "computed_md5": "", "supplied_md5": "", "mimetype": ""}
        return [*files[:-1], {**files[-1], **link, "download_url": "http://192.0.2.7/data"}]
    if kind == "sums-differ":
        return [{**files[0], "supplied_md5": WRONG_MD5}, *files[1:]]
    return list(files)


def loosen(value: Any, variant: int) -> Any:
    """
    Return JSON with the same meaning in other types: booleans as 0 and 1, numbers as text or as floats.

    `variant`: which of the types, so that each occurs.
    """
    if isinstance(value, dict):
        return {key: loosen(each, variant) for key, each in value.items()}
    if isinstance(value, list):
        return [loosen(each, variant) for each in value]
    if isinstance(value, bool):
        return (int(value), str(int(value)), str(value).lower())[variant % 3]
    if isinstance(value, int):
        return (str(value), float(value), f" {value} ")[variant % 3]
    return value
