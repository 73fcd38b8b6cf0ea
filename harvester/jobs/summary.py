"""Run summary, summary.json: the run, the content of the folder, and the exit status."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harvester.config.keys import LATEST, SERVICES, FileRules
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import ExitStatus
from harvester.exporters.summary import SummaryFile, contents
from harvester.ledger.reader import Reader
from harvester.states import ANOTHER_VERSION, BEYOND_ROOM
from harvester.summary import NO_FILES, FolderTotals, KeptStatistics, RunTotals, Summary, TaskTotals


class Ended(NamedTuple):
    """
    A run that has ended.

    ``started``: seconds since 1970. ``tasks``: its item tasks. ``with_files``: whether it fetches files.
    ``rules``: which files. ``versions``: as in the config.
    ``fail_if_empty``: whether it has failed if a source has no items.
    """

    outcome: str
    started: float
    snapshot: ProgressSnapshot
    tasks: Sequence[str]
    with_files: bool
    rules: FileRules = FileRules()
    versions: str | tuple[int, ...] = LATEST
    fail_if_empty: bool = False


def summarise(folder: Path, ended: Ended) -> Summary:
    """Write and return the summary of a run."""
    with Reader(folder) as reader:
        holds = contents(reader)
        if ended.outcome == "finished":
            for text in leaving_nothing(holds, ended, reader.skipped()):
                ended.snapshot.counters.warn_empty(text)
        unaccounted = _unaccounted(holds, ended.tasks, with_files=ended.with_files)
        run = _run(ended, reader, unaccounted)
        summary = Summary(run, holds, _exit_status(run, holds, ended))
        SummaryFile(summary).export(reader, folder)
    return summary


def _exit_status(run: RunTotals, holds: FolderTotals, ended: Ended) -> ExitStatus:
    if run.outcome == "interrupted":
        return ExitStatus.INTERRUPTED
    is_failed = holds.failures or run.unaccounted or (run.empty and ended.fail_if_empty)
    return ExitStatus.FAILURES if is_failed else ExitStatus.COMPLETE


def leaving_nothing(holds: FolderTotals, ended: Ended, skipped: Mapping[str, int]) -> Iterator[str]:
    """
    Yield a line if filters exclude all items by their records or all files to fetch, or no wanted version is
    there.

    `skipped`: reason to number of files that are not fetched, see `Reader.skipped`.
    """
    excluded = holds.outcomes.items.get("excluded", 0)
    if excluded and excluded == holds.items:
        yield f"your filters exclude {_all(excluded, 'item')} after reading the records: check the filters"
    fetched = sum(holds.files.get(status, NO_FILES).files for status in ("done", "pending", "failed"))
    by_rules = skipped.get("", 0) + (skipped.get(BEYOND_ROOM, 0) if ended.rules.max_total else 0)
    used = [name for name, value in vars(ended.rules).items() if value != getattr(FileRules, name)]
    if ended.with_files and by_rules and used and not fetched:
        hint = "; patterns are case-sensitive" if {"include", "exclude"} & set(used) else ""
        yield f"your file filters exclude {_all(by_rules, 'file')}: check {_options(used)}{hint}"
    others = skipped.get(ANOTHER_VERSION, 0)
    if isinstance(ended.versions, tuple) and not holds.versions and others == _known_files(holds) > 0:
        yield f"no item has version {' or '.join(map(str, ended.versions))}: check versions"


def _known_files(holds: FolderTotals) -> int:
    return sum(totals.files for totals in holds.files.values())


def _options(keys: Sequence[str]) -> str:
    """Return the options that set these keys of the file rules."""
    return ", ".join(f"--{key.replace('_', '-')}" for key in keys)


def _all(number: int, noun: str) -> str:
    return f"the only {noun}" if number == 1 else f"all {number} {noun}s"


def _run(ended: Ended, reader: Reader, unaccounted: int) -> RunTotals:
    snapshot = ended.snapshot
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended.started))
    state, counters, traffic = snapshot.state(), snapshot.counters, snapshot.traffic
    return RunTotals(
        outcome=ended.outcome,
        started=started,
        seconds=state["seconds"],
        listed=counters.listed,
        items=TaskTotals(counters.items_done, counters.items_failed),
        files=TaskTotals(counters.files_done, counters.files_failed),
        suspected=counters.suspected,
        bytes=state["file_bytes"],
        requests={name: traffic.requests[name] for name in SERVICES},
        errors={name: traffic.errors[name] for name in SERVICES},
        rates=state["rates"],
        warnings=tuple(counters.warnings),
        empty=tuple(counters.empty),
        kept_statistics=reader.kept_statistics() if "stats" in ended.tasks else KeptStatistics(),
        changes=reader.changes_in_all(),
        unaccounted=unaccounted,
    )


def _unaccounted(folder: FolderTotals, tasks: Sequence[str], *, with_files: bool) -> int:
    """Return the number of tasks that are pending after the run has finished; it should be 0."""
    pending = sum(folder.work.get(task, {}).get("pending", 0) for task in tasks)
    if with_files:
        pending += folder.files.get("pending", NO_FILES).files
    return pending
