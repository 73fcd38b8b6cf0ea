"""Totals of a plan: requests, items, files and bytes, counted or estimated from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harvester.config.keys import SERVICES
from harvester.models import RemoteFile


@dataclass
class Plan:
    """
    The totals of a plan.

    ``requests``: by service. ``seconds``: by service, at the configured rates.
    ``vanished``: harvested items that are no longer listed; each is requested again.
    ``versions``: additional versions to harvest.
    ``sampled``: number of sampled records, for the estimate of items without a stored record.
    ``files_known``: False if there are such items and none was sampled: files and bytes lack them.
    ``empty``: a line for each listing without items.
    ``free_bytes``: on the disk of the output folder.
    ``client_side_filters``: key of a listing to the filters that figshare does not support for it, so that
    all of it is read.
    """

    listed: int = 0
    items: int = 0
    items_pending: int = 0
    vanished: int = 0
    versions: int = 0
    files_pending: int = 0
    bytes_pending: int = 0
    files_known: bool = True
    sampled: int = 0
    quick: bool = False
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SERVICES, 0))
    seconds: dict[str, float] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    free_bytes: int = 0
    client_side_filters: dict[str, list[str]] = field(default_factory=dict)

    @property
    def fits(self) -> bool:
        """Whether the disk has room for the pending files."""
        return self.bytes_pending <= self.free_bytes

    @property
    def binding(self) -> str:
        """The service that limits the time."""
        return max(self.seconds, key=lambda name: self.seconds[name])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as the JSON document of ``plan --json``."""
        return {
            "listed": self.listed,
            "items": self.items,
            "items_pending": self.items_pending,
            "items_vanished": self.vanished,
            "versions_pending": self.versions,
            "files_pending": self.files_pending,
            "bytes_pending": self.bytes_pending,
            "files_known": self.files_known,
            "sampled_records": self.sampled,
            "quick": self.quick,
            "requests": self.requests,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "seconds_at_least": round(max(self.seconds.values()), 1),
            "binding_service": self.binding,
            "incomplete_listings": self.incomplete,
            "empty_listings": self.empty,
            "free_bytes": self.free_bytes,
            "client_side_filters": self.client_side_filters,
        }


@dataclass
class Sampled:
    """The totals of a sample of records."""

    records: int = 0
    api: float = 0.0
    versions: float = 0.0
    excluded: int = 0
    files: float = 0.0
    size: float = 0.0
    files_through_api: float = 0.0

    def add_files(self, files: Sequence[RemoteFile], *, through_api: bool = False, times: int = 1) -> None:
        self.files += times * len(files)
        self.size += times * sum(file.size for file in files)
        self.files_through_api += times * len(files) * through_api
