"""Summary exporter, summary.json: the last run and the content of the folder. It is always written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import orjson

from harvester.ledger.reader import Reader
from harvester.storage.atomic_file import atomic_write
from harvester.storage.trash import in_trash
from harvester.summary import FolderTotals, Summary, as_document
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
        if self.summary is not None:
            document = self.summary.to_dict()
        elif (run := _last_run(path)) is not None:
            document = {"run": run, "folder": as_document(contents(reader))}
        else:
            return []
        text = harmless_json(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        with atomic_write(path) as handle:
            handle.write(f"{text}\n".encode())
        return [path]


def contents(reader: Reader) -> FolderTotals:
    """Return the content of the folder in numbers, with that of the trash."""
    return reader.counts(trash=in_trash(reader.path.parent))


def _last_run(path: Path) -> Any:
    """Return the part on the last run, None if there is no readable file."""
    try:
        return orjson.loads(path.read_bytes())["run"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
