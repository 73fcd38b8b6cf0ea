"""Export job: writes the outputs again from the ledger, in the formats of the config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from anyio import from_thread, to_thread

from harvester.config import Config
from harvester.errors import InvalidResponse, UsageError
from harvester.exporters import Exporter
from harvester.jobs.config_argument import config_of
from harvester.jobs.output_folder import make_folder
from harvester.ledger.database.integrity import damaged
from harvester.ledger.reader import Reader
from harvester.plugins import ALWAYS_EXPORTED, EXPORTERS
from harvester.system.paths import usable


async def export(
    config: Config | str | os.PathLike[str], to: str | os.PathLike[str] | None = None
) -> list[Path]:
    """
    Write all outputs again and return their paths.

    `config`: a config, or the path of the folder. `to`: another folder to write to.

    Raises:
        UsageError: the folder contains no harvest, `to` is no folder, or a format cannot be written.
        StorageError: the disk failed.
    """
    config = config_of(config)
    return await write_outputs(config, make_exporters(config, ALWAYS_EXPORTED), _folder(to))


def _folder(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(usable(os.fspath(path))).expanduser()


def make_exporters(config: Config, always: Sequence[str] = ()) -> list[Exporter]:
    """
    Return the exporters of the config, with their options, and those in `always`.

    Raises:
        UsageError: an exporter needs a package that is not installed, or two exporters write the same file.
    """
    registry, options = config.exporters or (EXPORTERS, {})
    names = dict.fromkeys((*config.export.formats, *always))
    exporters = [options.get(name) or registry[name]() for name in names]
    owners: dict[str, str] = {}
    for exporter in exporters:
        for file in exporter.files:
            if (other := owners.setdefault(file, exporter.format)) != exporter.format:
                raise UsageError(f"export.formats: {other} and {exporter.format} both write {file}")
    return exporters


def is_output(exporters: Sequence[Exporter], path: str) -> bool:
    """Return whether a path, relative to the folder, is an output of one of these exporters."""
    return any(fnmatchcase(path, pattern) for exporter in exporters for pattern in exporter.files)


async def write_outputs(config: Config, exporters: Sequence[Exporter], to: Path | None = None) -> list[Path]:
    """Run exporters on the ledger, in a thread, and return the files written; raises what `export` raises."""
    target = config.folder if to is None else to

    def write() -> list[Path]:
        with Reader(config.folder, checkpoint=from_thread.check_cancelled) as reader:
            if to is not None:
                make_folder(to, "--to")
            try:
                return [path for exporter in exporters for path in exporter.export(reader, target)]
            except (InvalidResponse, ValueError) as exc:  # it was a valid record when it was saved
                raise damaged(reader.path, f"table records: {exc}") from exc

    return await to_thread.run_sync(write)
