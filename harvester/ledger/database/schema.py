"""
Schema: all tables, indexes and triggers of the ledger, as a new one is made.

A ledger of an earlier version is migrated instead: `migrations.py` has the steps, and a test compares their
result with this. `docs/reference/ledger.md` says what each column means.
"""

SCHEMA = """
CREATE TABLE items (
    item_key INTEGER PRIMARY KEY,
    private INTEGER NOT NULL,
    modified_date TEXT,
    seq INTEGER,
    withheld TEXT NOT NULL DEFAULT '',
    etag TEXT NOT NULL DEFAULT '',
    asked_in INTEGER NOT NULL DEFAULT 0,
    withdrawn INTEGER NOT NULL DEFAULT 0,
    record_version INTEGER NOT NULL DEFAULT 0,
    listed_date TEXT,
    settled TEXT,
    named INTEGER NOT NULL DEFAULT 0,
    due_after TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX items_in_line ON items (seq) WHERE seq IS NOT NULL;
CREATE INDEX items_withheld ON items (withheld) WHERE withheld <> '';
CREATE INDEX items_due ON items (due_after) WHERE due_after <> '';

CREATE TABLE work (
    item_key INTEGER NOT NULL REFERENCES items (item_key),
    task TEXT NOT NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    failure_kind TEXT NOT NULL DEFAULT '',
    reported_as TEXT NOT NULL DEFAULT '',
    done_at TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (item_key, task)
) STRICT, WITHOUT ROWID;
CREATE INDEX work_open ON work (state, item_key, failure_kind) WHERE state <> 'done';

CREATE TABLE records (
    item_key INTEGER PRIMARY KEY REFERENCES items (item_key),
    raw TEXT NOT NULL,
    file_list TEXT,
    fetched_at TEXT NOT NULL,
    api_version TEXT NOT NULL DEFAULT 'v2'
) STRICT;

CREATE TABLE stats (
    item_key INTEGER PRIMARY KEY REFERENCES items (item_key),
    views INTEGER,
    downloads INTEGER,
    asked_at TEXT NOT NULL,
    shares INTEGER,
    asked TEXT NOT NULL DEFAULT 'views,downloads'
) STRICT;

CREATE TABLE files (
    item_key INTEGER NOT NULL REFERENCES items (item_key),
    file_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    folder TEXT NOT NULL,
    size INTEGER NOT NULL,
    md5 TEXT,
    url TEXT NOT NULL,
    path TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    seq INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    failure_kind TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (item_key, file_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_open ON files (seq) WHERE status IN ('pending', 'failed', 'skipped');

CREATE TABLE listing_failures (
    task TEXT NOT NULL,
    subject TEXT NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    failure_kind TEXT NOT NULL DEFAULT '',
    listing TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (task, subject)
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    job TEXT NOT NULL,
    started TEXT NOT NULL,
    ended TEXT,
    outcome TEXT,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    beat REAL NOT NULL,
    machine TEXT NOT NULL DEFAULT '',
    began TEXT NOT NULL DEFAULT '',
    heartbeat TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE listing_items (
    item_key INTEGER NOT NULL,
    listing_id INTEGER NOT NULL,
    own INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (item_key, listing_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    item_key INTEGER PRIMARY KEY,
    item_id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    counts INTEGER NOT NULL DEFAULT 0,
    UNIQUE (item_id, version)
) STRICT;
CREATE UNIQUE INDEX versions_that_count ON versions (item_id) WHERE counts;

CREATE TABLE changes (
    run_id INTEGER NOT NULL,
    item_key INTEGER NOT NULL,
    change TEXT NOT NULL,
    fields TEXT NOT NULL,
    files TEXT NOT NULL,
    PRIMARY KEY (run_id, item_key)
) STRICT, WITHOUT ROWID;

CREATE TABLE orphans (
    path TEXT PRIMARY KEY,
    item_key INTEGER NOT NULL,
    size INTEGER NOT NULL,
    file_id INTEGER NOT NULL DEFAULT 0,
    unidentified INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX orphans_of_items ON orphans (item_key);

CREATE TABLE snapshots (
    item_key INTEGER NOT NULL,
    asked_at TEXT NOT NULL,
    views INTEGER,
    downloads INTEGER,
    shares INTEGER,
    PRIMARY KEY (item_key, asked_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE usage (
    item_key INTEGER NOT NULL,
    counter TEXT NOT NULL,
    granularity TEXT NOT NULL,
    date TEXT NOT NULL,
    country TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (item_key, counter, granularity, country, date)
) STRICT, WITHOUT ROWID;

CREATE TABLE listings (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    old INTEGER NOT NULL,
    position TEXT,
    complete INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    unique_items INTEGER NOT NULL,
    excluded INTEGER NOT NULL,
    anew INTEGER NOT NULL DEFAULT 0,
    run_id INTEGER NOT NULL,
    begun TEXT NOT NULL,
    watermark TEXT NOT NULL,
    by_clock INTEGER NOT NULL DEFAULT 0,
    UNIQUE (key, old)
) STRICT;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE renames (
    source TEXT PRIMARY KEY,
    target TEXT NOT NULL,
    item_key INTEGER NOT NULL,
    file_id INTEGER,
    is_out INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE unplaced (
    item_key INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE conditions (
    item_key INTEGER NOT NULL,
    condition TEXT NOT NULL,
    PRIMARY KEY (item_key, condition)
) STRICT, WITHOUT ROWID;

CREATE TABLE totals (
    what TEXT NOT NULL,
    task TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '',
    failure_kind TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT '',
    number INTEGER NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (what, task, state, failure_kind, reason)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER stats_renewed BEFORE UPDATE ON stats BEGIN
    INSERT INTO snapshots VALUES (old.item_key, old.asked_at,
        iif(instr(old.asked, 'views'), old.views, NULL),
        iif(instr(old.asked, 'downloads'), old.downloads, NULL),
        iif(instr(old.asked, 'shares'), old.shares, NULL))
        ON CONFLICT DO UPDATE SET views = excluded.views, downloads = excluded.downloads,
            shares = excluded.shares;
END;

-- The numbers in `totals` follow every change, so that no run counts rows.
INSERT INTO totals (what, number) VALUES ('items', 0), ('records', 0);

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
