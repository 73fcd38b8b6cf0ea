"""Status job: reads the content of a folder, its pending work and its active run; nothing is written."""

from __future__ import annotations

import os
import time

from harvester.config import Config
from harvester.errors import StorageError
from harvester.jobs.config_argument import config_of
from harvester.ledger.database.lease_file import is_leased, locks_work
from harvester.ledger.reader import Reader
from harvester.storage.trash import in_trash
from harvester.summary import Status


def status(config: Config | str | os.PathLike[str]) -> Status:
    """
    Return the state of an output folder.

    `config`: a config, or the path of the folder.

    Raises:
        UsageError: the folder contains no harvest.
    """
    config = config_of(config)
    for is_last in (False, False, False, False, True):
        try:
            with Reader(config.folder) as reader:
                return Status(
                    folder=str(config.folder),
                    last_run=reader.last_run(),
                    changes=reader.changes_in_all(),
                    contents=reader.counts(trash=in_trash(config.folder)),
                )
        except StorageError:
            if is_last or (locks_work(config.folder) and not is_leased(config.folder)):
                raise
            time.sleep(0.1)  # without file locks a run may be writing now
    raise AssertionError("the last attempt returns or raises")
