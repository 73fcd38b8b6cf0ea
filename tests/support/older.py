"""Ledgers of earlier table versions, for tests of what brings them up to date."""

TO_VERSION_5 = """
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
