"""
Summary: what a run did, and what an output folder contains, in numbers.

The attributes have the names of the keys in summary.json and `status --json`; `as_document` makes these
documents. The module stands apart from `models.py`, which needs msgspec: `status` starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from harvester.errors import ExitStatus


class FileTotals(NamedTuple):
    """A number of files, and their size together in bytes."""

    files: int = 0
    bytes: int = 0


NO_FILES = FileTotals()


class TaskTotals(NamedTuple):
    """The items or files that one run has done, and those that failed."""

    done: int
    failed: int


class ListingTotals(NamedTuple):
    """
    All entries of the listings: ``entries`` = the sum of the others.

    ``unique``: different items. ``duplicates``: entries of an item that was listed before.
    ``excluded``: by the user's filters. ``unresolved``: names and entries without an item.
    """

    entries: int
    unique: int
    duplicates: int
    excluded: int
    unresolved: int


class Outcomes(NamedTuple):
    """
    Every item and every file in exactly one state, so that the numbers add up to the totals.

    ``items``: done, pending, excluded, withdrawn, or the failure kind of the first failed task.
    ``files``: done, pending, skipped, link, the reason of a withheld file, or the failure kind.
    ``withheld``: reason to number of items, which are a part of those that are done.
    """

    items: Mapping[str, int]
    files: Mapping[str, int]
    withheld: Mapping[str, int]


class FolderTotals(NamedTuple):
    """
    The content of an output folder.

    ``items``: a requested version counts as one. ``versions``: items that are one version of another.
    ``records``: items whose record is here. ``listings_open``: listings not read to their end.
    ``work``: task to state to number of items. ``files``: status to files and bytes.
    ``orphaned_files``: no record lists them any more.
    ``unidentified_files``: they were here at a rebuild, and no record has listed them since.
    ``failures``: the number of rows in failures.csv.
    """

    items: int
    versions: int
    records: int
    listings_open: int
    listings: ListingTotals
    work: Mapping[str, Mapping[str, int]]
    files: Mapping[str, FileTotals]
    outcomes: Outcomes
    orphaned_files: FileTotals
    unidentified_files: FileTotals
    failures: int
    trash: FileTotals


class KeptStatistics(NamedTuple):
    """Statistics of earlier runs: of how many ``items``; ``oldest``: ISO 8601, "" if there are none."""

    items: int = 0
    oldest: str = ""


class RunTotals(NamedTuple):
    """
    What one run did.

    ``outcome``: "finished", "interrupted" or "stopped". ``started``: ISO 8601, in UTC.
    ``listed``: entries of listings. ``suspected``: items harvested before and not found now.
    ``bytes``: of files, received. ``requests`` and ``errors``: by service.
    ``rates``: by service, in requests a second at the end; a service without a limit is absent.
    ``warnings``: the first 100.
    ``empty``: a line for each source without items, and for filters that exclude everything.
    ``kept_statistics``: those that this run did not request again.
    ``changes``: kind of change to number of items.
    ``unaccounted``: tasks left pending without a reason; 0 after a run that finished.
    """

    outcome: str
    started: str
    seconds: float
    listed: int
    items: TaskTotals
    files: TaskTotals
    suspected: int
    bytes: int
    requests: Mapping[str, int]
    errors: Mapping[str, int]
    rates: Mapping[str, float]
    warnings: tuple[str, ...]
    empty: tuple[str, ...]
    kept_statistics: KeptStatistics
    changes: Mapping[str, int]
    unaccounted: int


class Summary(NamedTuple):
    """What a run did and what the folder contains, as in summary.json, with the exit status."""

    run: RunTotals
    folder: FolderTotals
    exit_status: ExitStatus

    @property
    def is_complete(self) -> bool:
        """Whether the run finished without failures, though a source may have no items."""
        return self.run.outcome == "finished" and not (self.folder.failures or self.run.unaccounted)

    def to_dict(self) -> dict[str, Any]:
        """Return the document summary.json."""
        return {"run": as_document(self.run), "folder": as_document(self.folder)}


class LastRun(NamedTuple):
    """
    The newest harvest of a folder.

    ``started`` and ``ended``: ISO 8601, in UTC. ``ended`` is None if it is running or was killed.
    ``state``: "running", "finished", "interrupted", "stopped" or "killed".
    ``by``: the host and process that runs it now, or None.
    """

    started: str
    ended: str | None
    state: str
    by: str | None


class Status(NamedTuple):
    """
    The state of an output folder.

    ``folder``: its path. ``last_run``: None if there was none.
    ``changes``: kind of change to number of items, since the last finished run.
    """

    folder: str
    last_run: LastRun | None
    changes: Mapping[str, int]
    contents: FolderTotals

    def to_dict(self) -> dict[str, Any]:
        """Return the document of `status --json`."""
        document: dict[str, Any] = as_document(self)
        contents: dict[str, Any] = document.pop("contents")
        return document | contents


def as_document(value: object) -> Any:
    """Return a value as JSON types: an object for each named tuple and mapping."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: as_document(each) for name, each in value.items()}
    return [as_document(each) for each in value] if isinstance(value, tuple) else value
