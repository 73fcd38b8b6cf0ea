"""Finding: the result of one check, with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from harvester.text.display import one_line


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # a run works, with a disadvantage
    FAILED = "failed"  # a run does not work


class Finding(NamedTuple):
    """
    The result of one check.

    Attributes:
        check: the name of the check.
        outcome: how it ended.
        text: what was found.
        advice: what to do, "" for nothing.
    """

    check: str
    outcome: Outcome
    text: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return it for JSON, with secrets redacted."""
        return {name: one_line(value) for name, value in self._asdict().items()}


def worst(findings: Iterable[Finding]) -> Outcome:
    """Return the worst outcome of some findings."""
    found = {finding.outcome for finding in findings}
    return next((each for each in (Outcome.FAILED, Outcome.WARNING) if each in found), Outcome.OK)


def to_document(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return findings as a JSON document."""
    found = list(findings)
    return {"outcome": worst(found), "checks": [finding.to_dict() for finding in found]}
