"""The tables, their versions, and what SQLite's errors mean for a harvest. `docs/ledger.md` is the map."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harvester.errors import DiskTrouble, UsageError

NAME = "harvest.db"
STATEMENTS_KEPT = 32
"""Prepared ones: those for many rows (`many.py`) are large, and each number of rows is another one."""
FILE_COLUMNS = "file_id, name, folder, size, md5, url"
"""In the order of the first fields of `RemoteFile`."""

MIGRATIONS = (
    """
    CREATE TABLE items (
        id            INTEGER PRIMARY KEY,  -- figshare's
        private       INTEGER NOT NULL,     -- 1: listed by the account
        modified_date TEXT,                 -- the newest that a listing or the record told
        turn          INTEGER               -- place in the line of what is owed; null: not in it
    ) STRICT;
    CREATE INDEX items_in_line ON items (turn) WHERE turn IS NOT NULL;

    CREATE TABLE work (
        item_id  INTEGER NOT NULL REFERENCES items (id),
        task     TEXT NOT NULL,             -- metadata, stats
        state    TEXT NOT NULL,             -- owed, done, failed, withdrawn
        error    TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (item_id, task)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE records (
        item_id    INTEGER PRIMARY KEY REFERENCES items (id),
        raw        TEXT NOT NULL,           -- as figshare sent it
        file_list  TEXT,                    -- all files, where the record lists only the first ten
        fetched_at TEXT NOT NULL
    ) STRICT;

    CREATE TABLE stats (
        item_id  INTEGER PRIMARY KEY REFERENCES items (id),
        views     INTEGER,                  -- null: the service knows nothing of the item
        downloads INTEGER,
        asked_at  TEXT NOT NULL
    ) STRICT;

    CREATE TABLE files (
        item_id  INTEGER NOT NULL REFERENCES items (id),
        file_id  INTEGER NOT NULL,
        name     TEXT NOT NULL,
        folder   TEXT NOT NULL,
        size     INTEGER NOT NULL,
        md5      TEXT,
        url      TEXT NOT NULL,
        path     TEXT NOT NULL,             -- below the output folder, also where nothing was fetched
        status   TEXT NOT NULL,             -- pending, done, failed, skipped, link, withheld
        error    TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0,
        turn     INTEGER,
        PRIMARY KEY (item_id, file_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX files_in_line ON files (turn) WHERE turn IS NOT NULL;

    CREATE TABLE listings (
        key      TEXT PRIMARY KEY,          -- which listing: its kind and what it asks for
        position TEXT,                      -- where the next page begins
        complete INTEGER NOT NULL,
        found    INTEGER NOT NULL           -- entries, those met twice included
    ) STRICT;

    CREATE TABLE mishaps (                  -- listings that failed, names that lead to no item
        task     TEXT NOT NULL,
        subject  TEXT NOT NULL,
        error    TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        PRIMARY KEY (task, subject)
    ) STRICT;

    CREATE TABLE runs (
        id       INTEGER PRIMARY KEY,
        job      TEXT NOT NULL,             -- harvest, verify
        started  TEXT NOT NULL,
        ended    TEXT,
        outcome  TEXT,                      -- finished, interrupted, stopped; null: under way or killed
        host     TEXT NOT NULL,
        pid      INTEGER NOT NULL,
        beat     REAL NOT NULL              -- seconds since 1970: the last sign of life
    ) STRICT;
    """,
    """
    ALTER TABLE items ADD COLUMN withheld TEXT NOT NULL DEFAULT '';  -- why nothing of it can be downloaded
    -- Why something is not here: of what failed see errors.Verdict, of a withheld file the reason.
    ALTER TABLE work ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
    ALTER TABLE files ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
    ALTER TABLE mishaps ADD COLUMN verdict TEXT NOT NULL DEFAULT '';
    UPDATE work SET verdict = 'failed for now' WHERE state = 'failed';
    UPDATE files SET verdict = 'failed for now' WHERE status = 'failed';
    ALTER TABLE mishaps ADD COLUMN listing TEXT NOT NULL DEFAULT '';  -- the key of the one it is of
    UPDATE mishaps SET verdict = 'failed for now';

    DROP TABLE listings;                    -- they are read anew; what they had found stays
    CREATE TABLE listings (
        id       INTEGER PRIMARY KEY,
        key      TEXT NOT NULL UNIQUE,      -- which listing: its kind and what it asks for
        position TEXT,                      -- where the next page begins
        complete INTEGER NOT NULL,
        entries  INTEGER NOT NULL,          -- all that it gave so far
        found    INTEGER NOT NULL,          -- different items among them
        left_out INTEGER NOT NULL,          -- those that the user's filters do not take
        anew     INTEGER NOT NULL DEFAULT 0 -- 1: the next run begins it anew
    ) STRICT;
    CREATE TABLE finds (                    -- which listing named which item
        listing_id INTEGER NOT NULL REFERENCES listings (id) ON DELETE CASCADE,
        item_id    INTEGER NOT NULL,
        PRIMARY KEY (listing_id, item_id)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- What is not done, and nothing of what is: the question that every run begins with.
    CREATE INDEX work_open ON work (state, item_id, verdict) WHERE state <> 'done';
    DROP INDEX files_in_line;
    CREATE INDEX files_open ON files (turn) WHERE status IN ('pending', 'failed', 'skipped');
    CREATE INDEX items_withheld ON items (withheld) WHERE withheld <> '';

    ALTER TABLE finds RENAME TO old_finds;  -- by item, so that different ones are counted as they are read
    CREATE TABLE finds (
        item_id    INTEGER NOT NULL,
        listing_id INTEGER NOT NULL,        -- no foreign key: SQLite would look at all rows for each listing
        PRIMARY KEY (item_id, listing_id)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO finds SELECT item_id, listing_id FROM old_finds ORDER BY 1, 2;
    DROP TABLE old_finds;

    CREATE TABLE totals (                   -- rows of the other tables, counted by the triggers below
        what    TEXT NOT NULL,              -- items, records, work, files
        task    TEXT NOT NULL DEFAULT '',   -- of work
        state   TEXT NOT NULL DEFAULT '',   -- of work; the status of files
        verdict TEXT NOT NULL DEFAULT '',   -- of files
        number  INTEGER NOT NULL,
        bytes   INTEGER NOT NULL DEFAULT 0, -- of files
        PRIMARY KEY (what, task, state, verdict)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO totals (what, number) SELECT 'items', count(*) FROM items;
    INSERT INTO totals (what, number) SELECT 'records', count(*) FROM records;
    INSERT INTO totals (what, task, state, number) SELECT 'work', task, state, 1 FROM work WHERE true
        ON CONFLICT DO UPDATE SET number = number + 1;
    INSERT INTO totals (what, state, verdict, number, bytes) SELECT 'files', status, verdict, 1, size
        FROM files WHERE true
        ON CONFLICT DO UPDATE SET number = number + 1,
            bytes = min(bytes + excluded.bytes, 9223372036854775807);

    CREATE TRIGGER items_added AFTER INSERT ON items BEGIN
        UPDATE totals SET number = number + 1 WHERE (what, task, state, verdict) = ('items', '', '', '');
    END;
    CREATE TRIGGER items_removed AFTER DELETE ON items BEGIN
        UPDATE totals SET number = number - 1 WHERE (what, task, state, verdict) = ('items', '', '', '');
    END;
    CREATE TRIGGER records_added AFTER INSERT ON records BEGIN
        UPDATE totals SET number = number + 1 WHERE (what, task, state, verdict) = ('records', '', '', '');
    END;
    CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN
        UPDATE totals SET number = number - 1 WHERE (what, task, state, verdict) = ('records', '', '', '');
    END;
    CREATE TRIGGER work_added AFTER INSERT ON work BEGIN
        INSERT INTO totals (what, task, state, number) VALUES ('work', new.task, new.state, 1)
            ON CONFLICT DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER work_removed AFTER DELETE ON work BEGIN
        UPDATE totals SET number = number - 1
            WHERE (what, task, state, verdict) = ('work', old.task, old.state, '');
    END;
    CREATE TRIGGER work_changed AFTER UPDATE OF task, state ON work
    WHEN (new.task, new.state) <> (old.task, old.state) BEGIN
        UPDATE totals SET number = number - 1
            WHERE (what, task, state, verdict) = ('work', old.task, old.state, '');
        INSERT INTO totals (what, task, state, number) VALUES ('work', new.task, new.state, 1)
            ON CONFLICT DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
        INSERT INTO totals VALUES ('files', '', new.status, new.verdict, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN
        UPDATE totals SET number = number - 1, bytes = bytes - old.size
            WHERE (what, task, state, verdict) = ('files', '', old.status, old.verdict);
    END;
    CREATE TRIGGER files_changed AFTER UPDATE OF status, verdict, size ON files
    WHEN (new.status, new.verdict, new.size) <> (old.status, old.verdict, old.size) BEGIN
        UPDATE totals SET number = number - 1, bytes = bytes - old.size
            WHERE (what, task, state, verdict) = ('files', '', old.status, old.verdict);
        INSERT INTO totals VALUES ('files', '', new.status, new.verdict, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1, bytes = bytes + excluded.bytes;
    END;
    """,
    """
    -- Bytes that nobody could count stay at the most or the least there is: what is beyond no column takes.
    DROP TRIGGER files_added;
    DROP TRIGGER files_removed;
    DROP TRIGGER files_changed;
    CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
        INSERT INTO totals VALUES ('files', '', new.status, new.verdict, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1,
                bytes = min(bytes + excluded.bytes, 9223372036854775807);
    END;
    CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN
        UPDATE totals SET number = number - 1, bytes = max(bytes - old.size, 0)
            WHERE (what, task, state, verdict) = ('files', '', old.status, old.verdict);
    END;
    CREATE TRIGGER files_changed AFTER UPDATE OF status, verdict, size ON files
    WHEN (new.status, new.verdict, new.size) <> (old.status, old.verdict, old.size) BEGIN
        UPDATE totals SET number = number - 1, bytes = max(bytes - old.size, 0)
            WHERE (what, task, state, verdict) = ('files', '', old.status, old.verdict);
        INSERT INTO totals VALUES ('files', '', new.status, new.verdict, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1,
                bytes = min(bytes + excluded.bytes, 9223372036854775807);
    END;

    -- Names of listings that the second step had dropped: they are asked for with their listing.
    DELETE FROM mishaps WHERE task = 'resolve' AND listing NOT IN (SELECT key FROM listings);
    """,
)
OPEN_WORK = "state <> 'done'"
"""What the index `work_open` holds; as `OPEN_FILES`."""
OPEN_FILES = "status IN ('pending', 'failed', 'skipped')"
"""What the index `files_open` holds; SQLite uses it where a query says so in these very words."""


def exists(folder: Path) -> bool:
    """Tell whether `folder` holds a harvest that can be seen from here."""
    try:
        return (folder / NAME).is_file()
    except OSError:
        return False


def file_identity(path: Path) -> tuple[int, int] | None:
    """Tell which file is at `path` now, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Translate what SQLite says of a disk or a file that is of no use."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise DiskTrouble(
                f"{path}: damaged, and left as it is ({exc}); restore it from a copy, or begin a "
                "new harvest in another folder"
            ) from exc
        if code in {
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_BUSY,
        }:
            raise DiskTrouble(f"{path}: {exc}; check the disk and run again") from exc
        raise


def connect(path: Path, *, read_only: bool, locks: bool) -> sqlite3.Connection:
    """
    Open the database at `path`; refuse one that a newer version wrote.

    `locks`: whether the file system has any; see `lockless.py`.

    Raises:
        DiskTrouble: a link is in the place of the database.
    """
    for name in (NAME, f"{NAME}-wal", f"{NAME}-shm", f"{NAME}-journal"):
        if (link := path.with_name(name)).is_symlink():
            raise DiskTrouble(f"{link}: a link, which might lead out of the output folder; remove it")
    if not read_only:
        return _open(path, "mode=rwc", locks=locks)
    try:
        return _open(path, "mode=ro", locks=locks)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode != sqlite3.SQLITE_CANTOPEN or path.with_name(f"{NAME}-wal").exists():
            raise
        # A reader makes small files beside the database. Where it must not, nobody else is writing now.
        return _open(path, "mode=ro&immutable=1", locks=locks)


def _open(path: Path, options: str, *, locks: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}" + ("" if locks else "&vfs=unix-none"),
        uri=True,
        timeout=30.0,
        cached_statements=STATEMENTS_KEPT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not locks:  # a write-ahead log from elsewhere needs shared memory, unless one is alone
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise UsageError(
                f"{path}: written by a newer harvester (ledger version {version}, this one knows "
                f"{len(MIGRATIONS)}): upgrade to read it"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def needs_migration(connection: sqlite3.Connection) -> bool:
    """Tell whether the tables are those of an earlier version."""
    return _version(connection) < len(MIGRATIONS)


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, *, check: Callable[[], None] = lambda: None) -> None:
    """
    Bring the tables up to date, all or nothing.

    `check` is called where tables would be changed that are there already, and raises where they must not
    be. It is called with the write lock held: nobody can begin to use them in between.
    """
    if not needs_migration(connection):
        return
    with at_once(connection):
        version = _version(connection)  # another may have been faster
        if 0 < version < len(MIGRATIONS):
            check()
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")


def _statements(script: str) -> Iterator[str]:
    """Split a script; sqlite3's own `executescript` would end the transaction it is called in."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += piece + ";"
        if sqlite3.complete_statement(statement):  # not so where the semicolon is a comment's
            yield statement
            statement = ""


@contextmanager
def at_once(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all that is done in the block, or nothing; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
