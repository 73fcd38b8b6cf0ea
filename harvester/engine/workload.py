"""
Workload: the requests and bytes that are still to come, estimated from the work that is done.

Each stage of a run (listing entries, items, files) counts the requests of its finished units. What an item
that was not processed yet will need is what the finished ones needed on average. Requests that unfinished
units have made already are subtracted. This is arithmetic only; `time_left.py` makes seconds of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from harvester.client import Unit, working_on

ONE_DOWNLOAD: Mapping[str, float] = {"files": 1.0}
"""What a file needs at least, while none is finished."""


@dataclass
class StageRequests:
    """
    The requests of one stage.

    ``finished``: how many units have ended. ``requests``: theirs, by service.
    """

    finished: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    _in_flight: dict[int, Unit] = field(default_factory=dict)

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Count the requests of one unit."""
        unit = Unit()
        self._in_flight[id(unit)] = unit
        try:
            with working_on(unit):
                yield
        finally:
            del self._in_flight[id(unit)]
            self.finish(unit)

    def finish(self, unit: Unit, size: int = 1) -> None:
        """Add a finished unit; `size`: how many it stands for, such as the entries of a page."""
        self.finished += size
        self.requests += unit.requests

    @property
    def read(self) -> list[Unit]:
        """The items in flight whose files are known, as their record was read."""
        return [unit for unit in self._in_flight.values() if unit.files is not None]

    def to_come(self, units: float, at_least: Mapping[str, float] | None = None) -> dict[str, float]:
        """
        Return the requests that `units` will still make, by service; those in flight are among them.

        `at_least`: the requests of one unit while none is finished.
        """
        if not units:
            return {}
        average: Mapping[str, float] = at_least or {}
        if self.finished:
            average = {name: number / self.finished for name, number in self.requests.items()}
        made = sum((unit.requests for unit in self._in_flight.values()), Counter[str]())
        return {name: max(0.0, number * units - made[name]) for name, number in average.items()}


@dataclass(frozen=True)
class Found:
    """
    What the processed items have brought.

    ``items``: how many were processed, ``firsts``: without those that are one version of another item.
    """

    items: int = 0
    firsts: int = 0
    versions: int = 0
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Pending:
    """
    What is known to be still to come.

    ``entries``: of listings of a known length; ``items_per_entry``: how many items they have brought so far.
    ``bytes``: of the files, without those that are here already.
    """

    entries: int = 0
    items_per_entry: float = 1.0
    items: int = 0
    files: int = 0
    bytes: float = 0.0


@dataclass(frozen=True)
class Workload:
    """The estimate of what is still to come: requests by service, items, files and bytes of files."""

    requests: Mapping[str, float]
    items: float
    files: float
    bytes: float


@dataclass(frozen=True)
class Stages:
    """The requests of the three stages."""

    listing: StageRequests = field(default_factory=StageRequests)
    items: StageRequests = field(default_factory=StageRequests)
    files: StageRequests = field(default_factory=StageRequests)


def estimate(pending: Pending, found: Found, stages: Stages) -> Workload | None:
    """Return what is still to come; None while items are pending and no request of one is known."""
    items = pending.items + pending.entries * pending.items_per_entry
    if items and not (found.items and stages.items.requests):  # another process may make them
        return None
    if found.firsts:
        known_versions = max(0, found.versions - (found.items - found.firsts))
        items += max(0.0, items - known_versions) * found.versions / found.firsts
    # Items in flight whose record was read have brought files too, which are not pending yet.
    read = stages.items.read
    new_files = sum(unit.files or 0 for unit in read)
    new_bytes = sum(unit.bytes for unit in read)
    seen = found.items + len(read)
    share = max(0.0, items - len(read)) / seen if items else 0.0
    files = pending.files + new_files + (found.files + new_files) * share
    size = pending.bytes + new_bytes + (found.bytes + new_bytes) * share
    parts = (
        stages.listing.to_come(pending.entries),
        stages.items.to_come(items),
        stages.files.to_come(files, ONE_DOWNLOAD),
    )
    services = {name for part in parts for name in part}
    requests = {name: sum(part.get(name, 0.0) for part in parts) for name in sorted(services)}
    return Workload(requests, items, files, size)
