"""
Lease on an output folder: its database, open and held by one run at a time.

All writes are in `Lease.transaction`, which first checks that the folder exists and that this run still holds
it (fencing). So a suspended run that has lost its lease stops there when it resumes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from harvester.errors import FolderLocked, StorageError
from harvester.ledger.database import lease_row
from harvester.ledger.database.connection import at_once, database_errors, file_identity, migrate
from harvester.ledger.database.heartbeat import USUAL_TIMING, Heartbeat, Sign, Timing, Watch
from harvester.ledger.database.integrity import check_tables
from harvester.ledger.database.opening import Opened, open_beside, open_to_write
from harvester.system.failpoints import failpoint

DID_NOTHING = ""
"""The outcome of a run that ended before it did anything: it is not recorded."""


class Lease:
    """
    The lease of this run on the folder of the database at `path`; the constructor acquires it.

    ``db``: open, with migrated tables. ``drawback``: what the file system does not support, "" for nothing.
    `checkpoint`: called while another run's heartbeat is watched; it may raise to cancel.

    Raises:
        FolderLocked: another run is active here.
        UsageError: a newer version wrote it.
        StorageError: it is damaged or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        job: str,
        clock: Callable[[], float],
        timing: Timing = USUAL_TIMING,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> None:
        self._path = path
        self._clock = clock
        watch = Watch(path.parent, seconds=timing.watch_seconds, checkpoint=checkpoint)
        with ExitStack() as undo:
            undo.enter_context(database_errors(path))
            opened = open_to_write(path, watch)
            self.db, self.drawback, self._lease_file = opened
            undo.callback(self._close)
            self.db.execute("PRAGMA synchronous = FULL")
            self.db.execute("PRAGMA foreign_keys = ON")
            self.run_id = self._take(watch, job)
            self._identity = file_identity(path)
            self._beside = self._open_beside(opened)
            self._heartbeat = Heartbeat(self._beat, seconds=timing.beat_seconds)
            self._heartbeat.start()
            undo.pop_all()
        failpoint("lease: taken")

    def _take(self, watch: Watch, job: str) -> int:
        look = partial(lease_row.last_sign, self.db)
        while True:
            judged = watch.judge(look)

            def check(judged: Sign | None = judged) -> None:
                if (now := look()) is not None and now != judged:
                    raise watch.in_use(now)

            migrate(self.db, check=check)
            check_tables(self.db, self._path)
            with at_once(self.db):
                if look() == judged:  # else another run was faster, and has to be judged
                    return lease_row.take(self.db, self._clock(), job)

    def _open_beside(self, opened: Opened) -> sqlite3.Connection | None:
        """Open the second connection, for the heartbeat; None if a lease file is used instead."""
        return open_beside(self._path) if opened.lease_file is None else None

    def _beat(self) -> bool:
        """Renew the heartbeat; return whether this run still holds the folder."""
        if self._lease_file is not None:
            return self._lease_file.renew()
        assert self._beside is not None
        try:
            with at_once(self._beside):
                return lease_row.renew(self._beside, self.run_id, self._clock())
        except (
            sqlite3.Error
        ):  # a long transaction blocks other runs too; disk errors are noticed by the run itself
            return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction, if the folder exists and this run still holds it."""
        if file_identity(self._path) != self._identity:
            # SQLite would continue to write to a deleted file.
            raise StorageError(
                f"{self._path}: has vanished or was replaced; bring the folder back and run again"
            )
        with at_once(self.db):
            is_held = self._lease_file is None or self._lease_file.renew()
            if not (is_held and lease_row.renew(self.db, self.run_id, self._clock())):
                raise self._lost()
            yield

    def confirm(self) -> None:
        """
        Check that this run still holds the folder; nothing is written to the ledger.

        Raises:
            FolderLocked: another run holds it.
        """
        is_held = self._lease_file is None or self._lease_file.renew()
        if not (is_held and lease_row.is_held(self.db, self.run_id)):
            raise self._lost()

    def _lost(self) -> FolderLocked:
        return FolderLocked(f"{self._path.parent}: another run took this folder over")

    def end(self, outcome: str) -> None:
        """Record, in a transaction, how the run ended; remove a run that did nothing."""
        if outcome == DID_NOTHING:
            self.db.execute("DELETE FROM runs WHERE id = ?", (self.run_id,))
            return
        self.db.execute(
            "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?",
            (lease_row.iso(self._clock()), outcome, self.run_id),
        )

    def release(self) -> None:
        """Close the database and release the folder."""
        self._heartbeat.stop()
        if self._beside is not None:
            self._beside.close()
        # With an open reader the log would stay, and users who may only read could not open the database.
        with suppress(sqlite3.Error):  # transactions that stay in the log are not lost
            self.db.execute("PRAGMA busy_timeout = 0")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()

    def _close(self) -> None:
        self.db.close()
        if self._lease_file is not None:
            self._lease_file.drop()
