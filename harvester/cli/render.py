"""Rendering: the texts that commands print, such as a plan or the state of a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harvester.figshare.listing_names import filter_name
from harvester.states import REFUSED_TO_OWNER
from harvester.storage.trash import TRASH
from harvester.summary import NO_FILES
from harvester.text.display import harmless_json
from harvester.text.units import human_bytes, human_seconds
from harvester.text.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harvester.config import Config
    from harvester.jobs.plan_totals import Plan
    from harvester.jobs.prune import Removable
    from harvester.storage.trash import Dated
    from harvester.storage.trash_mover import Pruned
    from harvester.summary import FileTotals, FolderTotals, Status


def accounts(folder: FolderTotals) -> dict[str, str]:
    """
    Return the accounts of a folder: the name of each account with its text.

    The parts after the colon add up to the number before it.
    """
    listed, outcomes, files = folder.listings, folder.outcomes, folder.files
    done = files.get("done", NO_FILES)
    texts = {
        "entries": f"{listed.entries}{_parts({name: getattr(listed, name) for name in _LISTED})}",
        "items": f"{folder.items}, {folder.records} with their record" + _parts(_by_record(outcomes.items)),
        "files": f"{sum(outcomes.files.values())}, {human_bytes(done.bytes)} here" + _parts(outcomes.files),
    }
    if versions := folder.versions:
        texts["versions"] = f"of the items above, particular versions: {versions}"
    if (left := folder.orphaned_files).files:
        texts["orphans"] = f"{_files(left)}, that no record lists any more"
    if (trash := folder.trash).files:
        texts["trash"] = f"{_files(trash)}, in {TRASH}/"
    if (found := folder.unidentified_files).files:
        texts["unknown"] = f"{_files(found)}, from before the ledger was rebuilt, that no record names"
    if folder.listings_open:
        texts["listings"] = f"{folder.listings_open} not read to their end"
    if outcomes.withheld:
        texts["by design"] = f"nothing can be downloaded of some items{_parts(outcomes.withheld)}"
    return texts


def _parts(numbers: Mapping[str, int]) -> str:
    words = [_part(number, part) for part, number in numbers.items() if number]
    return ": " + ", ".join(words) if words else ""


def _files(total: FileTotals) -> str:
    return f"{counted(total.files, 'file')}, {human_bytes(total.bytes)}"


def _part(number: int, part: str) -> str:
    if part in _NOUNS:
        return counted(number, *_NOUNS[part])
    return f"{number} {_WORDS.get(part, part)}"


def _by_record(items: Mapping[str, int]) -> dict[str, int]:
    """Return the outcomes of items; "excluded" here means by the record, not by a listing."""
    return {"by record" if state == "excluded" else state: number for state, number in items.items()}


_LISTED = ("unique", "duplicates", "excluded", "unresolved")
_NOUNS = {
    "unique": ("different item",),
    "duplicates": ("duplicate",),
    "withdrawn": ("item withdrawn since it was harvested", "items withdrawn since they were harvested"),
}
_WORDS = {
    "excluded": "excluded by your filters",
    "unresolved": "unresolved",
    "by record": "excluded by your filters after reading their records",
    "not_found": "not found",
    "transient": "failed temporarily",
    "permanent": "failed permanently",
    "suspected": "no longer found, and not yet marked as withdrawn",
    "skipped": "excluded by your file rules",
    "link": "hosted elsewhere",
    "pending": "still to come",
    "embargo": "under embargo",
    f"embargo{REFUSED_TO_OWNER}": f"under embargo{REFUSED_TO_OWNER}",
}


def changes_line(changes: Mapping[str, int], folder: FolderTotals) -> list[str]:
    """Return the changes of items since the last run; none if all items are new."""
    is_first = changes.keys() <= {"new"} and changes.get("new", 0) >= folder.records
    text = ", ".join(f"{number} {what}" for what, number in changes.items() if number)
    return [f"{'changes':10}{text}"] if text and not is_first else []


def removable_text(files: Sequence[Removable], old: Sequence[Dated], trash_days: int) -> str:
    """Return the list of orphaned files, and of the expired parts of the trash."""
    lines = [f"kept: {file.path}: {file.kept}" for file in files if file.kept]
    files = [file for file in files if not file.kept]
    if not files and not old:
        return "\n".join([*lines, "nothing to remove"])
    lines += [f"{human_bytes(file.size):>11}  {file.path}  ({file.why})" for file in files]
    if old:
        lines += [
            f"{human_bytes(day.size):>11}  {TRASH}/{day.date}  ({counted(day.files, 'file')})" for day in old
        ]
        number, size = sum(day.files for day in old), sum(day.size for day in old)
        lines.append(f"{counted(number, 'file')}, {human_bytes(size)}, in the trash: to be deleted for good")
    if files:
        total = human_bytes(sum(file.size for file in files))
        then = (
            f"to be moved to {TRASH}/ for {counted(trash_days, 'day')}"
            if trash_days
            else "to be deleted for good"
        )
        lines.append(f"{counted(len(files), 'file')}, {total}, outside of the harvest: {then}")
    return "\n".join(lines)


def nothing_removed(doubts: Sequence[str]) -> str:
    """Return why nothing is removed."""
    return f"nothing is removed, because of this run: {'; '.join(doubts)}"


def pruned_text(pruned: Pruned) -> str:
    """Return which files were removed, and which were not."""
    lines = [f"kept: {why}" for why in pruned.kept]
    if pruned.removed or not pruned.deleted:
        there = f", now in {pruned.trash}/" if pruned.size else ""
        lines.append(f"{counted(len(pruned.removed), 'file')} removed, {human_bytes(pruned.size)}{there}")
    if pruned.deleted:
        lines.append(f"{counted(pruned.deleted, 'file')}, {human_bytes(pruned.freed)}, deleted for good")
    return "\n".join(lines)


def plan_text(plan: Plan, config: Config) -> str:
    """Return the requests that a run would make, and the service that limits it."""
    about = "about " if plan.sampled else ""
    how = f" (estimated from {counted(plan.sampled, 'record')})" if plan.sampled else ""
    if not plan.files_known:
        about, how = "at least ", "; no record was sampled"
    gone = f", {plan.vanished} of them no longer listed" if plan.vanished else ""
    lines = [f"items    {plan.items} selected, {plan.items_pending} to harvest{gone}"]
    if plan.versions:
        lines.append(f"versions {about}{plan.versions} in addition")
    lines.append(f"files    {about}{plan.files_pending}, {about}{human_bytes(plan.bytes_pending)}{how}")
    for name, requests in plan.requests.items():
        most = " at most" if config.rate.is_sought(name) else ""
        rate = f"{config.rate.at_most(name):g} a second{most}"
        lines.append(
            f"{name:8} {counted(requests, 'request')} at {rate}: {human_seconds(plan.seconds[name])}"
        )
    lines.append(f"at least {human_seconds(max(plan.seconds.values()))} (limited by {plan.binding})")
    lines += [
        f"{listing}: figshare does not filter by {' or '.join(map(filter_name, names))}: "
        "entries are filtered here"
        for listing, names in plan.client_side_filters.items()
    ]
    lines += [f"incomplete: {what}" for what in plan.incomplete]
    lines += [f"empty: {what}" for what in plan.empty]
    if not plan.fits:
        room = f"{human_bytes(plan.bytes_pending)} are to come, and {human_bytes(plan.free_bytes)} are free"
        lines.append(f"the disk is too small: {room}")
    return "\n".join(lines)


def status_text(status: Status, *, is_disk_full: bool = False) -> str:
    """
    Return the result of `jobs.status.status` as text.

    `is_disk_full`: a run that has recorded no end may have had no room for it.
    """
    run, contents = status.last_run, status.contents
    last = "none"
    if run is not None:
        by = f" by {run.by}" if run.by else ""
        full = ", or stopped by a full disk" if run.state == "killed" and is_disk_full else ""
        last = f"{run.state}{full}{by}, started {run.started}"
        last += f", ended {run.ended}" if run.ended else ""
    lines = [
        f"folder    {status.folder}",
        f"last run  {last}",
        *(f"{name:10}{text}" for name, text in accounts(contents).items()),
        *changes_line(status.changes, contents),
    ]
    for task, states in contents.work.items():
        lines.append(f"{task:9} " + ", ".join(f"{number} {state}" for state, number in states.items()))
    lines.append(f"failures  {contents.failures}")
    return "\n".join(lines)


def as_json(document: dict[str, Any]) -> str:
    """Return a document as JSON, safe to print on a terminal."""
    import json  # noqa: PLC0415 - only JSON output needs it

    import orjson  # noqa: PLC0415

    try:
        return harmless_json(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    except orjson.JSONEncodeError:  # a path with lone surrogates, which orjson rejects
        return json.dumps(document, indent=2)
