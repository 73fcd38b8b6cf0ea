"""Log file with rotation: when it has reached its size, it is renamed, and a new one begins."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from harvester.errors import UsageError

MOST_BYTES = 10_000_000
OLD_FILES = 5
"""Number of older files that are kept: ``name.1`` to ``name.5``."""


class LogFile(RotatingFileHandler):
    """
    Writes log lines to a file.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(self, path: Path, formatter: logging.Formatter, *, most_bytes: int = MOST_BYTES) -> None:
        try:
            super().__init__(
                path, maxBytes=most_bytes, backupCount=OLD_FILES, encoding="utf-8", errors="backslashreplace"
            )
        except OSError as exc:
            raise UsageError(f"--log-file: {path}: {exc.strerror}") from exc
        self.setFormatter(formatter)

    def write(self, line: str) -> None:
        """Write a line as it is, where `JsonLines` formats the others."""
        record = logging.LogRecord("harvester", logging.INFO, "", 0, "", (), None)
        record.line = line
        self.handle(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Do nothing: the work matters more than a line that a full disk has no room for."""
