"""
The data of the sandbox: everything follows from the seed and an item's number, so a million cost nothing.

Public item number i has the id 5000001 + 3 i, private ones begin at 9000000001; the k-th file of an item has
the id item × 100 + k. Every fiftieth item has the same peculiarity (`TRAITS`), as records in the wild do.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from harvester.sandbox.query import parse
from harvester.sandbox.settings import Settings

Json = dict[str, Any]

PUBLIC_FROM, PRIVATE_FROM, STEP = 5_000_001, 9_000_000_001, 3
FILES_AN_ITEM = 100
LISTED_FILES = 10
BLOCK = 1 << 20
INSTITUTION = 319
CATEGORIES = (
    (1001, "Digital Humanities"),
    (1002, "Environmental Humanities"),
    (1003, "Physical oceanography"),
    (1004, "Marine biology"),
    (1005, "Data structures"),
    (1006, "Soil sciences"),
    (1007, "History of science"),
)
GROUPS = (
    (11960, 0, "Institution"),
    (11962, 11960, "Agriculture"),
    (11963, 11962, "Crops"),
    (11964, 11962, "Soil"),
    (11970, 11960, "Arts"),
)
TYPES = ((3, "dataset"), (1, "figure"), (9, "software"), (8, "thesis"), (7, "presentation"))
TRAITS: Mapping[int, str] = {
    1: "heavy",
    3: "equal names",
    5: "names alike",
    7: "many files",
    8: "hostile names",
    11: "link",
    13: "empty file",
    17: "supplied md5 only",
    18: "no md5",
    21: "metadata record",
    23: "embargo",
    24: "confidential",
    27: "downloads disabled",
    29: "odd title",
    31: "ten files",
    32: "many files in folders",
    37: "unknown to stats",
    41: "nulls",
    43: "files null",
}
HOSTILE = (
    "../../etc/passwd",
    "con.txt",
    "a\x1b[31mb\n.csv",
    "ü" * 150 + ".txt",
    "trailing.",
    "=1+2.csv",
    "C:\\x",
    "..",
)
TITLES = (
    '=HYPERLINK("https://example.org";"click")',
    'commas, "quotes"\nand a line break',
    "数据集 данные بيانات",
    "\x1b[31mred\x1b[0m title",
    "@mention",
    "-1",
)
OWNERS_VIEW = {
    "viewer_type": "",
    "preview_state": "preview not available",
    "upload_url": "",
    "upload_token": "",
    "is_attached_to_public_version": False,
    "status": "available",
}
_BEGIN = datetime(2015, 1, 1)  # noqa: DTZ001 - written with a Z
_EDITED = datetime(2035, 1, 1)  # noqa: DTZ001


@dataclass
class Addresses:
    """Where the four services are; filled in once their sockets stand."""

    api: str = "http://127.0.0.1:0/v2"
    stats: str = "http://127.0.0.1:0"
    files: str = "http://127.0.0.1:0"
    storage: str = "http://127.0.0.1:0"


class World:
    """The truth that a harvest is compared with. No I/O."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.at = Addresses()
        self.generation = 0
        self._items = settings.items
        self._versions: dict[int, int] = {}
        self._edits: dict[int, int] = {}
        self._withdrawn: set[int] = set()
        self._found: dict[Any, Sequence[int]] = {}

    # -- what there is ------------------------------------------------------------------------------

    @property
    def public_ids(self) -> Sequence[int]:
        """Ids of all public items, oldest first."""
        return self.select({})

    @property
    def account_ids(self) -> Sequence[int]:
        """Ids that the token's account lists: its private items, and the first twenty public ones."""
        own = range(PRIVATE_FROM, PRIVATE_FROM + STEP * self.settings.private_items, STEP)
        return [*own, *self.public_ids[:20]]

    def group_items(self, group_id: int) -> Sequence[int]:
        return self.select({"group": group_id})

    def search(self, query: str) -> Sequence[int]:
        return self.select({"search_for": query})

    def with_trait(self, trait: str) -> list[int]:
        """Ids of the public items with this peculiarity."""
        return [item_id for item_id in self.public_ids if self.trait(item_id) == trait]

    def is_private(self, item_id: int) -> bool:
        return item_id >= PRIVATE_FROM

    def exists(self, item_id: int) -> bool:
        if self.is_private(item_id):
            number, rest = divmod(item_id - PRIVATE_FROM, STEP)
            return rest == 0 and number < self.settings.private_items
        number, rest = divmod(item_id - PUBLIC_FROM, STEP)
        return rest == 0 and 0 <= number < self._items and item_id not in self._withdrawn

    def number(self, item_id: int) -> int:
        begin = PRIVATE_FROM if self.is_private(item_id) else PUBLIC_FROM
        return (item_id - begin) // STEP

    def trait(self, item_id: int) -> str:
        number = self.number(item_id)
        trait = TRAITS.get(number % 50, "")
        if self.is_private(item_id) or (trait == "heavy" and number // 50 >= self.settings.heavy):
            return ""
        return trait

    # -- changes between two runs -------------------------------------------------------------------

    def edit(self, item_id: int) -> None:
        """Publish a new version: another title, a newer date, its first file replaced."""
        self._versions[item_id] = self.version(item_id) + 1
        self.generation += 1
        self._edits[item_id] = self.generation

    def withdraw(self, item_id: int) -> None:
        """Unpublish an item."""
        self._withdrawn.add(item_id)
        self.generation += 1

    def publish(self, number: int) -> None:
        """Add new items, newer than all others."""
        self._items += number
        self.generation += 1

    def version(self, item_id: int) -> int:
        return self._versions.get(item_id, 1)

    # -- listings -----------------------------------------------------------------------------------

    def select(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        """Ids of the public items that match, oldest first; unknown criteria are ignored."""
        key = (self.generation, tuple(sorted((name, str(value)) for name, value in criteria.items())))
        if key not in self._found:
            if len(self._found) > 64:
                self._found.clear()
            self._found[key] = self._select(criteria)
        return self._found[key]

    def _select(self, criteria: Mapping[str, Any]) -> Sequence[int]:
        ids: Sequence[int] = range(PUBLIC_FROM, PUBLIC_FROM + STEP * self._items, STEP)
        tests: list[Callable[[int], bool]] = []
        if self._withdrawn:
            tests.append(lambda item_id: item_id not in self._withdrawn)
        if (group := criteria.get("group")) is not None:
            places = [place for place, (number, *_) in enumerate(GROUPS) if number == int(group)]
            ids = ids[places[0] :: len(GROUPS)] if places else ids[:0]
        if criteria.get("institution") not in {None, INSTITUTION, str(INSTITUTION)}:
            ids = ids[:0]
        if query := criteria.get("search_for"):
            matches = parse(str(query))
            tests.append(lambda item_id: matches(self.attributes(item_id)))
        tests += self._field_tests(criteria)
        if not tests:
            return ids
        return array("q", (item_id for item_id in ids if all(test(item_id) for test in tests)))

    def _field_tests(self, criteria: Mapping[str, Any]) -> list[Callable[[int], bool]]:
        tests: list[Callable[[int], bool]] = []
        if (kind := criteria.get("item_type")) is not None:
            tests.append(lambda item_id: TYPES[self.number(item_id) % len(TYPES)][0] == int(kind))
        if since := criteria.get("published_since"):
            tests.append(lambda item_id: self.published(item_id) >= str(since))
        if changed := criteria.get("modified_since"):
            tests.append(lambda item_id: self.modified(item_id) >= str(changed))
        if doi := criteria.get("doi"):
            tests.append(lambda item_id: self.doi(item_id) == str(doi))
        return tests

    def attributes(self, item_id: int) -> dict[str, str]:
        """What a search looks at."""
        number = self.number(item_id)
        return {
            "category": CATEGORIES[number % len(CATEGORIES)][1],
            "title": self.title(item_id),
            "tag": f"tag{number % 9}",
            "author": f"Author {number % 13}",
            "item_type": TYPES[number % len(TYPES)][1],
            "group": str(GROUPS[number % len(GROUPS)][0]),
            "doi": self.doi(item_id),
            "published_date": self.published(item_id),
        }

    # -- one item -----------------------------------------------------------------------------------

    def title(self, item_id: int) -> str:
        number = self.number(item_id)
        edited = f" (version {self.version(item_id)})" if self.version(item_id) > 1 else ""
        if self.trait(item_id) == "odd title":
            return TITLES[number // 50 % len(TITLES)] + edited
        subject = CATEGORIES[number % len(CATEGORIES)][1].lower()
        return f"Research data {number} from the {subject} survey{edited}"

    def doi(self, item_id: int) -> str:
        if self.is_private(item_id):
            return ""
        prefix = "10.25380/iastate" if self.number(item_id) % 4 == 0 else "10.6084/m9.figshare"
        return f"{prefix}.{item_id}.v{self.version(item_id)}"

    def published(self, item_id: int) -> str:
        return _written(_BEGIN + timedelta(seconds=300 * self.number(item_id)))

    def modified(self, item_id: int) -> str:
        if item_id in self._edits:
            return _written(_EDITED + timedelta(days=self._edits[item_id]))
        return _written(_BEGIN + timedelta(seconds=300 * self.number(item_id), days=self.number(item_id) % 3))

    def entry(self, item_id: int) -> Json:
        """An item as listings show it."""
        number, private = self.number(item_id), self.is_private(item_id)
        kind, kind_name = TYPES[number % len(TYPES)]
        path = f"articles/{item_id}"
        html = f"https://figshare.com/articles/{kind_name}/Research_data_{number}/{item_id}"
        published = self.published(item_id)
        return {
            "id": item_id,
            "title": self.title(item_id),
            "doi": self.doi(item_id),
            "handle": "",
            "url": f"{self.at.api}/{path}",
            "published_date": None if private else published,
            "thumb": "",
            "defined_type": kind,
            "defined_type_name": kind_name,
            "group_id": 0 if number % 4 else GROUPS[number % len(GROUPS)][0],
            "url_private_api": f"{self.at.api}/account/{path}",
            "url_public_api": f"{self.at.api}/{path}",
            "url_private_html": f"https://figshare.com/account/{path}",
            "url_public_html": html,
            "timeline": {}
            if private
            else {"posted": published[:-1], "firstOnline": published[: 10 if number % 3 else -1]},
            "resource_title": "",
            "resource_doi": "",
            "created_date": published,
            "modified_date": self.modified(item_id),
        }

    def record(self, item_id: int, *, private: bool = False, whole: bool = False) -> Json:
        """
        An item's record as the api sends it: at most ten files, all of them when `whole`.

        `private`: as the account's endpoint sends it, with more fields.
        """
        number, trait = self.number(item_id), self.trait(item_id)
        files = self.files(item_id, private=private)
        record: Json = {
            "files": files if whole else files[:LISTED_FILES],
            "custom_fields": [_custom_field()] if number % 4 == 0 else [],
            "authors": [_author(number), _author(number + 5)],
            "figshare_url": f"https://figshare.com/articles/{TYPES[number % 5][1]}/x/{item_id}",
            "download_disabled": trait == "downloads disabled",
            "description": _description(number),
            "funding": None,
            "funding_list": [],
            "version": self.version(item_id),
            "status": "draft" if self.is_private(item_id) else "public",
            "size": sum(file["size"] for file in files),
            "is_public": not self.is_private(item_id),
            "is_confidential": trait == "confidential",
            "is_metadata_record": trait == "metadata record",
            "confidential_reason": "agreement" if trait == "confidential" else "",
            "metadata_reason": "",
            "license": {
                "value": 1,
                "name": "CC BY 4.0",
                "url": "https://creativecommons.org/licenses/by/4.0/",
            },
            "tags": [f"tag{number % 9}", "survey", "open data"],
            "categories": [_category(number % len(CATEGORIES))],
            "references": [f"https://example.org/reference/{number}"],
            "has_linked_file": trait == "link",
            "citation": f"Author {number % 13} ({self.published(item_id)[:4]}). {self.title(item_id)}.",
            "related_materials": [],
            "is_embargoed": trait == "embargo",
            "embargo_date": "2040-01-01T00:00:00Z" if trait == "embargo" else None,
            "embargo_type": "file",
            "embargo_title": "",
            "embargo_reason": "",
            "embargo_options": [],
            **self.entry(item_id),
        }
        record.update(group_id=record["group_id"] or None, resource_title=None, resource_doi=None)
        if number % 3 == 0:
            record["keywords"] = record["tags"]
        folders = {
            str(file["id"]): folder
            for file, folder in zip(files, self._folders(item_id, files), strict=True)
            if folder
        }
        if folders or number % 2:
            record["folder_structure"] = folders
        if trait == "nulls":
            record.update(description=None, references=None, license=None, categories=None, tags=None)
        if trait == "files null" and not whole:
            record["files"] = None
        if private:
            record.update(account_id=1000001, curation_status="approved", group_resource_id="")
        return record

    def totals(self, item_id: int) -> dict[str, int]:
        """The counters of an item; {} for one that the statistics have never seen."""
        if not self.exists(item_id) or self.is_private(item_id) or self.trait(item_id) == "unknown to stats":
            return {}
        number = self.number(item_id)
        return {"views": number * 7 % 5000, "downloads": number * 3 % 900, "shares": number % 4}

    # -- files --------------------------------------------------------------------------------------

    def files(self, item_id: int, *, private: bool = False) -> list[Json]:
        """Every file of an item, as its file list shows it to the public or to its owner."""
        files = _files(self, item_id, self.version(item_id), self.at.files)
        return [{**file, **OWNERS_VIEW} if private else file for file in files]

    def file(self, file_id: int) -> Json | None:
        """The file with this id, None where there is none (any more)."""
        item_id = file_id // FILES_AN_ITEM
        if not self.exists(item_id):
            return None
        return next((file for file in self.files(item_id) if file["id"] == file_id), None)

    def is_withheld(self, item_id: int) -> bool:
        return self.trait(item_id) in {"embargo", "confidential", "downloads disabled"}

    def size(self, file_id: int) -> int:
        file = self.file(file_id)
        return file["size"] if file else 0

    def content(self, file_id: int) -> bytes:
        """The bytes of a file."""
        return b"".join(self.pieces(file_id, 0))

    def pieces(self, file_id: int, begin: int) -> Iterator[bytes]:
        """The bytes of a file from `begin` on, a megabyte at a time."""
        return _pieces(self.settings.seed, file_id, self.size(file_id), begin)

    def _folders(self, item_id: int, files: Sequence[Json]) -> list[str]:
        if self.trait(item_id) != "many files in folders":
            return [""] * len(files)
        return [("", "raw", "raw/2024", "../up")[place % 4] for place in range(len(files))]

    def make_files(self, item_id: int) -> Iterator[Json]:
        chance = random.Random(f"{self.settings.seed} files {item_id}")
        trait, number = self.trait(item_id), self.number(item_id)
        names = _names(trait, number, chance)
        for place, name in enumerate(names):
            version = self.version(item_id) if place == 0 else 1
            file_id = item_id * FILES_AN_ITEM + (place if version == 1 else 100 - version)
            size = int(200 * 200 ** chance.random())
            if trait == "heavy":
                size = self.settings.heavy_size
            if trait == "empty file" and place == 0:
                size = 0
            if trait == "link" and place == 0:
                yield _file(file_id, name, 0, "", f"https://example.org/data/{number}", is_link=True)
                continue
            md5 = _md5(self.settings.seed, file_id, size)
            file = _file(file_id, name, size, md5, f"{self.at.files}/files/{file_id}")
            if trait in {"supplied md5 only", "no md5"}:
                file["computed_md5"] = ""
            if trait == "no md5":
                file["supplied_md5"] = ""
            yield file


@lru_cache(maxsize=4096)
def _files(world: World, item_id: int, version: int, address: str) -> tuple[Json, ...]:
    del version, address  # they are part of the key
    return tuple(world.make_files(item_id))


def _names(trait: str, number: int, chance: random.Random) -> list[str]:
    suffixes = ("csv", "txt", "zip", "png", "html")
    if trait == "metadata record":
        return []
    if trait == "equal names":
        return ["data.csv", "data.csv", "readme.txt"]
    if trait == "names alike":
        return ["Data.csv", "data.csv", "caf\u00e9.txt", "cafe\u0301.txt"]
    if trait == "hostile names":
        return list(HOSTILE)
    if trait == "heavy":
        return ["heavy.bin"]
    count = {
        "ten files": 10,
        "many files": 11 + number // 50 % 30,
        "many files in folders": 12 + number // 50 % 29,
    }
    return [
        f"file_{place:02}.{suffixes[chance.randrange(len(suffixes))]}"
        for place in range(count.get(trait, 1 + chance.randrange(4)))
    ]


def _file(file_id: int, name: str, size: int, md5: str, url: str, *, is_link: bool = False) -> Json:
    return {
        "id": file_id,
        "name": name,
        "size": size,
        "is_link_only": is_link,
        "download_url": url,
        "supplied_md5": md5,
        "computed_md5": md5,
        "mimetype": "" if is_link else "application/octet-stream",
    }


@lru_cache(maxsize=8192)
def _md5(seed: int, file_id: int, size: int) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in _pieces(seed, file_id, size, 0):
        md5.update(piece)
    return md5.hexdigest()


def _pieces(seed: int, file_id: int, size: int, begin: int) -> Iterator[bytes]:
    """One random megabyte, repeated; each repetition begins with its own number."""
    if begin >= size:
        return
    block = random.Random(f"{seed} content {file_id}").randbytes(min(size, BLOCK))
    while begin < size:
        number, offset = divmod(begin, BLOCK)
        piece = block if number == 0 else number.to_bytes(8, "big") + block[8:]
        end = min(BLOCK, size - number * BLOCK)
        yield piece[offset:end]
        begin = number * BLOCK + end


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


def _description(number: int) -> str:
    paragraph = (
        "<p>Measurements of the survey, taken at station <b>{0}</b>: 8° 38.743'N, 79° 2.887'W.<br></p>"
        "<div>Weekly profiles &amp; calibration notes; see the readme for units.</div>"
    )
    return "".join(paragraph.format(number + step) for step in range(4 + number % 5))


def _written(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"
