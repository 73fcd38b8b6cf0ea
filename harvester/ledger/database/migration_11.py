"""Migration to table version 11: standard names for tables, columns, states and failure kinds."""

STANDARD_WORDS = """
    -- The field's words, and one word for one thing: nothing else changes.
    DROP TRIGGER work_added;
    DROP TRIGGER work_removed;
    DROP TRIGGER work_changed;
    DROP TRIGGER files_added;
    DROP TRIGGER files_removed;
    DROP TRIGGER files_changed;
    DROP TRIGGER items_added;
    DROP TRIGGER items_removed;
    DROP TRIGGER records_added;
    DROP TRIGGER records_removed;

    ALTER TABLE finds RENAME TO listing_items;
    ALTER TABLE mishaps RENAME TO listing_failures;
    ALTER TABLE uses RENAME TO usage;
    ALTER TABLE moves RENAME TO renames;
    ALTER TABLE leftovers RENAME TO orphans;
    DROP INDEX leftovers_of_items;

    -- figshare's id of an item is `item_id`, the ledger's own key of an item or version `item_key`.
    ALTER TABLE items RENAME COLUMN id TO item_key;
    ALTER TABLE versions RENAME COLUMN id TO item_key;
    ALTER TABLE work RENAME COLUMN item_id TO item_key;
    ALTER TABLE records RENAME COLUMN item_id TO item_key;
    ALTER TABLE stats RENAME COLUMN item_id TO item_key;
    ALTER TABLE snapshots RENAME COLUMN item_id TO item_key;
    ALTER TABLE usage RENAME COLUMN item_id TO item_key;
    ALTER TABLE files RENAME COLUMN item_id TO item_key;
    ALTER TABLE listing_items RENAME COLUMN item_id TO item_key;
    ALTER TABLE conditions RENAME COLUMN item_id TO item_key;
    ALTER TABLE changes RENAME COLUMN item_id TO item_key;
    ALTER TABLE orphans RENAME COLUMN item_id TO item_key;
    ALTER TABLE renames RENAME COLUMN item_id TO item_key;
    ALTER TABLE unplaced RENAME COLUMN item_id TO item_key;
    CREATE INDEX orphans_of_items ON orphans (item_key);
    ALTER TABLE orphans RENAME COLUMN found TO unidentified;
    ALTER TABLE items RENAME COLUMN turn TO seq;
    ALTER TABLE files RENAME COLUMN turn TO seq;
    ALTER TABLE listings RENAME COLUMN left_out TO excluded;
    ALTER TABLE listings RENAME COLUMN found TO unique_items;
    ALTER TABLE listings RENAME COLUMN mark TO watermark;
    ALTER TABLE work RENAME COLUMN told_as TO reported_as;

    ALTER TABLE records ADD COLUMN api_version TEXT NOT NULL DEFAULT 'v2';  -- which one of figshare's sent it

    -- What kind of failure it was, and why something is not fetched, are two things.
    ALTER TABLE work RENAME COLUMN verdict TO failure_kind;
    ALTER TABLE listing_failures RENAME COLUMN verdict TO failure_kind;
    ALTER TABLE files RENAME COLUMN verdict TO reason;      -- why it is withheld or skipped; '': by the rules
    ALTER TABLE files ADD COLUMN failure_kind TEXT NOT NULL DEFAULT '';  -- see errors.FailureKind
    CREATE TEMPORARY TABLE kinds (old TEXT PRIMARY KEY, new TEXT NOT NULL);
    INSERT INTO kinds VALUES ('gone', 'not_found'), ('failed for now', 'transient'),
        ('failed for good', 'permanent'), ('blocked', 'blocked'), ('suspected', 'suspected');
    UPDATE work SET failure_kind = (SELECT new FROM kinds WHERE old = failure_kind)
        WHERE state <> 'done' AND failure_kind IN (SELECT old FROM kinds);
    UPDATE listing_failures SET failure_kind = (SELECT new FROM kinds WHERE old = failure_kind)
        WHERE failure_kind IN (SELECT old FROM kinds);
    UPDATE files SET failure_kind = (SELECT new FROM kinds WHERE old = reason), reason = ''
        WHERE status IN ('pending', 'failed', 'skipped') AND status <> 'skipped'
            AND reason IN (SELECT old FROM kinds);
    UPDATE work SET state = 'pending' WHERE state <> 'done' AND state = 'owed';
    UPDATE work SET state = 'excluded' WHERE state <> 'done' AND state = 'left out';

    ALTER TABLE totals RENAME TO old_totals;
    CREATE TABLE totals (                   -- rows of the other tables, counted by the triggers below
        what         TEXT NOT NULL,             -- items, records, work, files
        task         TEXT NOT NULL DEFAULT '',  -- of work
        state        TEXT NOT NULL DEFAULT '',  -- of work; the status of files
        failure_kind TEXT NOT NULL DEFAULT '',  -- of files
        reason       TEXT NOT NULL DEFAULT '',  -- of files
        number       INTEGER NOT NULL,
        bytes        INTEGER NOT NULL DEFAULT 0,  -- of files
        PRIMARY KEY (what, task, state, failure_kind, reason)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO totals SELECT what, task,
            CASE WHEN what = 'work' AND state = 'owed' THEN 'pending'
                WHEN what = 'work' AND state = 'left out' THEN 'excluded' ELSE state END,
            iif(state IN ('pending', 'failed'), ifnull(new, ''), ''),
            iif(state IN ('pending', 'failed') AND new IS NOT NULL, '', verdict), number, bytes
        FROM old_totals LEFT JOIN kinds ON old = verdict;
    DROP TABLE old_totals;
    DROP TABLE kinds;

    CREATE TRIGGER items_added AFTER INSERT ON items BEGIN
        UPDATE totals SET number = number + 1 WHERE what = 'items';
    END;
    CREATE TRIGGER items_removed AFTER DELETE ON items BEGIN
        UPDATE totals SET number = number - 1 WHERE what = 'items';
    END;
    CREATE TRIGGER records_added AFTER INSERT ON records BEGIN
        UPDATE totals SET number = number + 1 WHERE what = 'records';
    END;
    CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN
        UPDATE totals SET number = number - 1 WHERE what = 'records';
    END;
    CREATE TRIGGER work_added AFTER INSERT ON work BEGIN
        INSERT INTO totals (what, task, state, number) VALUES ('work', new.task, new.state, 1)
            ON CONFLICT DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER work_removed AFTER DELETE ON work BEGIN
        UPDATE totals SET number = number - 1 WHERE (what, task, state) = ('work', old.task, old.state);
    END;
    CREATE TRIGGER work_changed AFTER UPDATE OF task, state ON work
    WHEN (new.task, new.state) <> (old.task, old.state) BEGIN
        UPDATE totals SET number = number - 1 WHERE (what, task, state) = ('work', old.task, old.state);
        INSERT INTO totals (what, task, state, number) VALUES ('work', new.task, new.state, 1)
            ON CONFLICT DO UPDATE SET number = number + 1;
    END;
    CREATE TRIGGER files_added AFTER INSERT ON files BEGIN
        INSERT INTO totals VALUES ('files', '', new.status, new.failure_kind, new.reason, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1,
                bytes = min(bytes + excluded.bytes, 9223372036854775807);
    END;
    CREATE TRIGGER files_removed AFTER DELETE ON files BEGIN
        UPDATE totals SET number = number - 1, bytes = max(bytes - old.size, 0)
            WHERE (what, task, state, failure_kind, reason)
                = ('files', '', old.status, old.failure_kind, old.reason);
    END;
    CREATE TRIGGER files_changed AFTER UPDATE OF status, failure_kind, reason, size ON files
    WHEN (new.status, new.failure_kind, new.reason, new.size)
        <> (old.status, old.failure_kind, old.reason, old.size) BEGIN
        UPDATE totals SET number = number - 1, bytes = max(bytes - old.size, 0)
            WHERE (what, task, state, failure_kind, reason)
                = ('files', '', old.status, old.failure_kind, old.reason);
        INSERT INTO totals VALUES ('files', '', new.status, new.failure_kind, new.reason, 1, new.size)
            ON CONFLICT DO UPDATE SET number = number + 1,
                bytes = min(bytes + excluded.bytes, 9223372036854775807);
    END;
    """
