"""
Journal of renames: which files are on their way from one path to another, so that a crash loses none.

A rename is planned here before the disk is touched. All files of a plan first leave their places, then that
is noted, then they go to the new ones: so files may change names with each other, and whoever finds the plan
after a crash knows from the disk and the phase what is still to be done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from harvester.ledger.database import bulk
from harvester.ledger.database.connection import FILE_COLUMNS
from harvester.ledger.tables.queue import remote_file
from harvester.models import ItemId, ItemKey, RemoteFile


class FileRename(NamedTuple):
    """
    A file that goes from one path to another, both below the output folder.

    ``item_key``: the number of its item in the ledger.
    ``file_id``: of a file that its record names, None for an orphan.
    ``is_out``: it has left its old place, and may be in the new one.
    """

    item_key: ItemKey
    file_id: int | None
    source: str
    target: str
    is_out: bool = False


class ItemFiles(NamedTuple):
    """
    What an item has on the disk and what its record names.

    ``item_id``, ``version``: figshare's; 0 for the current one. ``files``: each with its path, and whether
    the ledger knows it to be here. ``orphans``: paths of replaced files, with their ids (0: not known).
    """

    item_key: ItemKey
    item_id: ItemId
    version: int
    files: Sequence[tuple[RemoteFile, str, bool]]
    orphans: Mapping[str, int]


class RenameJournal:
    """Plans renames and records them; `note` writes what was moved into the list of changes."""

    def __init__(
        self, db: sqlite3.Connection, note: Callable[[Mapping[ItemKey, tuple[str, ...]]], None]
    ) -> None:
        self._db = db
        self._note = note

    def plan(self, renames: Sequence[FileRename]) -> None:
        """Record what is about to be renamed."""
        bulk.write(
            self._db,
            "INSERT OR REPLACE INTO renames (source, target, item_key, file_id, is_out) {values}",
            [(rename.source, rename.target, rename.item_key, rename.file_id, 0) for rename in renames],
        )

    def note_out(self, renames: Sequence[FileRename]) -> None:
        """Record that these have left their places."""
        bulk.write(
            self._db,
            "UPDATE renames SET is_out = 1 WHERE source IN ({values})",
            [(rename.source,) for rename in renames],
        )

    def finish(self, renames: Sequence[FileRename]) -> None:
        """Record that these are in their new places."""
        paths = [(rename.source, rename.target) for rename in renames if rename.file_id is None]
        bulk.write(
            self._db,
            "WITH told (item_key, file_id, target) AS ({values}) UPDATE files SET path = told.target"
            " FROM told WHERE files.item_key = told.item_key AND files.file_id = told.file_id",
            [
                (rename.item_key, rename.file_id, rename.target)
                for rename in renames
                if rename.file_id is not None
            ],
        )
        bulk.write(  # what is the file of a record again is none that was replaced
            self._db,
            "DELETE FROM orphans WHERE path IN ({values})",
            [(rename.source,) for rename in renames if rename.file_id is not None],
        )
        # Two may change places, and paths are unique: so first to names that no file has.
        bulk.write(
            self._db,
            "WITH told (source, target) AS ({values}) UPDATE orphans SET path = '/' || told.target"
            " FROM told WHERE orphans.path = told.source",
            paths,
        )
        self._db.execute("UPDATE OR REPLACE orphans SET path = substr(path, 2) WHERE path LIKE '/%'")
        bulk.write(
            self._db,
            "DELETE FROM renames WHERE source IN ({values})",
            [(rename.source,) for rename in renames],
        )
        told: dict[ItemKey, tuple[str, ...]] = {}
        for rename in renames:
            told[rename.item_key] = (*told.get(rename.item_key, ()), _words(rename))
        self._note(told)

    def unfinished(self) -> list[FileRename]:
        """Return what a run that ended early had planned."""
        rows = self._db.execute(
            "SELECT item_key, file_id, source, target, is_out FROM renames ORDER BY source"
        )
        return [
            FileRename(key, file_id, source, target, bool(is_out))
            for key, file_id, source, target, is_out in rows
        ]

    # -- whose files may have other paths -------------------------------------------------------------

    def unplaced(self, most: int) -> list[ItemFiles]:
        """Return some of the items whose paths are not those that their records ask for."""
        keys = self._db.execute("SELECT item_key FROM unplaced ORDER BY 1 LIMIT ?", (most,)).fetchall()
        return [self.files_of(key) for (key,) in keys]

    def files_of(self, key: ItemKey) -> ItemFiles:
        """Return what an item, or a version of one, has on the disk and what its record names."""
        version = self._db.execute(
            "SELECT item_id, version FROM versions WHERE item_key = ?", (key,)
        ).fetchone()
        item_id, number = version or (ItemId(key), 0)
        rows = self._db.execute(
            f"SELECT path, status, {FILE_COLUMNS} FROM files WHERE item_key = ? ORDER BY file_id", (key,)
        )
        files = [(remote_file(file), path, status == "done") for path, status, *file in rows]
        left = self._db.execute(
            "SELECT path, file_id FROM orphans WHERE item_key = ?"
            # Those that were here when the ledger was made anew: nobody knew what a version's key would be.
            " UNION SELECT path, file_id FROM orphans WHERE ? AND unidentified AND path > ? AND path < ?",
            (key, number > 0, f"files/{item_id}.v{number}/", f"files/{item_id}.v{number}0"),
        )
        return ItemFiles(key, item_id, number, files, dict(left.fetchall()))

    def orphans_of(self, key: ItemKey, size: int) -> list[tuple[str, int]]:
        """Return path and file id (0: not known) of the replaced files of an item that have so many bytes."""
        return self._db.execute(
            "SELECT path, file_id FROM orphans WHERE item_key = ? AND size = ? ORDER BY path", (key, size)
        ).fetchall()

    def place(self, placed: Mapping[ItemKey, Mapping[int, str]]) -> None:
        """Record where the files of items that are not here go, by item key and file id."""
        bulk.write(
            self._db,
            "WITH told (item_key, file_id, path) AS ({values}) UPDATE files SET path = told.path FROM told"
            " WHERE files.item_key = told.item_key AND files.file_id = told.file_id",
            [(key, file_id, path) for key, paths in placed.items() for file_id, path in paths.items()],
        )
        bulk.write(self._db, "DELETE FROM unplaced WHERE item_key IN ({values})", [(key,) for key in placed])


def _words(rename: FileRename) -> str:
    """Say for people what was moved, by the paths inside the item's folder."""
    home = "/".join(rename.source.split("/")[:2]) + "/"
    return f"moved: {rename.source.removeprefix(home)} to {rename.target.removeprefix(home)}"
