"""
JSON Lines exporter, metadata.jsonl: the record of each item as figshare sent it, by
item id and version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec

from harvester.ledger.reader import Reader
from harvester.ledger.rows import ItemRow
from harvester.storage.atomic_file import atomic_write

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class JsonLines:
    """
    Write one record a line: unchanged except for line breaks between values, with
    its complete file list.
    """

    format: ClassVar[str] = "jsonl"
    files: ClassVar[Sequence[str]] = ("metadata.jsonl",)

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        path = folder / "metadata.jsonl"
        with atomic_write(path) as handle:
            for item in reader.items():
                for chunk in line(item):
                    handle.write(chunk)
                handle.write(b"\n")
        return [path]


def line(item: ItemRow) -> Iterator[bytes]:
    """Yield a record with its file list in chunks, so that a large one is not copied in memory."""
    raw = item.raw
    if item.file_list is not None:
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        values["files"] = msgspec.Raw(item.file_list)
        raw = msgspec.json.encode(values)
    for begin in range(0, len(raw), _CHUNK_BYTES):
        # JSON texts contain no bare line breaks, so these are between values.
        yield raw[begin : begin + _CHUNK_BYTES].replace(b"\r", b" ").replace(b"\n", b" ")
