"""Files: the files of an item and their bytes, computed from the seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from harvester.sandbox.catalogue import FILES_AN_ITEM, NAMES
from harvester.sandbox.item import Item

BLOCK = 1 << 20
UPLOADED = 40
"""The id of a file that a version adds ends with this plus the number of the version."""
_SUFFIXES = ("csv", "txt", "zip", "png", "html")


@lru_cache(maxsize=4096)
def files_of(item: Item, *, seed: int, heavy_size: int, address: str) -> tuple[dict[str, Any], ...]:
    """Return an item's files as in its public file list; `address`: of the files service."""
    return tuple(_make_files(item, seed, heavy_size, address))


def _make_files(item: Item, seed: int, heavy_size: int, address: str) -> list[dict[str, Any]]:
    files = list(_first_files(item, seed, heavy_size, address))
    first = item.version - len(item.edits)
    for version, how in enumerate(item.edits, first + 1):
        files = _edited(files, how, item, version, seed, address)
    return files


def _edited(
    files: list[dict[str, Any]], how: str, item: Item, version: int, seed: int, address: str
) -> list[dict[str, Any]]:
    """Return the files of the next version, see `EDITS`; only the very first file is ever replaced."""
    file_id = item.id * FILES_AN_ITEM + UPLOADED + version
    if not files:  # a record without files remains one
        return files
    if how == "add":
        size = 300 + version
        md5 = md5_of(seed, file_id, size)
        return [*files, _file(file_id, f"added_{version}.csv", size, md5, f"{address}/files/{file_id}")]
    if files[-1]["is_link_only"]:
        return files
    if how == "remove" and len(files) > 1:
        return files[:-1]
    if how == "rename":
        return [*files[:-1], {**files[-1], "name": f"renamed_{version}.csv"}]
    if how == "again" and len(files) > 1:
        return [*files[:-1], {**files[-1], "id": file_id, "download_url": f"{address}/files/{file_id}"}]
    if how == "swap" and len(files) > 1:
        first, second = files[0]["name"], files[1]["name"]
        return [{**files[0], "name": second}, {**files[1], "name": first}, *files[2:]]
    return files


def _first_files(item: Item, seed: int, heavy_size: int, address: str) -> Iterator[dict[str, Any]]:
    chance = random.Random(f"{seed} files {item.id}")
    for place, name in enumerate(_names(item, chance)):
        version = item.first_since if place == 0 else 1
        if item.is_draft and place == 0:
            version = item.version + 1  # a draft has the number of its next version
        file_id = item.id * FILES_AN_ITEM + (place if version == 1 else 100 - version)
        size = int(200 * 200 ** chance.random())
        if item.trait == "heavy":
            size = heavy_size
        if item.trait == "empty file" and place == 0:
            size = 0
        if item.trait == "link" and place == 0:
            yield _file(file_id, name, 0, "", f"https://example.org/data/{item.number}", is_link=True)
            continue
        file = _file(file_id, name, size, md5_of(seed, file_id, size), f"{address}/files/{file_id}")
        if not item.is_proven:
            file.update(computed_md5="", supplied_md5="")
        if item.trait in {"supplied md5 only", "no md5"}:
            file["computed_md5"] = ""
        if item.trait == "no md5":
            file["supplied_md5"] = ""
        yield file


def folders_of(item: Item, count: int) -> list[str]:
    """Return the folders of `count` files."""
    if item.trait != "many files in folders":
        return [""] * count
    return [("", "raw", "raw/2024", "../up")[place % 4] for place in range(count)]


def _names(item: Item, chance: random.Random) -> Sequence[str]:
    names = NAMES.get(item.hostile or item.trait)
    if names is not None:
        return names
    count = {
        "ten files": 10,
        "many files": 11 + item.number // 50 % 30,
        "many files in folders": 12 + item.number // 50 % 29,
    }
    return [
        f"file_{place:02}.{_SUFFIXES[chance.randrange(len(_SUFFIXES))]}"
        for place in range(count.get(item.trait, 1 + chance.randrange(4)))
    ]


def _file(file_id: int, name: str, size: int, md5: str, url: str, *, is_link: bool = False) -> dict[str, Any]:
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
def md5_of(seed: int, file_id: int, size: int) -> str:
    """Return the MD5 of a file's bytes."""
    md5 = hashlib.md5(usedforsecurity=False)
    for chunk in chunks_of(seed, file_id, size, 0):
        md5.update(chunk)
    return md5.hexdigest()


def chunks_of(seed: int, file_id: int, size: int, begin: int, end: int | None = None) -> Iterator[bytes]:
    """
    Yield a file's bytes from `begin` to `end`: one random megabyte, repeated, each
    time with its number.
    """
    end = size if end is None else end
    if begin >= end:
        return
    block = random.Random(f"{seed} content {file_id}").randbytes(min(size, BLOCK))
    while begin < end:
        number, offset = divmod(begin, BLOCK)
        chunk = block if number == 0 else number.to_bytes(8, "big") + block[8:]
        stop = min(BLOCK, end - number * BLOCK)
        yield chunk[offset:stop]
        begin = number * BLOCK + stop
