"""Export: tables and records written again from the ledger, in the formats asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from anyio import from_thread, to_thread

from harvester.config import Config
from harvester.errors import InvalidResponse
from harvester.exporters.csv import write_failures
from harvester.jobs.output_folder import make_folder
from harvester.ledger.database.integrity import damaged
from harvester.ledger.reader import Reader
from harvester.plugins import EXPORTERS


async def export(config: Config, to: Path | None = None) -> list[Path]:
    """
    Write the tables and records again from the ledger; failures.csv always. `to`: into another folder.

    Raises:
        UsageError: there is no harvest in the folder, or `to` is none.
        StorageError: the disk does not take them.
    """
    writers = [partial(EXPORTERS[name]().write) for name in config.export.formats]
    target = config.folder if to is None else to

    def write() -> list[Path]:
        with Reader(config.folder, checkpoint=from_thread.check_cancelled) as reader:
            if to is not None:
                make_folder(to, "--to")
            try:
                made = [path for writer in writers for path in writer(reader, target)]
            except (InvalidResponse, ValueError) as exc:  # it was a record when it came
                raise damaged(reader.path, f"table records: {exc}") from exc
            return [*made, write_failures(reader, target)]

    return await to_thread.run_sync(write)
