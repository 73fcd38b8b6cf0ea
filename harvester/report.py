"""What commands print: how a run ended, a plan, the state of a folder."""

from __future__ import annotations

from typing import Any

import orjson

from harvester.config import Config
from harvester.models import Summary
from harvester.plan import Plan


def closing(summary: Summary, config: Config) -> str:
    """Say what a run did and what the folder holds."""
    run, folder = summary.run, summary.folder
    done = folder["files"].get("done", {"files": 0, "bytes": 0})
    requests = sum(run["requests"].values())
    lines = [
        f"{config.folder}: {folder['items']} items, {folder['records']} records, "
        f"{done['files']} files ({human_bytes(done['bytes'])})",
        f"this run: {requests} requests in {human_seconds(run['seconds'])}, "
        f"{run['items']['done']} items and {run['files']['done']} files done",
    ]
    lines += [
        f"{folder['files'][status]['files']} files {words}"
        for status, words in _STATUS_WORDS.items()
        if status in folder["files"]
    ]
    withdrawn = sum(states.get("withdrawn", 0) for states in folder["work"].values())
    if withdrawn:
        lines.append(f"{withdrawn} items withdrawn since they were harvested")
    if run["warnings"]:
        lines.append(f"{len(run['warnings'])} warnings: see {config.folder / 'summary.json'}")
    if run["outcome"] == "interrupted":
        lines.append("interrupted; state saved: run the same command again to go on")
    elif folder["failures"]:
        lines.append(
            f"{folder['failures']} failures: see {config.folder / 'failures.csv'}; run again to retry them"
        )
    else:
        lines.append("complete: all that was asked for is there")
    return "\n".join(lines)


_STATUS_WORDS = {
    "skipped": "left out by your rules",
    "link": "hosted elsewhere, recorded only",
    "withheld": "not downloadable by design",
    "pending": "not fetched yet",
}


def plan_text(plan: Plan, config: Config) -> str:
    """Say what a run would ask and which service decides how long it takes."""
    about = "about " if plan.sampled else ""
    how = f" (estimated from {plan.sampled} records)" if plan.sampled else ""
    lines = [
        f"items    {plan.items} selected, {plan.items_owed} to visit",
        f"files    {about}{plan.files_owed}, {about}{human_bytes(plan.bytes_owed)}{how}",
    ]
    for name, requests in plan.requests.items():
        rate = getattr(config.rate, name)
        lines.append(
            f"{name:8} {requests} requests at {rate:g} a second: {human_seconds(plan.seconds[name])}"
        )
    lines.append(f"at least {human_seconds(max(plan.seconds.values()))}; {plan.binding} decides")
    lines += [f"incomplete: {what}" for what in plan.incomplete]
    return "\n".join(lines)


def status_text(told: dict[str, Any]) -> str:
    """Say what `job.status` found."""
    run = told["last_run"]
    by = f" by {run['by']}" if run["by"] else ""
    lines = [
        f"folder    {told['folder']}",
        f"last run  {run['state']}{by}, started {run['started']}"
        + (f", ended {run['ended']}" if run["ended"] else ""),
        f"items     {told['items']}, {told['records']} with their record",
    ]
    for task, states in told["work"].items():
        lines.append(f"{task:9} " + ", ".join(f"{number} {state}" for state, number in states.items()))
    for status, found in told["files"].items():
        lines.append(f"files     {found['files']} {status} ({human_bytes(found['bytes'])})")
    if told["listings_open"]:
        lines.append(f"listings  {told['listings_open']} not read to their end")
    lines.append(f"failures  {told['failures']}")
    return "\n".join(lines)


def as_json(told: dict[str, Any]) -> str:
    """Write for programs what the other functions write for people."""
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def human_bytes(size: float) -> str:
    """Write a number of bytes for a person, in powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def human_seconds(seconds: float) -> str:
    """Write a duration for a person."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
