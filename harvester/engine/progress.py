"""How far a run has come: counted where it happens, read by whoever shows it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from harvester.text.redaction import REDACTOR

log = logging.getLogger(__name__)

MOST_WARNINGS = 100


@dataclass
class Tally:
    """The counters of one run, and what the user should know that is no failure."""

    listed: int = 0
    listing_ended: bool = False
    items_owed: int = 0
    items_done: int = 0
    items_failed: int = 0
    files_owed: int = 0
    files_done: int = 0
    files_failed: int = 0
    no_room: str = ""
    suspected: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def items_left(self) -> int:
        return max(0, self.items_owed - self.items_done - self.items_failed)

    @property
    def files_left(self) -> int:
        return max(0, self.files_owed - self.files_done - self.files_failed)

    def warn(self, text: str) -> None:
        """Tell the user, now and in the summary; once, however often it is noticed."""
        text = REDACTOR.text(text)
        if text in self.warnings:
            return
        log.warning("%s", text)
        if len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(text)
