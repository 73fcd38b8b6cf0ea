"""metadata.jsonl: the full record of each item as the service sent it, one a line, by item id and version."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from harvester.ledger.reading import Reader
from harvester.ledger.rows import ItemRow
from harvester.store import rewrite


class JsonLines:
    """Keeps every byte of a record but line breaks between its values, and puts in whole file lists."""

    format: ClassVar[str] = "jsonl"

    def write(self, reader: Reader, folder: Path) -> list[Path]:
        path = folder / "metadata.jsonl"
        with rewrite(path) as handle:
            for item in reader.items():
                handle.write(_line(item) + b"\n")
        return [path]


def _line(item: ItemRow) -> bytes:
    raw = item.raw
    if item.file_list is not None:
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        values["files"] = msgspec.Raw(item.file_list)
        raw = msgspec.json.encode(values)
    # JSON has no bare line breaks inside its texts, so these stand between values.
    return raw.replace(b"\r", b" ").replace(b"\n", b" ")
