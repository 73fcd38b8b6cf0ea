"""metadata.jsonl: the full record of each item as the service sent it, one a line, by item id and version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from harvester.ledger.reader import Reader
from harvester.ledger.rows import ItemRow
from harvester.storage.local import atomic_write

_PIECE = 1 << 20


class JsonLines:
    """Keeps every byte of a record but line breaks between its values, and puts in whole file lists."""

    format: ClassVar[str] = "jsonl"

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        path = folder / "metadata.jsonl"
        with atomic_write(path) as handle:
            for item in reader.items():
                for piece in _line(item):
                    handle.write(piece)
                handle.write(b"\n")
        return [path]


def _line(item: ItemRow) -> Iterator[bytes]:
    """Give a record, with its file list in it, in pieces: of a large one there must not be more copies."""
    raw = item.raw
    if item.file_list is not None:
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        values["files"] = msgspec.Raw(item.file_list)
        raw = msgspec.json.encode(values)
    for begin in range(0, len(raw), _PIECE):
        # JSON has no bare line breaks inside its texts, so these stand between values.
        yield raw[begin : begin + _PIECE].replace(b"\r", b" ").replace(b"\n", b" ")
