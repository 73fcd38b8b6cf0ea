"""
Rename journal: planned and unfinished renames of files, so that a crash loses none.

A rename is recorded here before the disk is changed. All files of a plan first leave their paths, then that
is recorded, then they get the new paths. So files may swap names, and after a crash the disk and the recorded
phase show which steps remain.
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
    The rename of one file; both paths are below the output folder.

    ``item_key``: the key of its item.
    ``file_id``: None for an orphan.
    ``is_out``: it has left its old path, and may have the new one.
    """

    item_key: ItemKey
    file_id: int | None
    source: str
    target: str
    is_out: bool = False


class ItemFiles(NamedTuple):
    """
    The files of an item, on disk and in its record.

    ``item_id``, ``version``: figshare's; 0 for the current one. ``files``: each with its path, and whether
    the ledger knows it to be here. ``orphans``: paths of replaced files, with their ids (0: not known).
    """

    item_key: ItemKey
    item_id: ItemId
    version: int
    files: Sequence[tuple[RemoteFile, str, bool]]
    orphans: Mapping[str, int]


class RenameJournal:
    """Plans and records renames; `note` saves finished renames as changes."""

    def __init__(
        self, db: sqlite3.Connection, note: Callable[[Mapping[ItemKey, tuple[str, ...]]], None]
    ) -> None:
        self._db = db
        self._note = note

    def plan(self, renames: Sequence[FileRename]) -> None:
        """Record planned renames."""
        bulk.write(
            self._db,
            "INSERT OR REPLACE INTO renames (source, target, item_key, file_id, is_out) {values}",
            [(rename.source, rename.target, rename.item_key, rename.file_id, 0) for rename in renames],
        )

    def note_out(self, renames: Sequence[FileRename]) -> None:
        """Record that these files have left their paths."""
        bulk.write(
            self._db,
            "UPDATE renames SET is_out = 1 WHERE source IN ({values})",
            [(rename.source,) for rename in renames],
        )

    def finish(self, renames: Sequence[FileRename]) -> None:
        """Record that these files have their new paths."""
        paths = [(rename.source, rename.target) for rename in renames if rename.file_id is None]
        bulk.write(
            self._db,
            "WITH given (item_key, file_id, target) AS ({values}) UPDATE files SET path = given.target"
            " FROM given WHERE files.item_key = given.item_key AND files.file_id = given.file_id",
            [
                (rename.item_key, rename.file_id, rename.target)
                for rename in renames
                if rename.file_id is not None
            ],
        )
        bulk.write(  # a file that its record lists again is no orphan
            self._db,
            "DELETE FROM orphans WHERE path IN ({values})",
            [(rename.source,) for rename in renames if rename.file_id is not None],
        )
        # Two files may swap paths, and paths are unique: so use temporary names first.
        bulk.write(
            self._db,
            "WITH given (source, target) AS ({values}) UPDATE orphans SET path = '/' || given.target"
            " FROM given WHERE orphans.path = given.source",
            paths,
        )
        self._db.execute("UPDATE OR REPLACE orphans SET path = substr(path, 2) WHERE path LIKE '/%'")
        bulk.write(
            self._db,
            "DELETE FROM renames WHERE source IN ({values})",
            [(rename.source,) for rename in renames],
        )
        texts: dict[ItemKey, tuple[str, ...]] = {}
        for rename in renames:
            texts[rename.item_key] = (*texts.get(rename.item_key, ()), _words(rename))
        self._note(texts)

    def unfinished(self) -> list[FileRename]:
        """Return the unfinished renames of an interrupted run."""
        rows = self._db.execute(
            "SELECT item_key, file_id, source, target, is_out FROM renames ORDER BY source"
        )
        return [
            FileRename(key, file_id, source, target, bool(is_out))
            for key, file_id, source, target, is_out in rows
        ]

    # -- items with files at other paths --------------------------------------------------------------

    def unplaced(self, most: int) -> list[ItemFiles]:
        """Return some of the items whose files may not have the paths of their records."""
        keys = self._db.execute("SELECT item_key FROM unplaced ORDER BY 1 LIMIT ?", (most,)).fetchall()
        return [self.files_of(key) for (key,) in keys]

    def files_of(self, key: ItemKey) -> ItemFiles:
        """Return the files of an item or a version, on disk and in its record."""
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
            # Files from before a rebuild have the item's key, as the key of the version was unknown.
            " UNION SELECT path, file_id FROM orphans WHERE ? AND unidentified AND path > ? AND path < ?",
            (key, number > 0, f"files/{item_id}.v{number}/", f"files/{item_id}.v{number}0"),
        )
        return ItemFiles(key, item_id, number, files, dict(left.fetchall()))

    def orphans_of(self, key: ItemKey, size: int) -> list[tuple[str, int]]:
        """Return path and file id (0: unknown) of an item's orphans with this size."""
        return self._db.execute(
            "SELECT path, file_id FROM orphans WHERE item_key = ? AND size = ? ORDER BY path", (key, size)
        ).fetchall()

    def save_paths(self, placed: Mapping[ItemKey, Mapping[int, str]]) -> None:
        """Save the paths of pending files, by item key and file id."""
        bulk.write(
            self._db,
            "WITH given (item_key, file_id, path) AS ({values}) UPDATE files SET path = given.path FROM given"
            " WHERE files.item_key = given.item_key AND files.file_id = given.file_id",
            [(key, file_id, path) for key, paths in placed.items() for file_id, path in paths.items()],
        )
        bulk.write(self._db, "DELETE FROM unplaced WHERE item_key IN ({values})", [(key,) for key in placed])


def _words(rename: FileRename) -> str:
    """Return a rename as text, with paths inside the item's folder."""
    home = "/".join(rename.source.split("/")[:2]) + "/"
    return f"moved: {rename.source.removeprefix(home)} to {rename.target.removeprefix(home)}"
