"""
The field's words: each standard mechanism carries its name, and words of our own that it replaced are gone.

`TERMS` is what a developer types into a search box, with the module that implements it. `OLD_WORDS` must not
occur in code or comments any more. Words in lower case are looked for in any case.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "harvester"

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
    ("structured concurrency", "system/concurrency.py"),
    ("circuit breaker", "client/health.py"),
    ("rate limit", "client/limits/rate_limiter.py"),
    ("back-off", "client/retry.py"),
    ("plugin", "plugins.py"),
    ("deduplication", "storage/local/dedupe.py"),
    ("fencing", "ledger/database/lease.py"),
    ("group commit", "ledger/ledger.py"),
    ("group commit", "ledger/batch.py"),
    ("bulk insert", "ledger/database/bulk.py"),
    ("work queue", "ledger/tables/queue.py"),
    ("quota", "ledger/tables/budget.py"),
    ("high-watermark", "ledger/tables/listings.py"),
    ("high-watermark", "engine/listing.py"),
    ("incremental", "engine/listing.py"),
    ("rename journal", "ledger/tables/renames.py"),
    ("forecast", "ledger/tables/forecast.py"),
    ("lease file", "ledger/database/lease_file.py"),
    ("lease", "ledger/database/lease_row.py"),
    ("heartbeat", "ledger/database/lease_row.py"),
    ("migrations", "ledger/database/migrations.py"),
    ("integrity check", "ledger/database/integrity.py"),
    ("write-ahead log", "ledger/database/opening.py"),
    ("read-only", "ledger/database/read_only.py"),
    ("suspected withdrawals", "ledger/tables/withdrawals.py"),
    ("withdrawal", "jobs/withdrawals.py"),
    ("prune", "jobs/prune.py"),
    ("dry run", "engine/dry_run.py"),
    ("pipeline", "engine/pipeline.py"),
    ("back-pressure", "engine/pipeline.py"),
    ("executor", "engine/executor.py"),
    ("progress", "engine/progress.py"),
    ("pager", "figshare/pager.py"),
    ("page cursor", "figshare/cursor.py"),
    ("client-side filters", "figshare/client_side_filters.py"),
    ("record diff", "figshare/diff.py"),
    ("identifier resolution", "figshare/resolver.py"),
    ("download routes", "figshare/downloads.py"),
    ("lenient json decoder", "figshare/lenient.py"),
    ("api protocol", "figshare/protocol.py"),
    ("api version", "figshare/api_version.py"),
    ("access control", "tasks/record_access.py"),
    ("plausibility check", "tasks/usage_check.py"),
    ("config validation", "config/faults.py"),
    ("secrets", "config/secrets.py"),
    ("output escaping", "text/display.py"),
    ("csv injection", "exporters/tables.py"),
    ("fault injection", "sandbox/faults.py"),
    ("signal handling", "cli/signals.py"),
    ("argument parser", "cli/parser.py"),
    ("rendering", "cli/render.py"),
    ("log format", "cli/log_format.py"),
    ("event log", "cli/events.py"),
    ("structured logging", "system/log_events.py"),
    ("failure log", "engine/failure_log.py"),
]
"""A standard term, and the module whose docstring has it."""

OLD_WORDS = [
    "told",
    "owed",
    "whoever",
    "nobody",
    "somebody",
    "anew",
    "begun",
    "beside",
    "so many",
    "in hand",
    "at work",
    "left out",
    "leads nowhere",
    "lead nowhere",
    "leads to no item",
    "gives way",
    "has no luck",
    "is told",
    "asked for",
    "once more",
    "sign of life",
    "verdict",
    "lanes",
    "leftovers",
    "mishaps",
    "Doom",
    "Door",
    "Dice",
    "doomed",
    "Holding",
    "Unfit",
    "Bearing",
    "Growth",
    "Gap",
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
    "Verdict",
    "Findings",
    "PlacedFile",
    "Brief",
    "Lister",
    "Pace",
    "Seeking",
    "Endpoints",
    "Routes",
    "ClaimFile",
    "Judged",
    "_Health",
    "Surroundings",
    "Watched",
    "HANDS",
    "FOREIGN",
    "name_of",
    "filtered_here",
    "complaint",
    "form_again",
    "Prospect",
    "Standing",
    "Wish",
    "Mishap",
    "Wanted",
    "Survey",
    "splitting",
    "resting it for",
    "way to files rests",
    "whose token it is cannot be told",
]
"""Words that must not occur in code, comments and tests; those who rename something add its old name."""

OLD_NAMES = [
    *("Gone", "Refused", "Damaged", "Broken", "Feed", "Position", "Listed", "Named", "Names"),
    *("Piece", "Pieces", "Tree", "Folder", "Finished", "Sink", "Line", "Room", "Opening", "Step", "Asking"),
    *("_Turn", "Lanes", "Persistence", "Move", "Uses", "visit", "beside", "cause", "translated", "rewrite"),
    *("wants", "settle", "place", "home_of", "steps", "put", "say", "mention", "complain", "form", "ask"),
    *("uses", "mark", "told", "is_linked", "is_kept", "links", "keeps", "takes", "prospect", "standing"),
]
"""Names that no class and no function has any more; as words of a sentence they are fine."""

OLD_MODULES = [
    *(
        "job",
        "connecting",
        "wishes",
        "tally",
        "kinds",
        "register",
        "together",
        "named",
        "addresses",
    ),
    *("pipes", "chosen", "printing", "report", "logs", "options", "credentials", "sinks", "csv_tables"),
    *("client/asking", "client/persistence", "client/answers", "client/bodies", "client/receiving"),
    *(
        "client/transfer",
        "client/splitting",
        "client/pace",
        "client/seeking",
        "engine/survey",
        "engine/tally",
    ),
    *("figshare/lister", "figshare/feeds", "figshare/selection", "figshare/names", "figshare/endpoints"),
    *("figshare/routes", "figshare/changes", "store", "storage/pieces", "storage/looking", "storage/linking"),
    *("storage/publishing", "ledger/writing", "ledger/reading", "ledger/line", "ledger/entries"),
    *("ledger/room", "ledger/counting", "ledger/prospect", "ledger/results", "ledger/claim"),
    *("ledger/lockless", "ledger/schema", "ledger/many", "sandbox/doom", "sandbox/door", "sandbox/asked"),
    *("sandbox/uses", "sandbox/visitors", "sandbox/sending"),
]
"""Modules that have another name now."""

ALLOWED = {
    ("retry.patience", "config/keys.py"),  # the error for an old config names it
    ("timeouts.slowest", "config/keys.py"),
    ("begun", "ledger/tables/listings.py"),  # columns of the ledger
    ("begun", "ledger/database/schema.py"),
    ("anew", "ledger/tables/listings.py"),
    ("anew", "ledger/database/schema.py"),
    ("asked for", "states.py"),  # the reason in files.csv
    ("once more", "figshare/identifier_listing.py"),  # part of the key of a listing in ledgers
    ("nobody", "sandbox/oddities.py"),  # a value of a made-up record
    ("nobody", "tests/test_loose_records.py"),
    ("nobody", "tests/test_places.py"),  # a user of the system
    ("nobody", "tests/support/case_judges.py"),
    ("begun", "tests/test_changes.py"),
    ("asked for", "tests/test_plain_names.py"),
    ("asked for", "tests/test_withdrawals.py"),
    ("asked for", "bench/cases/cpu.py"),  # a variable, in a comprehension
    ("once more", "tests/test_ledger.py"),
    ("retry.patience", "tests/test_config.py"),
    ("timeouts.slowest", "tests/test_config.py"),
    *((word, "tests/test_ledger.py") for word in ("owed", "verdict", "mishaps")),  # the SQL of old tables
}
"""A word, and the module that may have it."""

HISTORY = {
    *("ledger/database/migrations.py", "ledger/database/migration_11.py"),
    *("tests/support/older.py", "tests/test_old_ledger.py"),
}
"""The SQL of released table versions, which never changes."""
LISTS = {"tests/test_words.py", "tests/test_prose.py", "tools/prose.py"}
"""The lists of old words themselves."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def other_modules() -> list[Path]:
    return sorted(path for folder in ("tests", "bench", "tools") for path in (ROOT / folder).rglob("*.py"))


def name_in(path: Path) -> str:
    """Return the path of a module below the package, or below the repository."""
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def places_of(words: list[str], paths: list[Path]) -> list[str]:
    """Return where words occur, as file, line and word."""
    patterns = {word: pattern_of(word) for word in words}
    places = []
    for path in paths:
        if (name := name_in(path)) in HISTORY | LISTS:
            continue
        text = path.read_text(encoding="utf-8")
        lowered = text.lower()
        for word, pattern in patterns.items():
            if word.lower() in lowered and (word, name) not in ALLOWED:
                lines = [text.count("\n", 0, match.start()) + 1 for match in pattern.finditer(text)]
                places += [f"{name}:{line}: {word}" for line in lines]
    return places


def pattern_of(word: str) -> re.Pattern[str]:
    flags = re.IGNORECASE if word.islower() else re.NOFLAG
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", flags)


def definitions() -> list[tuple[str, str]]:
    """Return the name of each class and function, with its module."""
    defined = re.compile(r"^ *(?:class|def|async def) +(\w+)", re.MULTILINE)
    return [
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in modules()
        for name in defined.findall(path.read_text(encoding="utf-8"))
    ]


def docstring_of(module: str) -> str:
    found = re.match(r'"""(.*?)"""', (PACKAGE / module).read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(found[1].lower().split()) if found else ""


def test_a_mechanism_carries_its_standard_name() -> None:
    assert [(term, module) for term, module in TERMS if term.lower() not in docstring_of(module)] == []


def test_an_old_word_is_gone() -> None:
    assert places_of(OLD_WORDS, [*modules(), *other_modules()]) == []


def test_no_class_or_function_has_an_old_name() -> None:
    assert [(place, name) for place, name in definitions() if name in OLD_NAMES] == []


def test_a_definition_is_found() -> None:
    assert {("text/redaction.py", "Redactor"), ("jobs/harvest.py", "harvest")} <= set(definitions())


def test_no_module_has_an_old_name() -> None:
    old = [path for module in OLD_MODULES for path in (f"{module}.py", module) if (PACKAGE / path).exists()]
    assert old == []


def test_a_word_is_found_where_it_stands_alone() -> None:
    (place,) = places_of(["redaction"], [PACKAGE / "text/redaction.py"])[:1]
    assert place == "text/redaction.py:2: redaction"
    assert places_of(["edaction", "REDACTION"], [PACKAGE / "text/redaction.py"]) == []


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
