"""
What was found, is owed, was done, failed and was learned; the only SQL.

`Ledger` is held by the one run that writes (`writing.py`): it collects entries (`entries.py`) into batches
and asks the line (`line.py`) what is owed. `Reader` reads beside it (`reading.py`). The tables stand in
`schema.py`, who may write is settled in `claim.py`.
"""

from harvester.ledger.lockless import is_trace, locks_work
from harvester.ledger.reading import ItemRow, Reader
from harvester.ledger.results import Added, Again, FileResult, ItemResult, Listed, Opening
from harvester.ledger.schema import NAME, exists
from harvester.ledger.writing import Ledger

__all__ = [
    "NAME",
    "Added",
    "Again",
    "FileResult",
    "ItemResult",
    "ItemRow",
    "Ledger",
    "Listed",
    "Opening",
    "Reader",
    "exists",
    "is_trace",
    "locks_work",
]
