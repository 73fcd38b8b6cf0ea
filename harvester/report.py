"""What commands print: how a run ended, a plan, the state of a folder."""

from __future__ import annotations

from typing import Any

import orjson

from harvester.config import Config
from harvester.models import Summary
from harvester.plan import Plan
from harvester.text import human_bytes, human_seconds


def closing(summary: Summary, config: Config) -> str:
    """Say what a run did, and account for all that was asked, item by item and file by file."""
    run, folder = summary.run, summary.folder
    done = folder["files"].get("done", {"files": 0, "bytes": 0})
    requests = sum(run["requests"].values())
    lines = [
        f"{config.folder}: {folder['items']} items, {folder['records']} records, "
        f"{done['files']} files ({human_bytes(done['bytes'])})",
        f"this run: {requests} requests in {human_seconds(run['seconds'])}, "
        f"{run['items']['done']} items and {run['files']['done']} files done",
        *accounts(folder),
    ]
    if run["warnings"]:
        lines.append(f"{len(run['warnings'])} warnings: see {config.folder / 'summary.json'}")
    if run["outcome"] == "interrupted":
        lines.append("interrupted; state saved: run the same command again to go on")
    elif folder["failures"]:
        lines.append(
            f"{folder['failures']} failures: see {config.folder / 'failures.csv'}; run again to retry them"
        )
    elif run["unexplained"]:
        lines.append(f"{run['unexplained']} things are still owed, and nothing says why: run again")
    else:
        lines.append("complete: all that was asked for is there")
    return "\n".join(lines)


def accounts(folder: dict[str, Any]) -> list[str]:
    """Account for what a folder holds: the numbers behind a colon add up to the one before it."""
    listed, outcomes = folder["listings"], folder["outcomes"]
    told = [
        ("asked", listed["asked"], {name: listed[name] for name in _LISTED if name in listed}),
        ("items", sum(outcomes["items"].values()), outcomes["items"]),
        ("files", sum(outcomes["files"].values()), outcomes["files"]),
    ]
    lines = []
    for name, total, parts in told:
        words = ", ".join(f"{number} {_WORDS.get(part, part)}" for part, number in parts.items() if number)
        lines.append(f"{name}: {total}" + (f": {words}" if words else ""))
    if outcomes["withheld"]:
        kinds = ", ".join(f"{number} {reason}" for reason, number in outcomes["withheld"].items())
        lines.append(f"not downloadable by design: {kinds} (items)")
    return lines


_LISTED = ("found", "repeated", "left_out", "unresolved")
_WORDS = {
    "found": "items found",
    "repeated": "named again",
    "left_out": "left out by your filters",
    "unresolved": "that lead to no item",
    "withdrawn": "items withdrawn since they were harvested",
    "skipped": "left out by your rules",
    "link": "hosted elsewhere, recorded only",
    "pending": "not asked for yet",
    "embargo": "under embargo",
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
    lines += [line.replace(": ", " " * max(1, 10 - line.index(":")), 1) for line in accounts(told)]
    lines.append(f"failures  {told['failures']}")
    return "\n".join(lines)


def as_json(told: dict[str, Any]) -> str:
    """Write for programs what the other functions write for people."""
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
