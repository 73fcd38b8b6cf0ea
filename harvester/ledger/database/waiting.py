"""Lock wait: tries to acquire a folder again and again while another run uses it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from harvester.errors import FolderLocked
from harvester.ledger.database.heartbeat import LOOK_SECONDS
from harvester.text.units import human_seconds

T = TypeVar("T")
log = logging.getLogger(__name__)

TRY_EVERY_SECONDS = 1.0
SAY_EVERY_SECONDS = 600.0


def when_free(
    acquire: Callable[[], T],
    *,
    seconds: float,
    checkpoint: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """
    Return what `acquire` returns; while another run uses the folder, try again for this number of seconds.

    Each attempt opens the database again, as the other run may replace it.
    `seconds`: 0 for one attempt, infinite for no limit.
    `checkpoint`: called several times a second while it waits; it may raise to cancel.

    Raises:
        FolderLocked: another run still uses the folder.
    """
    began = clock()
    say_at = began
    while True:
        try:
            return acquire()
        except FolderLocked as error:
            waited, who = clock() - began, str(error).partition(";")[0]
            if not seconds:
                raise
            if waited >= seconds:
                raise FolderLocked(f"{who}; it did not end within {human_seconds(seconds)}") from error
            if clock() >= say_at:
                so_far = f" for {human_seconds(waited)}" if waited >= TRY_EVERY_SECONDS else ""
                log.info("%s; waiting%s", who, so_far)
                say_at = clock() + SAY_EVERY_SECONDS
        for _ in range(round(TRY_EVERY_SECONDS / LOOK_SECONDS)):
            checkpoint()
            sleep(LOOK_SECONDS)
