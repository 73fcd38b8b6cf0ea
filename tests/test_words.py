"""
The field's words: each standard mechanism carries its name, and words of our own that it replaced are gone.

`TERMS` is what a developer types into a search box, with the module that implements it. `OLD_WORDS` must not
occur in code or comments any more. Words in lower case are looked for in any case.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "harvester"

TERMS = [
    ("storage protocol", "storage/protocol.py"),
    ("orphan", "storage/orphans.py"),
    ("atomic write", "storage/atomic_file.py"),
    ("trash", "storage/trash_mover.py"),
    ("symlink safety", "storage/local/directory.py"),
    ("partial file", "storage/local/partial.py"),
    ("ownership", "storage/local/partial_owner.py"),
    ("segmented download", "storage/local/segments.py"),
    ("group commit", "storage/local/commit.py"),
    ("deduplication by hard link", "storage/local/dedupe.py"),
    ("fixity", "storage/local/verify.py"),
    ("reservation", "storage/local/reservation.py"),
    ("crash-safe renames", "storage/local/renames.py"),
    ("resume", "storage/local/resume.py"),
    ("segmented download", "client/download/segmented.py"),
    ("segment policy", "client/download/segment_policy.py"),
    ("connection slots", "client/download/slots.py"),
    ("circuit breaker", "figshare/downloads.py"),
    ("circuit breaker", "client/breaker.py"),
    ("health check", "client/health.py"),
    ("retry with exponential back-off and jitter", "client/retry.py"),
    ("rate limiter", "client/limits/__init__.py"),
    ("rate limiter", "client/limits/rate_limiter.py"),
    ("rate limiter", "client/limits/limiter.py"),
    ("leaky bucket", "client/limits/rate.py"),
    ("GCRA", "client/limits/rate.py"),
    ("adaptive rate", "client/limits/adaptive.py"),
    ("AIMD", "client/limits/adaptive.py"),
    ("SSRF guard", "client/url_policy.py"),
    ("SSRF guard", "client/session.py"),
    ("redirect policy", "client/sender.py"),
    ("credentials", "client/credentials.py"),
    ("memory limit", "client/memory_gate.py"),
    ("memory limit", "client/json_size.py"),
    ("admission", "client/memory_gate.py"),
    ("size limit", "client/json_body.py"),
    ("timeout", "client/deadlines.py"),
    ("error mapping", "client/error_map.py"),
    ("error mapping", "client/responses.py"),
    ("staleness", "figshare/staleness.py"),
    ("heartbeat", "ledger/database/heartbeat.py"),
    ("lease", "ledger/database/lease.py"),
    ("journal", "ledger/tables/renames.py"),
    ("redaction", "text/redaction.py"),
    ("plugin registry", "plugins.py"),
    ("fixity check", "jobs/verify.py"),
    ("process identity", "system/process.py"),
    ("resource limits", "system/resource_limits.py"),
    ("structured concurrency", "concurrency.py"),
]
"""A standard term, and the module whose docstring has it."""

OLD_WORDS = [
    "lanes",
    "Holding",
    "Unfit",
    "Bearing",
    "may_hold",
    "Stretch",
    "persist",
    "_Breaker",
    "takes_probe",
    "penalise",
    "json_unless",
    "get_unless",
    "record_unless",
    "retry.patience",
    "timeouts.slowest",
    "credentials_check",
    "StopRun",
    "GiveUp",
    "TryAgain",
    "Misshapen",
    "Unverified",
    "NoRoom",
    "Challenged",
    "Throttled",
    "DiskTrouble",
    "FolderInUse",
    "OwedItem",
    "OwedFile",
    "Seeking",
    "resting it for",
    "way to files rests",
    "whose token it is cannot be told",
]
"""Words that must not occur in the package; those who rename something add its old name."""

ALLOWED = {
    ("retry.patience", "config/keys.py"),  # the error for an old config names it
    ("timeouts.slowest", "config/keys.py"),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def places_of(word: str, paths: list[Path]) -> list[str]:
    """Return where a word occurs, as file and line."""
    flags = re.IGNORECASE if word.islower() else re.NOFLAG
    pattern = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", flags)
    return [
        f"{path.relative_to(PACKAGE).as_posix()}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line) and (word, path.relative_to(PACKAGE).as_posix()) not in ALLOWED
    ]


@pytest.mark.parametrize(("term", "module"), TERMS)
def test_a_mechanism_carries_its_standard_name(term: str, module: str) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / module).read_text(encoding="utf-8"))) or ""
    assert term.lower() in " ".join(docstring.lower().split())


@pytest.mark.parametrize("word", OLD_WORDS)
def test_an_old_word_is_gone(word: str) -> None:
    assert places_of(word, modules()) == []


def test_a_word_is_found_where_it_stands_alone() -> None:
    (place,) = places_of("redaction", [PACKAGE / "text/redaction.py"])[:1]
    assert place == "text/redaction.py:2"
    assert places_of("edaction", [PACKAGE / "text/redaction.py"]) == []


def test_a_module_that_a_text_of_the_package_names_is_there() -> None:
    there = {path.name for path in modules()}
    named = re.compile(r"`(?:[\w]+/)*(\w+\.py)`")
    missing = [
        f"{path.relative_to(PACKAGE).as_posix()}: {name}"
        for path in modules()
        for name in named.findall(path.read_text(encoding="utf-8"))
        if name not in there
    ]
    assert not missing
