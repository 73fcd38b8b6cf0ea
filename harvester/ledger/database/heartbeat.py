"""
Heartbeat: shows that a run is alive, and judges whether another one is.

A run is alive if its heartbeat changes while another run watches it. Clocks are not compared, as they may
differ; nor pids, as containers share them. A process that is proven dead need not be watched.
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
"""The lease of a run may be taken over after this time without a heartbeat."""
BEAT_SECONDS = 0.5
LOOK_SECONDS = 0.1
_NOTICE_SECONDS = 2.0
"""A live run is detected earlier; the user gets a message only if the wait is longer."""
_NEXT_NOTICE_SECONDS = 10.0
_counter = count()


class Timing(NamedTuple):
    """
    How a lease is kept and judged.

    ``watch_seconds``: seconds without a heartbeat after which a lease may be taken over.
    ``beat_seconds``: interval of this run's heartbeat, in addition to its writes; infinite: no heartbeat.
    ``wait_seconds``: how long to wait while another run is active; infinite: without a limit.
    """

    watch_seconds: float = FRESH_SECONDS
    beat_seconds: float = BEAT_SECONDS
    wait_seconds: float = 0.0


USUAL_TIMING = Timing()


class Sign(NamedTuple):
    """The last heartbeat of the run that holds a folder; ``beat`` changes with each."""

    process: Process
    beat: str


def new_beat() -> str:
    """Return a new heartbeat value, unique without a clock; always 24 characters."""
    return f"{next(_counter) & 0xFFFFFFFF:08x}{os.urandom(8).hex()}"


class Watch:
    """
    Judges whether another run is active on `folder`.

    `checkpoint`: called repeatedly while it watches; it may raise to cancel.
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
        Return the last heartbeat of a dead run; None if no run holds the folder.

        `look`: returns the last heartbeat. The call takes as long as the run has to be watched.

        Raises:
            FolderLocked: the heartbeat changes.
        """
        found = look()
        if found is None or self._is_over(found.process):
            return found
        # Counted in looks, not by a clock: while both runs are suspended, this one does not watch.
        for number in range(math.ceil(self._seconds / LOOK_SECONDS)):
            silent = number * LOOK_SECONDS
            if _is_time_for_notice(number):
                self._notify(found, silent)
            self._checkpoint()
            self._sleep(LOOK_SECONDS)
            now = look()
            if now is None:
                return None
            if now != found:
                raise self.in_use(now, silent)
            if self._is_over(found.process):
                return found
        if found.process.is_identified:
            self._stood_still.add(found.process)  # also for its other lease, in the file or the ledger
        return found

    def in_use(self, sign: Sign, silent_seconds: float = 0.0) -> FolderLocked:
        """Return the error that names the active run, and how long it had been silent."""
        silent = f"{silent_seconds:.0f} s" if silent_seconds >= 1 else "less than 1 s"
        return FolderLocked(
            f"{self._folder}: another run ({sign.process}) is using this folder (silent for {silent}); "
            "wait for it with --wait, or give this one its own folder with --output"
        )

    def _is_over(self, process: Process) -> bool:
        return process in self._stood_still or process.fate is Fate.GONE

    def _notify(self, found: Sign, silent_seconds: float) -> None:
        import logging  # noqa: PLC0415 - `status` needs none

        logging.getLogger(__name__).warning(
            "%s: another run (%s) may still be active: silent for %.0f s; it can be taken over in %.0f s",
            self._folder, found.process, silent_seconds, self._seconds - silent_seconds,
        )  # fmt: skip


def _is_time_for_notice(looks: int) -> bool:
    first, every = (round(each / LOOK_SECONDS) for each in (_NOTICE_SECONDS, _NEXT_NOTICE_SECONDS))
    return looks >= first and (looks - first) % every == 0


def seems_at_work(sign: Sign, age_seconds: float, look: Callable[[], Sign | None]) -> bool:
    """
    Return quickly whether a run is probably active; only for display.

    `age_seconds`: since its last heartbeat, by this machine's clock.
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
    Renews the heartbeat of a run in its own thread, which neither a busy event loop nor a long transaction
    delays.

    `beat`: renews it once, and returns whether the lease is still held; if not, the thread ends.
    """

    def __init__(self, beat: Callable[[], bool], *, seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        if not math.isinf(self._seconds):
            self._thread = threading.Thread(target=self._go_on, name="heartbeat", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; after the return `beat` is not called any more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _go_on(self) -> None:
        while not self._ended.wait(self._seconds):
            if not self._beat():
                return
