"""
The lease: the database of a folder, open and held by one run at a time.

Nothing is written but in `Lease.transaction`, which sees first that the folder is still there and still this
run's: a run that was thought dead, and wakes, stops there.
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


class Lease:
    """
    Holds the folder of the database at `path` for this run, from the beginning.

    ``db``: open, its tables up to date. ``drawback``: what the file system cannot do, "" where it can do all.
    `checkpoint` is called while another run's heartbeat is watched, so that this can be given up: it raises.

    Raises:
        FolderLocked: another run is at work here.
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
            self.db, self.drawback, self._claim_file = opened
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
                if look() == judged:  # else somebody was faster, and is to be judged in turn
                    return lease_row.take(self.db, self._clock(), job)

    def _open_beside(self, opened: Opened) -> sqlite3.Connection | None:
        """Open what the heartbeat writes through; with a claim file that is enough."""
        return open_beside(self._path) if opened.claim_file is None else None

    def _beat(self) -> bool:
        """Show that this run lives; tell whether it still holds the folder."""
        if self._claim_file is not None:
            return self._claim_file.renew()
        assert self._beside is not None
        try:
            with at_once(self._beside):
                return lease_row.renew(self._beside, self.run_id, self._clock())
        except sqlite3.Error:  # a long transaction keeps everybody else away; a sick disk is seen by the run
            return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and only while the folder is there and still held by this run."""
        if file_identity(self._path) != self._identity:
            # SQLite would write on into a file that nobody can find any more.
            raise StorageError(
                f"{self._path}: has vanished or was replaced; bring the folder back and run again"
            )
        with at_once(self.db):
            is_held = self._claim_file is None or self._claim_file.renew()
            if not (is_held and lease_row.renew(self.db, self.run_id, self._clock())):
                raise self._lost()
            yield

    def confirm(self) -> None:
        """
        Find out that this run still holds the folder; nothing is written to the ledger.

        Raises:
            FolderLocked: another one does.
        """
        is_held = self._claim_file is None or self._claim_file.renew()
        if not (is_held and lease_row.is_held(self.db, self.run_id)):
            raise self._lost()

    def _lost(self) -> FolderLocked:
        return FolderLocked(f"{self._path.parent}: another run took this folder over")

    def end(self, outcome: str) -> None:
        """Record, in a transaction, how the run ended."""
        self.db.execute(
            "UPDATE runs SET ended = ?, outcome = ? WHERE id = ?",
            (lease_row.iso(self._clock()), outcome, self.run_id),
        )

    def let_go(self) -> None:
        """Close the database and let the folder go."""
        self._heartbeat.stop()
        if self._beside is not None:
            self._beside.close()
        # A reader that is open now would leave the log behind, and who may only read cannot do without it.
        with suppress(sqlite3.Error):  # what cannot be put in its place stays in the log, and counts
            self.db.execute("PRAGMA busy_timeout = 0")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()

    def _close(self) -> None:
        self.db.close()
        if self._claim_file is not None:
            self._claim_file.drop()
