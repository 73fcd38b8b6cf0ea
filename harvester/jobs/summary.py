"""Run summary, summary.json: the run, the content of the folder, and the exit status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harvester.config.keys import SERVICES
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import ExitStatus
from harvester.exporters.summary import SummaryFile, contents
from harvester.ledger.reader import Reader
from harvester.models import Summary


class Ended(NamedTuple):
    """A run that has ended: its outcome, its start (seconds since 1970), its counters, its item tasks."""

    outcome: str
    started: float
    snapshot: ProgressSnapshot
    tasks: Sequence[str]


def summarise(folder: Path, ended: Ended, with_files: bool) -> Summary:
    """Write and return the summary of a run; `with_files`: whether it fetches files."""
    run = _run(ended)
    with Reader(folder) as reader:
        holds = contents(reader)
        run["changes"] = reader.changes_in_all()
        run["unaccounted"] = _unaccounted(holds, ended.tasks, with_files=with_files)
        status = int(holds["failures"] > 0 or run["unaccounted"] > 0)
        summary = Summary(run, holds, ExitStatus.INTERRUPTED if ended.outcome == "interrupted" else status)
        SummaryFile(summary).export(reader, folder)
    return summary


def _run(ended: Ended) -> dict[str, Any]:
    snapshot = ended.snapshot
    state, counters, traffic = snapshot.state(), snapshot.counters, snapshot.traffic
    return {
        "outcome": ended.outcome,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ended.started)),
        "seconds": state["seconds"],
        "listed": counters.listed,
        "items": {"done": counters.items_done, "failed": counters.items_failed},
        "files": {"done": counters.files_done, "failed": counters.files_failed},
        "suspected": counters.suspected,
        "bytes": state["file_bytes"],
        "requests": {name: traffic.requests[name] for name in SERVICES},
        "errors": {name: traffic.errors[name] for name in SERVICES},
        "rates": state["rates"],
        "warnings": counters.warnings,
    }


def _unaccounted(folder: Mapping[str, Any], tasks: Sequence[str], *, with_files: bool) -> int:
    """Return the number of tasks that are pending after the run has finished; it should be 0."""
    pending: int = sum(folder["work"].get(task, {}).get("pending", 0) for task in tasks)
    if with_files:
        pending += folder["files"].get("pending", {"files": 0})["files"]
    return pending
