"""Migration to table version 12: when a task was done, so that old statistics can be found and renewed."""

DATES_OF_WORK = """
    ALTER TABLE work ADD COLUMN done_at TEXT NOT NULL DEFAULT '';  -- '': before it was recorded
    UPDATE work SET done_at = asked_at FROM stats
        WHERE stats.item_key = work.item_key AND task = 'stats' AND state = 'done';
"""
