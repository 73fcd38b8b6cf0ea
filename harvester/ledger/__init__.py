"""
Ledger: the state of every item and file in SQLite, and the only SQL of the program.

`ledger` is for the one run that writes, with group commit (`batch`). `tables/` has one module for each table
or
concern: the work queue, items, files, listings, the quota, the journal of renames. `database/` opens and
migrates the file, and keeps the lease on its folder. `reader` reads, also during a run. Import single
modules: `status` does not need those that write.
"""
