"""Summary exporter, summary.json: the last run and the content of the folder. It is always written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from harvester.ledger.reader import Reader
from harvester.models import Summary
from harvester.storage.atomic_file import atomic_write
from harvester.storage.trash import in_trash
from harvester.text.display import harmless_json

NAME = "summary.json"


@dataclass(frozen=True)
class SummaryFile:
    """
    Write summary.json.

    ``summary``: of the run that ends now. None: the part on the last run stays unchanged, and the content of
    the folder is counted again; if the file does not exist, it is not written.
    """

    format: ClassVar[str] = "summary"
    files: ClassVar[Sequence[str]] = (NAME,)

    summary: Summary | None = None

    def export(self, reader: Reader, folder: Path) -> list[Path]:
        path = folder / NAME
        run = _last_run(path) if self.summary is None else self.summary.run
        if run is None:
            return []
        held = contents(reader) if self.summary is None else self.summary.folder
        text = harmless_json(orjson.dumps({"run": run, "folder": held}, option=orjson.OPT_INDENT_2).decode())
        with atomic_write(path) as handle:
            handle.write(f"{text}\n".encode())
        return [path]


def contents(reader: Reader) -> dict[str, Any]:
    """Return the content of the folder in numbers: see `Reader.counts`; ``trash``: of the trash."""
    return {**reader.counts(), "trash": in_trash(reader.path.parent)}


def _last_run(path: Path) -> Any:
    """Return the part on the last run, None if there is no readable file."""
    try:
        return orjson.loads(path.read_bytes())["run"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
