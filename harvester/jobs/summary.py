"""summary.json: what a run did and what the folder holds, and the status that follows from both."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from harvester.config.keys import SERVICES
from harvester.engine.progress import ProgressSnapshot
from harvester.errors import ExitStatus
from harvester.ledger.reader import Reader
from harvester.models import Summary
from harvester.storage.local import atomic_write
from harvester.storage.trash import in_trash
from harvester.text.display import harmless_json

NAME = "summary.json"


class Ended(NamedTuple):
    """A run that has ended: how, when it began (seconds since 1970), what it counted, its tasks on items."""

    outcome: str
    started: float
    snapshot: ProgressSnapshot
    tasks: Sequence[str]


def summarise(folder: Path, ended: Ended, with_files: bool) -> Summary:
    """Write and return the summary of a run; `with_files`: whether it was to fetch files."""
    run = _run(ended)
    with Reader(folder) as reader:
        holds = {**reader.counts(), "trash": in_trash(folder)}
        run["changes"] = reader.changes_in_all()
    run["unexplained"] = _unexplained(holds, ended.tasks, with_files=with_files)
    status = int(holds["failures"] > 0 or run["unexplained"] > 0)
    summary = Summary(run, holds, ExitStatus.INTERRUPTED if ended.outcome == "interrupted" else status)
    _write(folder, summary)
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


def _unexplained(folder: Mapping[str, Any], tasks: Sequence[str], *, with_files: bool) -> int:
    """Count what a run was to do, did not do and gives no reason for: nothing, when it finished."""
    owed: int = sum(folder["work"].get(task, {}).get("owed", 0) for task in tasks)
    if with_files:
        owed += folder["files"].get("pending", {"files": 0})["files"]
    return owed


def renew_summary(folder: Path) -> None:
    """Say anew what the folder holds; what the last run did stays as it was."""
    with contextlib.suppress(OSError, orjson.JSONDecodeError), Reader(folder) as reader:
        told = orjson.loads((folder / NAME).read_bytes())
        _write(folder, Summary(told["run"], {**reader.counts(), "trash": in_trash(folder)}, 0))


def _write(folder: Path, summary: Summary) -> None:
    told = {"run": summary.run, "folder": summary.folder}
    text = harmless_json(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    with atomic_write(folder / NAME) as handle:
        handle.write(f"{text}\n".encode())
