"""
What was found, is owed, was done, failed and was learned; the only SQL.

`Ledger` is held by the one run that writes (`writing.py`): it collects what it is told into batches
(`batch.py`), writes them as rows (`entries.py`; pages of listings: `listings.py`), many with one statement
(`many.py`), and asks the line (`line.py`) what is owed. `Reader` reads beside it (`reading.py`). The tables
stand in `schema.py`, who may write is settled in `claim.py`. Each is imported by itself: `status` reads, and
needs nothing of those who write.
"""
