"""
Progress amounts: how many items, files and bytes are done, of how many.

They cover the whole folder: what earlier runs have done counts, so that a resumed run does not begin at 0. A
total is an estimate until all records are read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harvester.engine.progress import ProgressSnapshot


@dataclass(frozen=True)
class Amount:
    """
    How much is done of something.

    ``total``: 0 if nothing is known. ``is_growing``: it is what was found so far. ``is_estimated``: it may be
    less, too.
    """

    done: int
    total: int
    failed: int = 0
    is_growing: bool = False
    is_estimated: bool = False

    @property
    def share(self) -> float | None:
        """The done part, from 0 to 1; None if no total is known."""
        return min(1.0, (self.done + self.failed) / self.total) if self.total else None

    @property
    def percent(self) -> int | None:
        """The done part in whole percent; 100 only if nothing is left."""
        return None if self.share is None else math.floor(100 * self.share)


def items(snapshot: ProgressSnapshot) -> Amount:
    """Return how many items are done."""
    counters = snapshot.counters
    return Amount(
        counters.before.items + counters.items_done,
        counters.before.items + counters.items_pending,
        counters.items_failed,
        is_growing=not counters.listing_ended,
    )


def files(snapshot: ProgressSnapshot) -> Amount:
    """Return how many files are here."""
    counters, workload = snapshot.counters, snapshot.workload
    to_come = counters.files_left if workload is None else round(workload.files)
    done = counters.before.files + counters.files_done
    total = done + counters.files_failed + to_come
    return Amount(
        done, total, counters.files_failed, is_growing=_grows(snapshot), is_estimated=_is_guess(snapshot)
    )


def file_bytes(snapshot: ProgressSnapshot) -> Amount:
    """Return how many bytes of files are here, those of unfinished files included."""
    counters, workload = snapshot.counters, snapshot.workload
    received = sum(transfer.received for transfer in snapshot.traffic.transfers.values())
    done = counters.before.bytes + counters.bytes_done + received
    to_come = max(0, counters.bytes_left - received) if workload is None else round(workload.bytes)
    return Amount(done, done + to_come, is_growing=_grows(snapshot), is_estimated=_is_guess(snapshot))


def _grows(snapshot: ProgressSnapshot) -> bool:
    return not snapshot.counters.listing_ended


def _is_guess(snapshot: ProgressSnapshot) -> bool:
    return snapshot.counters.items_left > 0 and snapshot.workload is not None
