"""Progress reports: what a program's callback receives while a run works."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple

import anyio

from harvester.engine.progress import ProgressSnapshot
from harvester.text.units import human_bytes, human_seconds

EVERY_SECONDS = 0.5

Companion = Callable[[ProgressSnapshot, Callable[[], None]], Coroutine[Any, Any, None]]
"""Runs during a harvest; its arguments are the counters to show, and a function that stops the run."""


class Progress(NamedTuple):
    """
    The state of a run at one moment; `str` returns it as one line, about the whole folder, for people.

    ``has_ended``: this is the last report of the run.
    ``items_before``, ``files_before``, ``file_bytes_before``: done by earlier runs, the rest by this one.
    ``items_pending``, ``files_pending``: all that are known, those that are done or failed among them.
    ``listing_ended``: all listings were read, so no further items will be found.
    ``files_to_come``, ``file_bytes_to_come``: estimated, with those of items not yet read; None if unknown.
    ``file_bytes``: received. ``file_bytes_per_second``: in the last seconds.
    ``requests``, ``errors``: by service.
    ``rates``: by service, in requests a second; a service without a limit is absent.
    ``seconds``: since the run began. ``seconds_left``: estimated; None if unknown.
    """

    has_ended: bool
    items_before: int
    items_done: int
    items_failed: int
    items_pending: int
    listing_ended: bool
    files_before: int
    files_done: int
    files_failed: int
    files_pending: int
    files_to_come: int | None
    file_bytes: int
    file_bytes_before: int
    file_bytes_to_come: int | None
    file_bytes_per_second: int
    requests: Mapping[str, int]
    errors: Mapping[str, int]
    rates: Mapping[str, float]
    seconds: float
    seconds_left: float | None

    @property
    def failed(self) -> int:
        """The items and files that failed."""
        return self.items_failed + self.files_failed

    @property
    def is_done(self) -> bool:
        """Whether every item and file is done or failed, and no further ones will be found."""
        ended = self.items_done + self.files_done + self.failed
        return self.listing_ended and ended == self.items_pending + self.files_pending

    @property
    def fraction(self) -> float | None:
        """The share of the run's time that has passed, from 0 to 1; None if unknown."""
        if self.is_done:
            return 1.0
        return None if self.seconds_left is None else self.seconds / (self.seconds + self.seconds_left)

    def __str__(self) -> str:
        more = "" if self.listing_ended else "+"
        if not self.items_pending and not self.listing_ended:
            return "reading the listings"
        items, files = self.items_before + self.items_done, self.files_before + self.files_done
        parts = [f"{items} of {self.items_before + self.items_pending}{more} items"]
        if total := files + self.files_failed + self._files_left:
            parts.append(f"{files} of {total}{more} files")
            parts.append(human_bytes(self.file_bytes))
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds_left is not None and self.seconds_left >= 1 and not self.is_done:
            about = "about" if self.listing_ended else "at least"
            parts.append(f"{about} {human_seconds(self.seconds_left)} left")
        return ", ".join(parts)

    @property
    def _files_left(self) -> int:
        """The files to come, with those of items not yet read as far as they can be estimated."""
        known = max(0, self.files_pending - self.files_done - self.files_failed)
        return known if self.files_to_come is None else self.files_to_come


OnProgress = Callable[[Progress], None]


def reporter(on_progress: OnProgress, every_seconds: float = EVERY_SECONDS) -> Companion:
    """Return what calls `on_progress` during a run: at once, then regularly, and at its end."""

    async def report(snapshot: ProgressSnapshot, _: Callable[[], None]) -> None:
        while True:
            on_progress(_progress(snapshot))
            try:
                await anyio.sleep(every_seconds)
            except anyio.get_cancelled_exc_class():
                on_progress(_progress(snapshot, has_ended=True))
                raise

    return report


def _progress(snapshot: ProgressSnapshot, *, has_ended: bool = False) -> Progress:
    state = {**snapshot.state(), "has_ended": has_ended}
    return Progress(**{name: state[name] for name in Progress._fields})
