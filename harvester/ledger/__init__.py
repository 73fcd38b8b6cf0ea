"""
The ledger: the state of every item and file in SQLite, and the only SQL of the program.

`ledger` is held by the one run that writes, with group commit (`batch`). `tables/` holds one table or concern
a module: the work queue, items, files, listings, the quota, the journal of renames. `database/` opens and
migrates the file, and keeps the lease on its folder. `reader` reads beside a run. Import the module that you
need: `status` needs nothing of those that write.
"""
