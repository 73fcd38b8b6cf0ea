"""The ledger as exports, `status` and `verify` read it, beside a run or after it."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from harvester.errors import UsageError
from harvester.ledger import claim
from harvester.ledger.lockless import locks_work
from harvester.ledger.schema import (
    NAME,
    OPEN_WORK,
    connect,
    database_errors,
    exists,
    migrate,
    needs_migration,
)
from harvester.states import FileStatus

if TYPE_CHECKING:
    from harvester.models import Failure

CHUNK_ROWS = 500
CHUNK_BYTES = 8_000_000


class ItemRow(NamedTuple):
    """An item with its record as figshare sent it, and its files counted."""

    id: int
    raw: bytes
    file_list: bytes | None
    files: int
    bytes: int


class FileRow(NamedTuple):
    """A file as files.csv tells of it; ``path`` is "" for what is not on this disk."""

    item_id: int
    file_id: int
    name: str
    path: str
    size: int
    md5: str | None
    status: FileStatus


class _Totals:
    """The table `totals`. ``file_outcomes``: by the reason why a file is withheld or has failed."""

    def __init__(self) -> None:
        self.items = self.records = 0
        self.work: dict[str, dict[str, int]] = {}
        self.files: dict[str, dict[str, int]] = {}
        self.file_outcomes: dict[str, int] = {}

    def add_files(self, status: str, verdict: str, number: int, size: int) -> None:
        count = self.files.setdefault(status, {"files": 0, "bytes": 0})
        count["files"] += number
        count["bytes"] += size
        outcome = verdict if verdict and status in {FileStatus.FAILED, FileStatus.WITHHELD} else status
        self.file_outcomes[outcome] = self.file_outcomes.get(outcome, 0) + number


class Reader:
    """
    A read-only view of one folder's ledger; usable while a run goes on.

    `checkpoint` is called every few hundred rows, so that a long read can be given up: it raises.

    Raises:
        UsageError: there is no harvest in the folder.
    """

    def __init__(self, folder: Path, *, checkpoint: Callable[[], None] = lambda: None) -> None:
        self.path = folder / NAME
        if not exists(folder):
            raise UsageError(f"{folder}: holds no harvest ({NAME} is not there)")
        locks = locks_work(folder)
        with database_errors(self.path):
            self._db = connect(self.path, read_only=True, locks=locks)
            try:
                if needs_migration(self._db):
                    self._upgrade(locks=locks)
            except BaseException:
                self._db.close()
                raise
        self._checkpoint = checkpoint

    def _upgrade(self, *, locks: bool) -> None:
        """Bring the tables of an older version up to date, where nobody is at work on them."""

        def check() -> None:
            if by := claim.holder(self._db, time.time()):
                raise UsageError(f"{self.path}: {by}, an older harvester, is at work here; wait for it")

        try:
            with closing(connect(self.path, read_only=False, locks=locks)) as db:
                migrate(db, check=check)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
                raise
            raise UsageError(
                f"{self.path}: written by an older harvester: open it once, with `status`, where it can be "
                "written, or a copy of it"
            ) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def items(self) -> Iterator[ItemRow]:
        """Every item whose record is here, by id."""
        rows = self._rows(
            """
            SELECT item_id, CAST(raw AS BLOB), CAST(file_list AS BLOB),
                (SELECT count(*) FROM files WHERE files.item_id = records.item_id),
                (SELECT CAST(total(size) AS INTEGER) FROM files WHERE files.item_id = records.item_id)
            FROM records
            """,
            by=("item_id",),
            weigh=_weight,
        )
        for item_id, raw, file_list, files, size in rows:
            yield ItemRow(item_id, raw, file_list, files, size)

    def totals(self) -> Iterator[tuple[int, int | None, int | None]]:
        """Item id, views and downloads of every item that was asked about, by id."""
        return self._rows("SELECT item_id, views, downloads FROM stats", by=("item_id",))

    def files(self, status: FileStatus | None = None) -> Iterator[FileRow]:
        """Every file, or those of one status, by item and file id."""
        rows = self._rows(
            """
            SELECT item_id, file_id, name, iif(status = 'done', path, ''), size, md5, status FROM files
            """,
            by=("item_id", "file_id"),
            only="status = ?" if status else "",
            values=(status,) if status else (),
        )
        return (FileRow(*row) for row in rows)

    def failures(self) -> Iterator["Failure"]:
        """Everything that could not be had: listings and names, then items, then files."""
        from harvester.models import Failure  # noqa: PLC0415 - `status` needs none of them

        mishaps = self._rows(  # in the order in which they came
            "SELECT rowid, task, subject, error, verdict, attempts FROM mishaps", by=("rowid",)
        )
        for _, task, subject, error, verdict, attempts in mishaps:
            yield Failure(task, error, verdict, subject=subject, attempts=attempts)
        work = self._rows(
            "SELECT item_id, task, error, verdict, attempts FROM work",
            by=("item_id", "task"),
            only=f"{OPEN_WORK} AND state = 'failed'",
        )
        for item_id, task, error, verdict, attempts in work:
            yield Failure(task, error, verdict, item_id, attempts=attempts)
        files = self._rows(
            "SELECT item_id, file_id, error, verdict, attempts FROM files",
            by=("item_id", "file_id"),
            only="status = 'failed'",
        )
        for item_id, file_id, error, verdict, attempts in files:
            yield Failure("files", error, verdict, item_id, file_id, attempts=attempts)

    def counts(self) -> dict[str, Any]:
        """
        Count what the folder holds.

        Returns ``items``, ``records``, ``listings_open``, ``failures``; ``work``: task to state to
        number; ``files``: status to ``{"files": n, "bytes": n}``; ``listings``: see `_listings`.

        ``outcomes`` puts every item and every file into exactly one state; the numbers add up to all
        there are. ``items``: done, pending, withdrawn, or the verdict on the first of its tasks that
        failed. ``files``: done, pending, skipped, link, the reason why it is withheld, or the verdict on
        it. ``withheld``: reason to number of items (a part of those that are done).
        """
        with database_errors(self.path), self._at_one_moment():
            total = self._totals()
            listings, items = self._listings(), self._item_outcomes(total)
            mishaps = self._one("SELECT count(*) FROM mishaps")
            withheld = self._db.execute(
                "SELECT withheld, count(*) FROM items WHERE withheld <> '' GROUP BY 1 ORDER BY 1"
            ).fetchall()
            is_open = self._one("SELECT count(*) FROM listings WHERE NOT complete")
        return {
            "items": total.items,
            "records": total.records,
            "listings_open": is_open,
            "listings": listings,
            "work": total.work,
            "files": total.files,
            "outcomes": {"items": items, "files": total.file_outcomes, "withheld": dict(withheld)},
            "failures": mishaps
            + sum(states.get("failed", 0) for states in total.work.values())
            + total.files.get("failed", {"files": 0})["files"],
        }

    @contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """All that is read in the block is of one moment, though a run writes on."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")

    def _totals(self) -> _Totals:
        """Read what the triggers have counted, so that no table is walked, however large it is."""
        total = _Totals()
        rows = self._db.execute(
            "SELECT what, task, state, verdict, number, bytes FROM totals WHERE number > 0"
            " ORDER BY what, task, state, verdict"
        )
        for what, task, state, verdict, number, size in rows:
            if what == "files":
                total.add_files(state, verdict, number, size)
            elif what == "work":
                total.work.setdefault(task, {})[state] = number
            elif what == "items":
                total.items = number
            else:
                total.records = number
        return total

    def _listings(self) -> dict[str, int]:
        """
        Account for every entry that the listings gave.

        ``asked`` = ``found`` (different items) + ``repeated`` + ``left_out`` (not taken by the user's
        filters) + ``unresolved`` (names and entries that lead to no item).
        """
        listings, entries, found, left_out = self._db.execute(
            "SELECT count(*), ifnull(sum(entries), 0), ifnull(sum(found), 0), ifnull(sum(left_out), 0)"
            " FROM listings"
        ).fetchone()
        if listings > 1:  # one item may stand in several
            found = self._one("SELECT count(*) FROM (SELECT DISTINCT item_id FROM finds)")
        unresolved = self._one("SELECT count(*) FROM mishaps WHERE task = 'resolve'")
        return {
            "asked": entries,
            "found": found,
            "repeated": entries - left_out - unresolved - found,
            "left_out": left_out,
            "unresolved": unresolved,
        }

    def _item_outcomes(self, total: _Totals) -> dict[str, int]:
        """
        Put every item into exactly one state: pending, failed, withdrawn or done, whichever comes first.

        Read in the index of what is not done; all other items are done.
        """
        pending = self._one(
            f"SELECT count(*) FROM (SELECT DISTINCT item_id FROM work WHERE {OPEN_WORK} AND state = 'owed')"
        )
        failed = self._db.execute(
            f"""
            SELECT verdict, count(*) FROM work WHERE {OPEN_WORK} AND state = 'failed' AND NOT EXISTS (
                SELECT 1 FROM work AS other WHERE other.item_id = work.item_id
                    AND (other.state = 'owed' OR (other.state = 'failed' AND other.task < work.task))
            ) GROUP BY verdict
            """
        ).fetchall()
        withdrawn = self._one(
            f"""
            SELECT count(*) FROM work WHERE {OPEN_WORK} AND state = 'withdrawn' AND NOT EXISTS (
                SELECT 1 FROM work AS other WHERE other.item_id = work.item_id AND (
                    other.state IN ('owed', 'failed')
                    OR (other.state = 'withdrawn' AND other.task < work.task)
                )
            )
            """
        )
        outcomes = {"pending": pending, "withdrawn": withdrawn, **dict(failed)}
        outcomes["done"] = total.items - sum(outcomes.values())
        return {outcome: number for outcome, number in sorted(outcomes.items()) if number}

    def last_run(self, now: float | None = None) -> dict[str, Any] | None:
        """Tell when the newest harvest began and ended, how, and who is at work on it now."""
        with database_errors(self.path):
            row = self._db.execute(
                "SELECT started, ended, outcome, id = (SELECT max(id) FROM runs) FROM runs"
                " WHERE job = 'harvest' ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            started, ended, outcome, is_newest = row  # no other job holds the folder since
            at_work = claim.holder(self._db, time.time() if now is None else now) if is_newest else None
        state = "running" if at_work else outcome or "killed"
        return {"started": started, "ended": ended, "state": state, "by": at_work}

    def known(self, item_ids: list[int]) -> dict[int, tuple[str | None, frozenset[str]]]:
        """Of some items tell the newest modified date and the tasks that are done."""
        marks = ", ".join("?" * len(item_ids))
        rows = self._db.execute(
            f"""
            SELECT id, modified_date,
                (SELECT group_concat(task) FROM work WHERE item_id = id AND state = 'done')
            FROM items WHERE id IN ({marks})
            """,
            item_ids,
        )
        return {item_id: (modified, frozenset((tasks or "").split(","))) for item_id, modified, tasks in rows}

    def _one(self, sql: str) -> int:
        return self._db.execute(sql).fetchone()[0]  # type: ignore[no-any-return]  # a count

    def _rows(
        self,
        select: str,
        *,
        by: tuple[str, ...],
        only: str = "",
        values: tuple[object, ...] = (),
        weigh: Callable[[tuple[Any, ...]], int] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """
        Read a table in the order of its key `by`, which the columns of `select` begin with.

        A few hundred rows at a time: without a write-ahead log a reader that takes long would keep
        everybody from writing. Fewer where their bytes, as `weigh` tells them, are many.
        """
        after: tuple[object, ...] = ()
        while True:
            beyond = f"({', '.join(by)}) > ({', '.join('?' * len(by))})" if after else ""
            where = " AND ".join(filter(None, (only, beyond)))
            sql = f"{select} {'WHERE ' + where if where else ''} ORDER BY {', '.join(by)} LIMIT {CHUNK_ROWS}"
            with database_errors(self.path):
                rows, is_last = _chunk(self._db.execute(sql, (*values, *after)), weigh)
            self._checkpoint()
            yield from rows
            if is_last:
                return
            after = rows[-1][: len(by)]
            del rows  # large ones must not wait in memory for the next


def _chunk(
    cursor: sqlite3.Cursor, weigh: Callable[[tuple[Any, ...]], int] | None
) -> tuple[list[tuple[Any, ...]], bool]:
    """Take rows until there are enough of them; tell whether they were the last."""
    if weigh is None:
        rows = cursor.fetchall()
        return rows, len(rows) < CHUNK_ROWS
    rows, size = [], 0
    with closing(cursor):  # which ends its transaction
        for row in cursor:
            rows.append(row)
            size += weigh(row)
            if size >= CHUNK_BYTES:
                return rows, False
    return rows, len(rows) < CHUNK_ROWS


def _weight(row: tuple[Any, ...]) -> int:
    """Tell how many bytes the record and the file list of an item are."""
    return len(row[1]) + (len(row[2]) if row[2] else 0)
