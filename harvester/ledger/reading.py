"""The ledger as exports, `status` and `verify` read it, beside a run or after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harvester.errors import UsageError
from harvester.ledger import claim
from harvester.ledger.schema import NAME, connect, database_errors, exists
from harvester.models import Failure, FileStatus

CHECKPOINT_ROWS = 500


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item with its record as figshare sent it, and its files counted."""

    id: int
    raw: bytes
    file_list: bytes | None
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file as files.csv tells of it; ``path`` is "" for what is not on this disk."""

    item_id: int
    file_id: int
    name: str
    path: str
    size: int
    md5: str | None
    status: FileStatus


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
        with database_errors(self.path):
            self._db = connect(self.path, read_only=True)
        self._checkpoint = checkpoint

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    def items(self) -> Iterator[ItemRow]:
        """Every item whose record is here, by id."""
        rows = self._rows(
            """
            SELECT item_id, raw, file_list,
                (SELECT count(*) FROM files WHERE files.item_id = records.item_id),
                (SELECT ifnull(sum(size), 0) FROM files WHERE files.item_id = records.item_id)
            FROM records ORDER BY item_id
            """
        )
        for item_id, raw, file_list, files, size in rows:
            listed = file_list.encode() if file_list is not None else None
            yield ItemRow(item_id, raw.encode(), listed, files, size)

    def totals(self) -> Iterator[tuple[int, int | None, int | None]]:
        """Item id, views and downloads of every item that was asked about, by id."""
        return self._rows("SELECT item_id, views, downloads FROM stats ORDER BY item_id")

    def files(self, status: FileStatus | None = None) -> Iterator[FileRow]:
        """Every file, or those of one status, by item and file id."""
        rows = self._rows(
            """
            SELECT item_id, file_id, name, iif(status = 'done', path, ''), size, md5, status
            FROM files WHERE ?1 IS NULL OR status = ?1 ORDER BY item_id, file_id
            """,
            status,
        )
        return (FileRow(*row) for row in rows)

    def failures(self) -> Iterator[Failure]:
        """Everything that could not be had: listings and names, then items, then files."""
        rows = self._rows(
            """
            SELECT task, error, NULL, NULL, subject, attempts FROM mishaps
            UNION ALL SELECT * FROM (
                SELECT task, error, item_id, NULL, '', attempts FROM work
                WHERE state = 'failed' ORDER BY item_id, task)
            UNION ALL SELECT * FROM (
                SELECT 'files', error, item_id, file_id, '', attempts FROM files
                WHERE status = 'failed' ORDER BY item_id, file_id)
            """
        )
        return (Failure(*row) for row in rows)

    def counts(self) -> dict[str, Any]:
        """
        Count what the folder holds.

        Returns ``items``, ``listings_open``, ``failures``; ``work``: task to state to number;
        ``files``: status to ``{"files": n, "bytes": n}``.
        """
        with database_errors(self.path):
            work: dict[str, dict[str, int]] = {}
            for task, state, number in self._db.execute(
                "SELECT task, state, count(*) FROM work GROUP BY task, state ORDER BY task, state"
            ):
                work.setdefault(task, {})[state] = number
            files = {
                status: {"files": number, "bytes": size}
                for status, number, size in self._db.execute(
                    "SELECT status, count(*), sum(size) FROM files GROUP BY status ORDER BY status"
                )
            }
            mishaps = self._one("SELECT count(*) FROM mishaps")
            return {
                "items": self._one("SELECT count(*) FROM items"),
                "records": self._one("SELECT count(*) FROM records"),
                "listings_open": self._one("SELECT count(*) FROM listings WHERE NOT complete"),
                "work": work,
                "files": files,
                "failures": mishaps
                + sum(states.get("failed", 0) for states in work.values())
                + files.get("failed", {"files": 0})["files"],
            }

    def last_run(self, now: float | None = None) -> dict[str, Any] | None:
        """Tell when the newest run began and ended, how, and who is at work now."""
        with database_errors(self.path):
            row = self._db.execute(
                "SELECT started, ended, outcome FROM runs ORDER BY id DESC LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            at_work = claim.holder(self._db, time.time() if now is None else now)
        started, ended, outcome = row
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

    def _rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with database_errors(self.path), closing(self._db.cursor()) as cursor:
            cursor.execute(sql, values)
            while rows := cursor.fetchmany(CHECKPOINT_ROWS):
                self._checkpoint()
                yield from rows
