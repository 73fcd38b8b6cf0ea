"""
What nginx serves: records, totals, listings and files, written down once.

Items have the records that the sandbox writes, brought to the size of real ones; odd items are excluded,
so that every item costs the same.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harvester.sandbox.catalogue import Addresses
from harvester.sandbox.item import Item
from harvester.sandbox.records import entry_of, record_of

PAGE_SIZE = 1000
RECORD_SIZE = 8_700
"""Bytes of a record, as figshare's are in the middle."""
FIRST_ID, STEP = 5_000_001, 3
FILES_AN_ITEM = 100
_BLOCK = 1 << 20


@dataclass(frozen=True)
class World:
    """
    Items to be served.

    ``files`` an item of ``file_size`` bytes each; ``has_files``: their bytes are there too, not their
    mention in the records alone.
    """

    items: int
    files: int = 1
    file_size: int = 20_000
    has_files: bool = False

    @property
    def ids(self) -> range:
        return range(FIRST_ID, FIRST_ID + STEP * self.items, STEP)

    @property
    def file_ids(self) -> list[int]:
        return [item_id * FILES_AN_ITEM + place for item_id in self.ids for place in range(self.files)]

    @property
    def pages(self) -> int:
        return max(1, -(-self.items // PAGE_SIZE))

    def next_pages(self) -> dict[int, int]:
        """Which page a page's cursor leads to; a single full page has one, so that its end can be known."""
        following = {page: page + 1 for page in range(1, self.pages)}
        return {1: 2} if self.items == PAGE_SIZE else following

    def write(self, root: Path, at: Addresses) -> None:
        """Write everything into an empty folder; `at`: where it will be served."""
        for name in ("records", "lists", "files", "listing"):
            (root / name).mkdir()
        page: list[dict[str, Any]] = []
        for number, item_id in enumerate(self.ids):
            item = Item(item_id, number)
            self._write_item(root, item, at)
            page.append(entry_of(item, at))
            if len(page) == PAGE_SIZE or number + 1 == self.items:
                (root / f"listing/{1 + number // PAGE_SIZE}.json").write_bytes(orjson.dumps(page))
                page = []
        (root / "listing/empty.json").write_bytes(b"[]")
        (root / "total.json").write_bytes(b'{"totals": 7}')

    def _write_item(self, root: Path, item: Item, at: Addresses) -> None:
        files = [self._write_file(root, item.id, place, at) for place in range(self.files)]
        (root / f"lists/{item.id}.json").write_bytes(orjson.dumps(files))
        record = record_of(item, files, at, private=True, whole=False)
        lacking = RECORD_SIZE - len(orjson.dumps(record))
        record["description"] += "<p>" + "Notes on units. " * max(0, lacking // 16) + "</p>"
        (root / f"records/{item.id}.json").write_bytes(orjson.dumps(record))

    def _write_file(self, root: Path, item_id: int, place: int, at: Addresses) -> dict[str, Any]:
        file_id = item_id * FILES_AN_ITEM + place
        md5 = "0" * 32
        if self.has_files:
            proof = hashlib.md5(usedforsecurity=False)
            with (root / f"files/{file_id}").open("wb") as out:
                for piece in _pieces(file_id, self.file_size):
                    proof.update(piece)
                    out.write(piece)
            md5 = proof.hexdigest()
        return {
            "id": file_id,
            "name": f"file_{place}.bin",
            "size": self.file_size,
            "is_link_only": False,
            "download_url": f"{at.files}/files/{file_id}",
            "supplied_md5": md5,
            "computed_md5": md5,
            "mimetype": "application/octet-stream",
        }

    def record_addresses(self, at: Addresses) -> list[str]:
        return [f"{at.api}/articles/{item_id}" for item_id in self.ids]

    def total_addresses(self, at: Addresses) -> list[str]:
        return [
            f"{at.stats}/total/{counter}/article/{item_id}"
            for item_id in self.ids
            for counter in ("views", "downloads")
        ]

    def file_addresses(self, at: Addresses) -> list[str]:
        return [f"{at.files}/files/{file_id}" for file_id in self.file_ids]


def _pieces(seed: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes that no compression and no deduplication helps with."""
    block = random.Random(seed).randbytes(min(size, _BLOCK))
    for number in range(-(-size // _BLOCK)):
        piece = number.to_bytes(8, "big") + block[8:] if number else block
        yield piece[: size - number * _BLOCK]
