"""Forecast for `plan`: what a run would enqueue, by the rules of `tables/queue.py`."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import (
    COUNTS,
    FILE_COLUMNS,
    OF_ITEM,
    OPEN_FILES,
    database_errors,
    is_due,
)
from harvester.ledger.database.lease_row import iso
from harvester.ledger.messages import TaskParams
from harvester.ledger.tables import versions
from harvester.ledger.tables.queue import remote_file
from harvester.models import ANOTHER_VERSION, BEYOND_ROOM, FileStatus, ItemId, ItemKey, ItemRef, RemoteFile

_SETTLED = "state IN ('done', 'withdrawn', 'excluded')"
_CONDITION = """(
    SELECT iif(count(*) = 1, max(condition), '') FROM conditions WHERE conditions.item_id = items.id
        AND NOT EXISTS (SELECT 1 FROM records WHERE records.item_id = items.id)
)"""
"""What the record of an item must meet; of several conditions it mostly meets one."""
_OPEN = (FileStatus.PENDING, FileStatus.FAILED, FileStatus.SKIPPED)


class ItemState(NamedTuple):
    """
    Where an item of the ledger stands; ``owed``: the tasks that a run would do whatever its listings say.

    ``has_etag``: its record is asked for only if it has changed. ``listed_date``: the newest that a listing
    told. ``settled``: what was modified up to then is in the record, whatever a listing tells.
    """

    modified_date: str
    settled: str
    listed_date: str
    private: bool
    withdrawn: bool
    has_etag: bool
    owed: frozenset[str]


class KnownFile(NamedTuple):
    """
    A file that a record named.

    ``is_open``: not here, and up to the user's rules. ``item_key``: the number of its item in the ledger.
    ``has_twins``: the ledger has files of other versions of the item.
    """

    file: RemoteFile
    path: str
    status: FileStatus
    is_open: bool
    private: bool
    item_id: ItemId
    item_key: ItemKey
    has_twins: bool


class Forecast:
    """
    The ledger of a folder, for a run of these `tasks` on items that is asked for these `task_params`.

    `db`: of a reader; nothing is written. `now`: when it begins, in seconds since 1970.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        tasks: frozenset[str],
        task_params: Sequence[TaskParams],
        *,
        now: float,
    ) -> None:
        self._is_due = is_due(iso(now))
        self._db = db
        self._path = path
        self._tasks = tasks
        self._anew = frozenset(wish.task for wish in task_params if wish.task in tasks and self._is_new(wish))

    def _is_new(self, wish: TaskParams) -> bool:
        before = [value for (value,) in self._rows("SELECT value FROM settings WHERE name = ?", wish.task)]
        return wish.after(before[0] if before else None)[0]

    # -- items ------------------------------------------------------------------------------------

    def owed(self) -> tuple[int, Counter[str]]:
        """Count the items that owe something, and what they owe by task."""
        total = "SELECT ifnull(sum(number), 0) FROM totals WHERE what = ? AND task = ?"
        (every,) = self._row(total, "items", "")
        (of_versions,) = self._row("SELECT count(*) FROM versions JOIN items USING (id) WHERE NOT counts")
        owed: Counter[str] = Counter()
        for task in self._tasks:
            (settled,) = self._row(f"{total} AND {_SETTLED}", "work", task)
            owed[task] = every - (0 if task == "metadata" else of_versions)
            owed[task] -= 0 if task in self._anew else settled
        if "metadata" in self._tasks - self._anew:
            (due,) = self._row(
                f"SELECT count(*) FROM items JOIN work ON item_id = id WHERE {self._is_due}"
                " AND task = 'metadata' AND state = 'done'"
            )
            owed["metadata"] += due
        return self._items_that_owe() if +owed else 0, owed

    def _items_that_owe(self) -> int:
        kept = tuple(self._tasks - self._anew)
        (number,) = self._row(
            f"""
            SELECT count(*) FROM items WHERE iif({COUNTS}, ?, ?) > (
                SELECT count(*) FROM work WHERE item_id = items.id AND task IN ({_qmarks(kept)})
                    AND {_SETTLED} AND NOT (task = 'metadata' AND state = 'done' AND {self._is_due})
            )
            """,
            len(self._tasks),
            len(self._tasks & {"metadata"}),
            *kept,
        )
        return int(number)

    def records(self) -> Iterator[ItemRef]:
        """Tell the items whose record is owed, but for those that are only asked whether it has changed."""
        owed = "TRUE"
        if "metadata" not in self._anew:
            record = "SELECT 1 FROM work WHERE work.item_id = items.id AND task = 'metadata'"
            owed = f"(etag = '' OR withdrawn) AND NOT EXISTS ({record} AND {_SETTLED})"
            owed += f" OR {self._is_due} AND EXISTS ({record} AND state = 'done')"
        rows = self._rows(
            "SELECT ifnull(item_id, items.id), private, ifnull(version, 0), named, "
            f"{_CONDITION} FROM items LEFT JOIN versions ON versions.id = items.id WHERE {owed}"
        )
        for item_id, private, version, named, condition in rows:
            yield ItemRef(
                item_id,
                private=bool(private),
                version=version,
                condition=condition,
                named=bool(named),
            )

    def states(self, refs: Sequence[ItemRef]) -> dict[tuple[int, int], ItemState]:
        """Tell where these items stand, by id and version, as far as they are in the ledger."""
        tasks = ", ".join(f"'{task}'" for task in sorted(self._tasks - self._anew))
        with database_errors(self._path):
            rows = bulk.select(
                self._db,
                f"""
                WITH named (item_id, version) AS ({{values}}), found AS (
                    SELECT named.*, iif(named.version, versions.id, named.item_id) AS key
                    FROM named LEFT JOIN versions USING (item_id, version)
                )
                SELECT found.item_id, version, {COUNTS}, ifnull(modified_date, ''),
                    ifnull(settled, ''), ifnull(listed_date, ''), private, withdrawn,
                    etag <> '' AND NOT {self._is_due},
                    (SELECT group_concat(task) FROM work
                        WHERE work.item_id = key AND task IN ({tasks}) AND {_SETTLED}
                        AND NOT (task = 'metadata' AND state = 'done' AND {self._is_due}))
                FROM found JOIN items ON items.id = key
                """,
                [(ref.id, ref.version) for ref in refs],
            )
        found = {}
        for item_id, version, counts, here, settled, listed, private, withdrawn, has_etag, done in rows:
            tasks_of_it = self._tasks if counts else self._tasks & {"metadata"}
            owed = tasks_of_it.difference((done or "").split(","))
            state = ItemState(here, settled, listed, bool(private), bool(withdrawn), bool(has_etag), owed)
            found[item_id, version] = state
        return found

    def listed_before(self, keys: Sequence[str]) -> Iterator[ItemRef]:
        """Tell the items that some listings named when they were read last, and that are not withdrawn."""
        rows = self._rows(
            f"""
            SELECT DISTINCT ifnull(versions.item_id, listing_items.item_id), ifnull(version, 0)
            FROM listing_items JOIN items ON items.id = listing_items.item_id
                LEFT JOIN versions ON versions.id = items.id
            WHERE NOT withdrawn AND listing_id IN (
                SELECT id FROM listings AS before WHERE key IN ({_qmarks(keys)}) AND complete AND (
                    NOT old OR NOT EXISTS (
                        SELECT 1 FROM listings WHERE key = before.key AND NOT old AND complete
                    )
                )
            )
            """,
            *keys,
        )
        return (ItemRef(item_id, version=version) for item_id, version in rows)

    def counted(self, item_ids: Sequence[ItemId]) -> frozenset[ItemId]:
        """Return those of these items, by figshare's ids, whose statistics are asked for already."""
        with database_errors(self._path):
            rows = bulk.select(
                self._db,
                "WITH named (id) AS ({values}) SELECT id FROM named WHERE id IN (SELECT id FROM items)"
                " OR id IN (SELECT item_id FROM versions WHERE counts)",
                [(item_id,) for item_id in item_ids],
            )
        return frozenset(item_id for (item_id,) in rows)

    def versions(self, item_id: ItemId) -> frozenset[int]:
        """Return the versions of an item that were asked for before and are not withdrawn."""
        with database_errors(self._path):
            return versions.known(self._db, item_id)

    # -- files ------------------------------------------------------------------------------------

    def bytes_here(self) -> int:
        """Return the bytes of the files that were fetched and are still here; see `SizeBudget`."""
        fetched = "SELECT total(bytes) FROM totals WHERE what = 'files' AND state = 'done'"
        return int(self._row(f"SELECT ({fetched}) + (SELECT total(size) FROM orphans)")[0])

    def open_files(self, *, in_order: bool) -> Iterator[KnownFile]:
        """Tell the files that are not here and up to the user's rules; `in_order`: as they get room."""
        which = f"WHERE {OPEN_FILES} AND reason <> '{ANOTHER_VERSION}'"
        place = "attempts > 0, files.seq IS NULL, files.seq, files.item_id, file_id"
        return self._files(f"{which} ORDER BY reason = '{BEYOND_ROOM}', {place}" if in_order else which)

    def files_of(self, ref: ItemRef) -> list[KnownFile]:
        """Tell the files of an item, or of the version of it that is named."""
        key = "iif(?2, (SELECT id FROM versions WHERE item_id = ?1 AND version = ?2), ?1)"
        return list(self._files(f"WHERE files.item_id = {key}", ref.id, ref.version))

    def _files(self, which: str, *values: object) -> Iterator[KnownFile]:
        rows = self._rows(
            "SELECT path, status, reason, private, ifnull(versions.item_id, files.item_id), files.item_id,"
            " files.item_id < 0 OR EXISTS (SELECT 1 FROM versions WHERE versions.item_id = files.item_id),"
            f" {FILE_COLUMNS} FROM files JOIN items ON items.id = files.item_id"
            f" LEFT JOIN versions ON versions.id = files.item_id {which}",
            *values,
        )
        for path, status, reason, private, item_id, key, has_twins, *file in rows:
            is_open = status in _OPEN and reason != ANOTHER_VERSION
            of_item = (bool(private), item_id, key, bool(has_twins))
            yield KnownFile(remote_file(file), path, FileStatus(status), is_open, *of_item)

    def has_twin(self, file: RemoteFile, item_id: ItemId, key: ItemKey) -> bool:
        """Tell whether the bytes of a file are here as those of another version of its item."""
        (number,) = self._row(
            f"SELECT count(*) FROM files WHERE {OF_ITEM} AND item_id <> ?2 AND md5 = ?3 AND size = ?4"
            " AND status = 'done'",
            item_id,
            key,
            file.md5,
            file.size,
        )
        return bool(number)

    # -- SQL --------------------------------------------------------------------------------------

    def _rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        with database_errors(self._path):
            yield from self._db.execute(sql, values)

    def _row(self, sql: str, *values: object) -> tuple[Any, ...]:
        return next(self._rows(sql, *values))


def _qmarks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
