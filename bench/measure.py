"""Run a program to its end and measure it; repeat; compare. Nothing here depends on the program."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Numbers = dict[str, float]
"""The figures of one repetition by name: ``wall`` and ``cpu`` are seconds, ``memory`` is bytes."""
Runs = dict[str, list[Numbers]]
"""The repetitions of all programs, by name."""

LOOK_EVERY_SECONDS = 0.02


class Failed(Exception):
    """A measured program failed, or its result is wrong."""


@dataclass(frozen=True)
class Ended:
    """
    How a program ended.

    ``wall``: seconds; ``cpu``: seconds in user and system, of its children too; ``memory``: the most that
    memory it used at once, in bytes, 0 if not measured.
    """

    wall: float
    cpu: float
    memory: int
    status: int
    out: str
    err: str

    @property
    def numbers(self) -> Numbers:
        taken: Numbers = {"wall": self.wall, "cpu": self.cpu}
        return {**taken, "memory": self.memory} if self.memory else taken


def run(
    words: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    memory: bool = False,
    statuses: frozenset[int] = frozenset({0}),
) -> Ended:
    """
    Run a program to its end.

    `memory`: look at its peak memory as it runs; `statuses`: those that it may end with.

    Raises:
        Failed: it ended with another status.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            words, env=_without_proxies(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        with _looked_at(process.pid, really=memory) as peak:
            _, how, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(how)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if process.returncode not in statuses:
        raise Failed(f"{words[0]} … ended with status {process.returncode}: {texts[1][-2000:]}")
    return Ended(wall, used.ru_utime + used.ru_stime, peak[0], process.returncode, texts[0], texts[1])


def _without_proxies(env: Mapping[str, str] | None) -> dict[str, str]:
    """Leave out what sends some programs, and not others, a long way round to this very machine."""
    given = os.environ if env is None else env
    return {name: value for name, value in given.items() if not name.lower().endswith("_proxy")}


@contextmanager
def _looked_at(pid: int, *, really: bool) -> Iterator[list[int]]:
    """
    Look at the peak memory of a process while the context lasts; it is in the list afterwards.

    Not `ru_maxrss`: a child inherits in it what its parent held when it was forked.
    """
    peak = [0]
    if not really:
        yield peak
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_SECONDS):
            peak[0] = max(peak[0], peak_memory(pid))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has held so far, 0 after its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, StopIteration):
        return 0


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a running process has taken so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def alternate(
    who: Mapping[str, Callable[[], Numbers]], times: int, *, warm_up: bool = True, memory: int = 0
) -> Runs:
    """
    Run all programs alternately, several times, so that other load on the machine affects all alike.

    `warm_up`: run each once before, uncounted. `memory`: bytes that are free before each run. A virtual
    machine may return free memory to its host within seconds. To get it again takes longer than to write to
    it, and would count for the program that runs after one that needs little.
    """
    runs: Runs = {name: [] for name in who}
    for number in range(0 if warm_up else 1, times + 1):
        for name, once in who.items():
            _get_memory(memory)
            numbers = once()
            if number:
                runs[name].append(numbers)
            figures = ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())
            say(f"{name}, {number or 'warm-up'} of {times}: {figures}")
    return runs


def _get_memory(size: int) -> None:
    """Have the system cache a file of `size` bytes, and drop it."""
    piece = bytes(1 << 20)
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(size >> 20):
            file.write(piece)


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Spread:
    """The middle of some repetitions, and how far apart they are."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def text(self, pattern: str = "{:.2f}", scale: float = 1.0) -> str:
        """Return ``median (least–most)``."""
        middle, least, most = (pattern.format(scale * v) for v in (self.median, self.least, self.most))
        return f"{middle} ({least}–{most})"


def spread(runs: Sequence[Numbers], key: str = "wall") -> Spread:
    """Return the spread of one number over the repetitions."""
    return Spread.of([numbers[key] for numbers in runs])


def ratio(runs: Sequence[Numbers], reference: Sequence[Numbers], key: str = "wall") -> Spread:
    """
    Compare two programs that ran alternately, repetition by repetition.

    Those of one turn share what the machine did then, so their ratio is steadier than that of the medians.
    """
    return Spread.of([one[key] / other[key] for one, other in zip(runs, reference, strict=True)])


def put_aside(folder: Path) -> None:
    """
    Empty the files of a folder, if it is there, and move it away; the caller deletes its parent.

    A file system may take much longer to make files where many have just been deleted: ext4 without a
    journal passes over each number of theirs for minutes.
    """
    if not folder.exists():
        return
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)
    folder.rename(folder.with_name(f"{folder.name}-{time.monotonic_ns()}"))
