"""Error causes: says in words what an SQLite error means; SQLite's own message goes to the log."""

from __future__ import annotations

import sqlite3

_HELD = "another program is writing to it"
_CAUSES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "this user may not write here",
    sqlite3.SQLITE_CANTOPEN: "this user may not open it, or not write here",
    sqlite3.SQLITE_AUTH: "this user may not read and write here",
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_NOLFS: "it is too large for this disk",
    sqlite3.SQLITE_IOERR: "the disk has failed to read or write",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_NOTADB: "it is no ledger: damaged or replaced",
    sqlite3.SQLITE_CORRUPT: "its content is damaged",
    sqlite3.SQLITE_MISMATCH: "its content is damaged",
    sqlite3.SQLITE_ERROR: "its tables are not those of a ledger",
}
"""By primary result code."""


def primary_code(error: BaseException) -> int:
    """Return the primary result code of an SQLite error, 0 if it has none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def log_detail(text: str) -> None:
    """Log what SQLite says of an error."""
    import logging  # noqa: PLC0415 - `status` needs it for errors only

    logging.getLogger(__name__).debug("SQLite: %s", text)


def meaning(error: BaseException) -> str:
    """Return what an SQLite error means; text that is no UTF-8 is damage too."""
    log_detail(str(error))
    if "decode" in str(error):
        return "a text in it is damaged"
    return _CAUSES.get(primary_code(error), "it cannot be read or written")
