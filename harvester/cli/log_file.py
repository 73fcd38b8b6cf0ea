"""Log file with rotation: when it has reached its size, it is renamed, and a new one begins."""

from __future__ import annotations

import contextlib
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from harvester.errors import UsageError

MOST_BYTES = 10_000_000
OLD_FILES = 5
"""Number of older files that are kept: ``name.1`` to ``name.5``."""


class LogFile(RotatingFileHandler):
    """
    Writes log lines to a file; `folder`: the output folder, which is made if the file is to be in it.

    Raises:
        UsageError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        formatter: logging.Formatter,
        *,
        most_bytes: int = MOST_BYTES,
        folder: Path | None = None,
    ) -> None:
        self._made: list[Path] = [] if path.exists() else [path]
        self._is_discarded = False
        try:
            if folder is not None and path.absolute().is_relative_to(folder.absolute()):
                self._made += [each for each in path.parents if not each.exists()]
                path.parent.mkdir(parents=True, exist_ok=True)
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

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_discarded:
            super().emit(record)

    def discard(self) -> None:
        """Remove the file and the folders made for it, unless they hold anything else, and log no more."""
        self._is_discarded = True
        self.close()
        with contextlib.suppress(OSError):  # the message about the wrong usage matters more
            for path in self._made:
                path.rmdir() if path.is_dir() else path.unlink()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Do nothing: the work matters more than a line that a full disk has no room for."""
