"""
Migrations: the SQL from each table version to the next. `docs/explanation/ledger.md`
explains the tables.
"""

from harvester.ledger.database.migration_11 import STANDARD_WORDS
from harvester.ledger.database.migration_12 import DATES_OF_WORK

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
    """
    CREATE TABLE versions (                 -- each is an item of its own in all other tables
        id      INTEGER PRIMARY KEY,        -- its id there: negative, so that it is none of figshare's
        item_id INTEGER NOT NULL,           -- figshare's
        version INTEGER NOT NULL,
        UNIQUE (item_id, version)
    ) STRICT;
    ALTER TABLE items ADD COLUMN etag TEXT NOT NULL DEFAULT '';  -- of its record; '': none, or out of date
    ALTER TABLE items ADD COLUMN asked_in INTEGER NOT NULL DEFAULT 0;  -- the run that last got its record
    ALTER TABLE items ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;  -- 1: gone when asked for last
    UPDATE items SET withdrawn = 1
        WHERE id IN (SELECT item_id FROM work WHERE state <> 'done' AND state = 'withdrawn');

    CREATE TABLE licences (                 -- items that are wanted only if their record has one of these
        item_id INTEGER NOT NULL,
        licence TEXT NOT NULL,
        PRIMARY KEY (item_id, licence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE changes (                  -- what each run found to be new, changed, withdrawn, returned
        run_id  INTEGER NOT NULL,
        item_id INTEGER NOT NULL,
        change  TEXT NOT NULL,
        fields  TEXT NOT NULL,              -- of the record, joined by "; "
        files   TEXT NOT NULL,              -- "added: a.csv; removed: b.csv"
        PRIMARY KEY (run_id, item_id)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE leftovers (                -- files that were fetched and that no record lists any more
        path    TEXT PRIMARY KEY,
        item_id INTEGER NOT NULL,
        size    INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX leftovers_of_items ON leftovers (item_id);

    ALTER TABLE stats ADD COLUMN shares INTEGER;
    ALTER TABLE stats ADD COLUMN asked TEXT NOT NULL DEFAULT 'views,downloads';  -- at asked_at; others before
    CREATE TABLE snapshots (                -- rows of stats that newer ones have replaced
        item_id   INTEGER NOT NULL,
        asked_at  TEXT NOT NULL,
        views     INTEGER,
        downloads INTEGER,
        shares    INTEGER,
        PRIMARY KEY (item_id, asked_at)
    ) STRICT, WITHOUT ROWID;
    CREATE TRIGGER stats_renewed BEFORE UPDATE ON stats BEGIN
        INSERT INTO snapshots VALUES (old.item_id, old.asked_at,
            iif(instr(old.asked, 'views'), old.views, NULL),
            iif(instr(old.asked, 'downloads'), old.downloads, NULL),
            iif(instr(old.asked, 'shares'), old.shares, NULL))
            ON CONFLICT DO UPDATE SET views = excluded.views, downloads = excluded.downloads,
                shares = excluded.shares;
    END;
    CREATE TABLE uses (                     -- timelines; breakdowns are those with a country
        item_id     INTEGER NOT NULL,
        counter     TEXT NOT NULL,          -- views, downloads, shares
        granularity TEXT NOT NULL,          -- day, month, year, total
        date        TEXT NOT NULL,          -- when the period begins
        country     TEXT NOT NULL,          -- '': all of them together
        number      INTEGER NOT NULL,
        PRIMARY KEY (item_id, counter, granularity, country, date)
    ) STRICT, WITHOUT ROWID;

    ALTER TABLE listings RENAME TO old_listings;
    CREATE TABLE listings (
        id       INTEGER PRIMARY KEY,
        key      TEXT NOT NULL,             -- which listing: its kind and what it asks for
        old      INTEGER NOT NULL,          -- 1: as a run before read it, to see what has vanished since
        position TEXT,                      -- where the next page begins
        complete INTEGER NOT NULL,
        entries  INTEGER NOT NULL,          -- all that it gave so far
        found    INTEGER NOT NULL,          -- different items among them
        left_out INTEGER NOT NULL,          -- those that the user's filters do not take
        anew     INTEGER NOT NULL DEFAULT 0,-- 1: the next run begins it anew
        run_id   INTEGER NOT NULL,          -- which run recorded its first page
        begun    TEXT NOT NULL,             -- when it did
        mark     TEXT NOT NULL,             -- all that was modified before is here; '': not known
        UNIQUE (key, old)
    ) STRICT;
    INSERT INTO listings SELECT id, key, 0, position, complete, entries, found, left_out, anew, 0, '', ''
        FROM old_listings;
    DROP TABLE old_listings;
    CREATE TABLE settings (                 -- what the last run was told and the next one must compare with
        name  TEXT PRIMARY KEY,             -- a task; account, institution: whose private items these are
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    """,
    """
    -- A file that is replaced goes out of the way of the one that has its name now.
    ALTER TABLE leftovers ADD COLUMN file_id INTEGER NOT NULL DEFAULT 0;  -- figshare's; 0: not known
    CREATE TABLE moves (                    -- renames that are under way
        source  TEXT PRIMARY KEY,           -- paths below the output folder
        target  TEXT NOT NULL,
        item_id INTEGER NOT NULL,
        file_id INTEGER,                    -- of a file of `files`; null: of one of `leftovers`
        is_out  INTEGER NOT NULL            -- 1: it has left its old place, and may be in the new one
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE unplaced (                 -- items some of whose files have not the paths of their record
        item_id INTEGER PRIMARY KEY
    ) STRICT;
    INSERT INTO unplaced SELECT item_id FROM files WHERE path LIKE '%~%'
        UNION SELECT item_id FROM leftovers;

    ALTER TABLE items ADD COLUMN record_version INTEGER NOT NULL DEFAULT 0;  -- 0: none, as of drafts
    UPDATE items SET record_version = told.version FROM (
        SELECT item_id, json_extract(raw, '$.version') AS version FROM records
        WHERE json_valid(raw) AND json_type(raw, '$.version') = 'integer'
    ) AS told WHERE items.id = told.item_id AND told.version BETWEEN 1 AND 2147483647;

    -- What no run has asked for yet, as none of them fetched files.
    UPDATE files SET status = 'skipped', verdict = 'not asked for'
        WHERE status = 'pending' AND turn IS NULL AND attempts = 0;
    """,
    """
    -- 1: the statistics of its item are asked for under this id, as lists name nothing but versions of it.
    ALTER TABLE versions ADD COLUMN counts INTEGER NOT NULL DEFAULT 0;
    UPDATE versions SET counts = 1 WHERE id IN (
        SELECT max(named.id) FROM versions AS named JOIN items USING (id)
        WHERE named.id IN (SELECT item_id FROM finds)
            AND NOT EXISTS (SELECT 1 FROM items AS current WHERE current.id = named.item_id)
        GROUP BY named.item_id
    );
    CREATE UNIQUE INDEX versions_that_count ON versions (item_id) WHERE counts;

    -- The newest date that a listing told. modified_date is the record's own, as soon as it is here.
    ALTER TABLE items ADD COLUMN listed_date TEXT;
    -- What was modified up to here is in the record, whatever a listing says: a day before it was asked for.
    ALTER TABLE items ADD COLUMN settled TEXT;
    UPDATE items SET modified_date = '' WHERE modified_date > strftime('%Y-%m-%dT%H:%M:%SZ', 'now', '+1 day')
        AND id IN (SELECT item_id FROM records);
    -- 1: no answer told its date, so `begun` is what this machine's clock said.
    ALTER TABLE listings ADD COLUMN by_clock INTEGER NOT NULL DEFAULT 0;
    """,
    """
    ALTER TABLE items ADD COLUMN named INTEGER NOT NULL DEFAULT 0;  -- 1: the user named this very item
    -- When its record is due again though nothing says that it changed: an embargo ends by itself.
    -- '': never; '0': at the next run, as a public record stands in for a private one.
    ALTER TABLE items ADD COLUMN due_after TEXT NOT NULL DEFAULT '';
    UPDATE items SET due_after = told.until FROM (
        SELECT item_id, date(substr(embargo_date, 1, 10)) || 'T00:10:00Z' AS until FROM (
            SELECT item_id, CASE WHEN json_valid(raw) THEN  -- not where it is nested too deeply for SQLite
                iif(json_extract(raw, '$.is_embargoed'), json_extract(raw, '$.embargo_date'), NULL)
            END AS embargo_date FROM items JOIN records ON item_id = items.id WHERE withheld <> ''
        )
    ) AS told WHERE told.item_id = items.id AND told.until IS NOT NULL;
    -- Of the account's own items what is withheld from the public was not asked for with the token before.
    UPDATE items SET due_after = '1970-01-01T00:00:00Z'
        WHERE private AND withheld NOT IN ('', 'metadata only') AND id IN (SELECT item_id FROM records);
    CREATE INDEX items_due ON items (due_after) WHERE due_after <> '';
    ALTER TABLE finds ADD COLUMN own INTEGER NOT NULL DEFAULT 0;  -- 1: a listing of private items named it
    """,
    """
    CREATE TABLE conditions (               -- items that are wanted only if their record meets one of these
        item_id   INTEGER NOT NULL,
        condition TEXT NOT NULL,            -- JSON: what their listing did not tell
        PRIMARY KEY (item_id, condition)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO conditions SELECT item_id, json_object('licence', licence) FROM licences;
    DROP TABLE licences;
    ALTER TABLE work ADD COLUMN told_as TEXT NOT NULL DEFAULT '';  -- of a failure: the task it is told of
    """,
    """
    -- Who holds the folder, so that no other process can be taken for it; '': not known.
    ALTER TABLE runs ADD COLUMN machine TEXT NOT NULL DEFAULT '';    -- its boot, and the pid namespace
    ALTER TABLE runs ADD COLUMN began TEXT NOT NULL DEFAULT '';      -- when the process did, in ticks
    ALTER TABLE runs ADD COLUMN heartbeat TEXT NOT NULL DEFAULT '';  -- another one with each sign of life
    -- 1: it was here when the ledger was made anew; what it is nobody knows, so nobody removes it.
    ALTER TABLE leftovers ADD COLUMN found INTEGER NOT NULL DEFAULT 0;
    """,
    STANDARD_WORDS,
    DATES_OF_WORK,
)
