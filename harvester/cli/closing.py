"""Closing report of a run: what it did, what the folder holds, and how it ended: complete, or what failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from harvester.cli.render import accounts, changes_line
from harvester.config import Config
from harvester.config.keys import Services
from harvester.engine.failure_log import WORDS, text_of
from harvester.errors import FailureKind
from harvester.ledger.reader import Reader
from harvester.models import Failure
from harvester.summary import Summary
from harvester.text.units import human_seconds
from harvester.text.wording import counted

FIRST = 10
"""Failures of one kind that are listed; the rest is counted."""
_ORDER = (
    FailureKind.NOT_FOUND,
    FailureKind.PERMANENT,
    FailureKind.SUSPECTED,
    FailureKind.BLOCKED,
    FailureKind.TRANSIENT,
)
"""What a retry may mend stands last, where it is read first."""
_RETRIED = {FailureKind.BLOCKED, FailureKind.TRANSIENT}


def closing(summary: Summary, config: Config) -> str:
    """Return the closing report of a run, which accounts for every requested item and file."""
    run, folder = summary.run, summary.folder
    requests = sum(run.requests.values())
    lines = [
        f"{config.folder}:",
        *(f"{name:10}{text}" for name, text in accounts(folder).items()),
        *changes_line(run.changes, folder),
        f"this run: {counted(requests, 'request')} in {human_seconds(run.seconds)}, "
        f"{counted(run.items.done, 'item')} and {counted(run.files.done, 'file')} done",
    ]
    sought = [name for name, number in run.requests.items() if number and config.rate.is_sought(name)]
    if sought:
        rates = ", ".join(f"{name} {run.rates[name]:.3g}" for name in sought)
        lines.append(f"requests a second at the end: {rates}")
    lines += statistics_age(summary)
    if run.warnings:
        path = config.folder / "summary.json"
        lines.append(f"see {path} for the warnings of this run: {len(run.warnings)}")
    return "\n".join([*lines, *ending(summary, config)])


def statistics_age(summary: Summary) -> list[str]:
    """Return a line on statistics that were kept from an earlier run; none if all are younger than a day."""
    kept = summary.run.kept_statistics
    days = _days(kept.oldest, summary.run.started) if kept.items else 0
    if not days:
        return []
    of, age = counted(kept.items, "item"), counted(days, "day")
    return [f"statistics of {of} are from an earlier run, up to {age} old; --refresh stats renews them"]


def ending(summary: Summary, config: Config) -> Iterator[str]:
    """Yield how a run ended: the failures by kind, sources without items, or that it is complete."""
    run, folder = summary.run, summary.folder
    if run.outcome == "interrupted":
        yield "interrupted; state saved: run the same command again to continue"
        return
    if folder.failures:
        with Reader(config.folder) as reader:
            yield from failures_by_kind(reader.failures())
            if not folder.records and _is_all_unknown(reader.failures(), config.services.api):
                yield f"nothing was found at {config.services.api}: perhaps --api (services.api) is wrong"
        path = config.folder / "failures.csv"
        yield f"see {path} for the whole list: {counted(folder.failures, 'failure')}"
    yield from run.empty
    if run.unaccounted:
        tasks = counted(run.unaccounted, "task")
        yield f"{tasks} without an outcome: run again, and please report this"
    elif run.empty:
        yield "finished, but not complete: see the lines above"
    elif not folder.failures:
        yield "complete: all requested data is here"


def _is_all_unknown(failures: Iterable[Failure], api: str) -> bool:
    """Return whether another API than figshare's own has answered 404 to everything."""
    return api != Services.api and all("not found (404)" in each.error for each in islice(failures, FIRST))


def failures_by_kind(failures: Iterable[Failure]) -> Iterator[str]:
    """Yield the first failures of each kind, those with one and the same cause once, and how many more."""
    groups: dict[FailureKind, dict[tuple[str, str, str], _Group]] = {kind: {} for kind in _ORDER}
    counts = dict.fromkeys(_ORDER, 0)
    for failure in failures:
        kind = FailureKind(failure.failure_kind or FailureKind.PERMANENT)
        counts[kind] += 1
        key = (failure.task, failure.subject, re.sub(_SIZES, "", failure.error))
        if group := groups[kind].get(key):
            group.number += 1
        elif len(groups[kind]) < FIRST:
            groups[kind][key] = _Group(failure)
    for kind in [kind for kind in _ORDER if counts[kind]]:
        yield f"{WORDS[kind]}{'; run again to retry' if kind in _RETRIED else ''}:"
        for group in groups[kind].values():
            more = f" (and {group.number - 1} more like this)" if group.number > 1 else ""
            yield f"  {text_of(group.first)}{more}"
        if (rest := counts[kind] - sum(group.number for group in groups[kind].values())) > 0:
            yield f"  and {rest} more"


@dataclass
class _Group:
    """Failures of one task with the same cause: the first of them, and how many there are."""

    first: Failure
    number: int = 1


_SIZES = re.compile(r"[\d.]+ \w+ are needed and [\d.]+ \w+ are free")


def _days(moment: str, now: str) -> int:
    """Return the whole days between two moments (ISO 8601, in UTC)."""
    return max(0, (_parse(now) - _parse(moment)).days)


def _parse(moment: str) -> datetime:
    return datetime.fromisoformat(moment).astimezone(UTC)
