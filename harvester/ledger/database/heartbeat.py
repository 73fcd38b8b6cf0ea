"""
Heartbeats: how a run shows that it lives, and how another one judges that.

Whether a heartbeat moves while one watches is all that counts: neither two clocks, which may differ, nor the
numbers of processes, which containers share. A process that is proven dead needs no watching.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from harvester.errors import FolderLocked
from harvester.system.process import Fate, Process

FRESH_SECONDS = 30.0
"""A run whose heartbeat stands still for so long may be taken over."""
BEAT_SECONDS = 0.5
LOOK_SECONDS = 0.1
_TELL_SECONDS = 2.0
"""A living run is seen before: only who has to wait longer is told why."""
_counter = count()


class Timing(NamedTuple):
    """
    How a lease is kept and judged.

    ``watch_seconds``: how long a heartbeat has to stand still for its run to be taken over. ``beat_seconds``:
    how often this run shows that it lives, besides with all that it writes; infinite: not at all.
    """

    watch_seconds: float = FRESH_SECONDS
    beat_seconds: float = BEAT_SECONDS


USUAL_TIMING = Timing()


class Sign(NamedTuple):
    """The last sign of life of the run that holds a folder; ``beat`` is another one with each."""

    process: Process
    beat: str


def new_beat() -> str:
    """Return a value that no heartbeat had before, whatever any clock says; always 24 characters."""
    return f"{next(_counter) & 0xFFFFFFFF:08x}{os.urandom(8).hex()}"


class Watch:
    """
    Judges whether somebody else is at work on `folder`.

    `checkpoint` is called again and again while it watches, so that this can be given up: it raises.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seconds: float = FRESH_SECONDS,
        checkpoint: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._checkpoint = checkpoint
        self._sleep = sleep
        self._stood_still: set[Process] = set()

    def judge(self, look: Callable[[], Sign | None]) -> Sign | None:
        """
        Find the last sign of a run that ended without a word; None where nobody holds the folder.

        `look` returns the last sign that there is. This takes as long as it has to be watched.

        Raises:
            FolderLocked: its heartbeat moves.
        """
        found = look()
        if found is None or self._is_over(found.process):
            return found
        # Counted in looks, not by a clock: who is stopped together with the other has not watched meanwhile.
        for number in range(math.ceil(self._seconds / LOOK_SECONDS)):
            if number == int(_TELL_SECONDS / LOOK_SECONDS):
                self._tell(found)
            self._checkpoint()
            self._sleep(LOOK_SECONDS)
            now = look()
            if now is None:
                return None
            if now != found:
                raise self.in_use(now)
            if self._is_over(found.process):
                return found
        if found.process.is_identified:
            self._stood_still.add(found.process)  # wherever else it has left a sign
        return found

    def in_use(self, sign: Sign) -> FolderLocked:
        """Say who is at work here."""
        return FolderLocked(
            f"{self._folder}: another run ({sign.process}) is at work here; wait for it, or "
            "give this one its own folder with --output"
        )

    def _is_over(self, process: Process) -> bool:
        return process in self._stood_still or process.fate is Fate.GONE

    def _tell(self, found: Sign) -> None:
        import logging  # noqa: PLC0415 - `status` needs none

        logging.getLogger(__name__).warning(
            "%s: %s may still be at work: watching its heartbeat for %.0f s",
            self._folder, found.process, self._seconds,
        )  # fmt: skip


def seems_at_work(sign: Sign, age_seconds: float, look: Callable[[], Sign | None]) -> bool:
    """
    Guess, within a moment, whether a run is at work; good enough to tell people, and for nothing else.

    `age_seconds`: since its last sign, by this machine's clock.
    """
    fate = sign.process.fate
    if fate is not Fate.UNKNOWN:
        return fate is Fate.ALIVE
    if abs(age_seconds) <= FRESH_SECONDS:
        return True
    for _ in range(math.ceil(1.5 * BEAT_SECONDS / LOOK_SECONDS)):
        time.sleep(LOOK_SECONDS)
        if look() != sign:
            return True
    return False


class Heartbeat:
    """
    Shows that a run lives, from a thread of its own, which neither a busy loop nor a long transaction stops.

    `beat` shows it once and tells whether the lease is still held; it is called no more where it is not.
    """

    def __init__(self, beat: Callable[[], bool], *, seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to beat."""
        if not math.isinf(self._seconds):
            self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop beating; when this returns, `beat` is not called any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(self._seconds):
            if not self._beat():
                return
