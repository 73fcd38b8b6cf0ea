"""
Failure log: the first failures of each kind in full, then their number.

A full disk, an outage or refused credentials fail many items and files alike. Such a cause has one line, and
a count at 100, 1,000 … failures and at the end. Of other kinds the first `SINGLY` have lines.
`harvester failed` lists them all, also after a run that could not continue.
"""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import NamedTuple

from harvester.errors import FailureKind
from harvester.figshare.listing_names import listing_name
from harvester.models import Failure
from harvester.system.log_events import event
from harvester.text.repeats import SINGLY, is_milestone, is_shown

log = logging.getLogger(__name__)

WORDS = {
    FailureKind.NOT_FOUND: "not found",
    FailureKind.BLOCKED: "blocked",
    FailureKind.TRANSIENT: "failed temporarily",
    FailureKind.SUSPECTED: "not found, and not marked as withdrawn before the run ends",
    FailureKind.PERMANENT: "failed permanently",
}


class _Kind(NamedTuple):
    """What failures have in common that are counted together."""

    things: str
    task: str
    failure_kind: str
    common_cause: str

    @property
    def singly(self) -> int:
        return 1 if self.common_cause else SINGLY


class FailureLog:
    """Logs the failures of a run and counts them by kind; warnings about single items too."""

    def __init__(self) -> None:
        self._item_warnings = 0
        self._numbers: dict[_Kind, int] = {}
        self._logged: dict[_Kind, int] = {}  # lines so far, which a second try of the same does not repeat

    def add(self, failure: Failure) -> None:
        """Count a failure, and log it or the count if this is one to show."""
        kind = _kind_of(failure)
        number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
        level = logging.DEBUG if failure.failure_kind == FailureKind.SUSPECTED else logging.WARNING
        if is_shown(self._logged.get(kind, 0) + 1, kind.singly):
            self._logged[kind] = self._logged.get(kind, 0) + 1
            log.log(level, "%s", text_of(failure), extra=_event(failure, kind, 1))
        elif is_milestone(number, kind.singly):
            self._log_count(kind, level, f"{number:,} {kind.things} so far")

    def warn_of_item(self, text: str) -> None:
        """Log a warning about one item or entry, or their number if this is one to show."""
        self._item_warnings += 1
        if is_shown(self._item_warnings):
            log.warning("%s", text)
        elif is_milestone(self._item_warnings):
            log.warning("%s warnings about single items so far", f"{self._item_warnings:,}")

    def begin_again(self, kinds: Container[str]) -> None:
        """Count the failures of some kinds from 0, as what failed is tried a second time."""
        self._numbers = {kind: n for kind, n in self._numbers.items() if kind.failure_kind not in kinds}

    def end(self) -> None:
        """Log the number of each kind of which not all had their own lines, and count from 0."""
        for kind, number in self._numbers.items():
            if number > self._logged.get(kind, 0):
                self._log_count(kind, logging.WARNING, f"{number:,} {kind.things} in all")
        self._numbers = {}
        if not is_shown(self._item_warnings):
            log.warning("%s warnings about single items in all", f"{self._item_warnings:,}")
        self._item_warnings = 0

    def _log_count(self, kind: _Kind, level: int, number: str) -> None:
        why = kind.common_cause or WORDS[FailureKind(kind.failure_kind)]
        what = f"{kind.task}: {why}" if kind.things == "items" else why
        counted = Failure(kind.task, why, kind.failure_kind, common_cause=kind.common_cause)
        extra = _event(counted, kind, self._numbers[kind])
        log.log(level, "%s: %s; harvester failed lists them", number, what, extra=extra)


def _kind_of(failure: Failure) -> _Kind:
    things = "files" if failure.file_id is not None else "items" if failure.item_id is not None else "names"
    if failure.task == "listing":
        things = "listings"
    return _Kind(things, failure.reported_as or failure.task, failure.failure_kind, failure.common_cause)


def text_of(failure: Failure) -> str:
    """Return a failure as a line for people."""
    if failure.task == "listing":
        return f"{listing_name(failure.subject)}: incomplete: {failure.error}"
    if failure.item_id is None:
        return f"{failure.subject}: {failure.error}"
    version = f".v{failure.version}" if failure.version else ""
    file = "" if failure.file_id is None else f"file {failure.file_id}"
    return f"item {failure.item_id}{version}, {file or failure.reported_as or failure.task}: {failure.error}"


def _event(failure: Failure, kind: _Kind, count: int) -> dict[str, object]:
    return event(
        "failure",
        item_id=failure.item_id,
        file_id=failure.file_id,
        task=kind.task,
        error=failure.error,
        failure_kind=str(failure.failure_kind),
        attempts=failure.attempts if count == 1 else None,
        subject=listing_name(failure.subject) or None,
        count=count,
    )
