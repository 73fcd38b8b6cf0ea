"""Ledgers of earlier table versions, for tests of what brings them up to date."""

import re

from harvester.ledger.database.migrations import MIGRATIONS

_TRIGGERS = re.compile(r"CREATE TRIGGER (?:items|records|work|files)_\w+ .*?END;", re.DOTALL)
_NAMES = re.compile(r"CREATE TRIGGER (\w+)")
_KEYS = re.compile(r"ALTER TABLE (\w+) RENAME COLUMN (\w+) TO item_key;")
_OLD_KEYS = "".join(
    f"ALTER TABLE {table} RENAME COLUMN item_key TO {old};" for table, old in _KEYS.findall(MIGRATIONS[10])
)

TO_VERSION_10 = f"""
    {"".join(f"DROP TRIGGER {name};" for name in _NAMES.findall(MIGRATIONS[10]))}
    {_OLD_KEYS}
    ALTER TABLE work DROP COLUMN done_at;
    ALTER TABLE records DROP COLUMN api_version;
    ALTER TABLE listing_items RENAME TO finds;
    ALTER TABLE listing_failures RENAME TO mishaps;
    ALTER TABLE usage RENAME TO uses;
    ALTER TABLE renames RENAME TO moves;
    ALTER TABLE orphans RENAME TO leftovers;
    DROP INDEX orphans_of_items;
    CREATE INDEX leftovers_of_items ON leftovers (item_id);
    ALTER TABLE leftovers RENAME COLUMN unidentified TO found;
    ALTER TABLE items RENAME COLUMN seq TO turn;
    ALTER TABLE files RENAME COLUMN seq TO turn;
    ALTER TABLE listings RENAME COLUMN excluded TO left_out;
    ALTER TABLE listings RENAME COLUMN unique_items TO found;
    ALTER TABLE listings RENAME COLUMN watermark TO mark;
    ALTER TABLE work RENAME COLUMN reported_as TO told_as;
    ALTER TABLE work RENAME COLUMN failure_kind TO verdict;
    ALTER TABLE mishaps RENAME COLUMN failure_kind TO verdict;
    ALTER TABLE files RENAME COLUMN reason TO verdict;
    ALTER TABLE files DROP COLUMN failure_kind;
    UPDATE work SET state = 'owed' WHERE state = 'pending';
    UPDATE work SET state = 'left out' WHERE state = 'excluded';
    CREATE TABLE old_totals (
        what TEXT NOT NULL, task TEXT NOT NULL DEFAULT '', state TEXT NOT NULL DEFAULT '',
        verdict TEXT NOT NULL DEFAULT '', number INTEGER NOT NULL, bytes INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (what, task, state, verdict)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO old_totals SELECT what, task,
        CASE WHEN what <> 'work' THEN state WHEN state = 'pending' THEN 'owed'
            WHEN state = 'excluded' THEN 'left out' ELSE state END,
        reason, number, bytes FROM totals;
    DROP TABLE totals;
    ALTER TABLE old_totals RENAME TO totals;
    {"".join(each for each in _TRIGGERS.findall(MIGRATIONS[2]) if " files_" not in each)}
    {"".join(_TRIGGERS.findall(MIGRATIONS[3]))}
"""
"""Takes from the tables what came after version 10; nothing of it has failed."""

TO_VERSION_5 = f"""
    {TO_VERSION_10}
    DROP TABLE moves;
    DROP TABLE unplaced;
    ALTER TABLE leftovers DROP COLUMN file_id;
    ALTER TABLE leftovers DROP COLUMN found;
    ALTER TABLE runs DROP COLUMN machine;
    ALTER TABLE runs DROP COLUMN began;
    ALTER TABLE runs DROP COLUMN heartbeat;
    ALTER TABLE items DROP COLUMN record_version;
    DROP INDEX versions_that_count;
    ALTER TABLE versions DROP COLUMN counts;
    ALTER TABLE items DROP COLUMN listed_date;
    ALTER TABLE items DROP COLUMN settled;
    ALTER TABLE listings DROP COLUMN by_clock;
    DROP INDEX items_due;
    ALTER TABLE items DROP COLUMN named;
    ALTER TABLE items DROP COLUMN due_after;
    ALTER TABLE finds DROP COLUMN own;
    ALTER TABLE work DROP COLUMN told_as;
    DROP TABLE conditions;
    CREATE TABLE licences (
        item_id INTEGER NOT NULL, licence TEXT NOT NULL, PRIMARY KEY (item_id, licence)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 5;
"""
"""Takes from the tables what came after version 5; conditions on items are lost."""
