"""Run summary, summary.json: the run, the content of the folder, and the exit status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harvester.config.keys import SERVICES
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import ExitStatus
from harvester.exporters.summary import SummaryFile, contents
from harvester.ledger.reader import Reader
from harvester.summary import NO_FILES, FolderTotals, RunTotals, Summary, TaskTotals


class Ended(NamedTuple):
    """A run that has ended: its outcome, its start (seconds since 1970), its counters, its item tasks."""

    outcome: str
    started: float
    snapshot: ProgressSnapshot
    tasks: Sequence[str]


def summarise(folder: Path, ended: Ended, with_files: bool) -> Summary:
    """Write and return the summary of a run; `with_files`: whether it fetches files."""
    with Reader(folder) as reader:
        holds = contents(reader)
        run = _run(ended, reader.changes_in_all(), _unaccounted(holds, ended.tasks, with_files=with_files))
        status = ExitStatus.FAILURES if holds.failures or run.unaccounted else ExitStatus.COMPLETE
        summary = Summary(run, holds, ExitStatus.INTERRUPTED if ended.outcome == "interrupted" else status)
        SummaryFile(summary).export(reader, folder)
    return summary


def _run(ended: Ended, changes: Mapping[str, int], unaccounted: int) -> RunTotals:
    snapshot = ended.snapshot
    state, counters, traffic = snapshot.state(), snapshot.counters, snapshot.traffic
    return RunTotals(
        outcome=ended.outcome,
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended.started)),
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
        changes=changes,
        unaccounted=unaccounted,
    )


def _unaccounted(folder: FolderTotals, tasks: Sequence[str], *, with_files: bool) -> int:
    """Return the number of tasks that are pending after the run has finished; it should be 0."""
    pending = sum(folder.work.get(task, {}).get("pending", 0) for task in tasks)
    if with_files:
        pending += folder.files.get("pending", NO_FILES).files
    return pending
