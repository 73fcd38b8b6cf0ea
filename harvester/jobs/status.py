"""What a harvest folder holds, what is missing and who is at work: all of it read, nothing written."""

from __future__ import annotations

import time
from typing import Any

from harvester.config import Config
from harvester.errors import StorageError
from harvester.ledger.database.lease_file import is_leased, locks_work
from harvester.ledger.reader import Reader
from harvester.storage.trash import in_trash


def status(config: Config) -> dict[str, Any]:
    """
    Return what stands in the ledger.

    Raises:
        UsageError: there is no harvest in the folder.
    """
    for is_last in (False, False, False, False, True):
        try:
            with Reader(config.folder) as reader:
                return {
                    "folder": str(config.folder),
                    "last_run": reader.last_run(),
                    "changes": reader.changes_in_all(),
                    **reader.counts(),
                    "trash": in_trash(config.folder),
                }
        except StorageError:
            if is_last or (locks_work(config.folder) and not is_leased(config.folder)):
                raise
            time.sleep(0.1)  # where nothing can be locked, a run may be writing just now
    raise AssertionError("the last time ends it")
