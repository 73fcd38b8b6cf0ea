"""
Cuts the power of the disk that a harvest writes to, and looks at what is left.

The output folder lies in an ext4 of its own, in an image behind a loop device. Everything that ext4 has
sent to the device is in the image; what only the page cache holds is not. So a copy of the image is the
disk as a power cut leaves it, its journal still to be replayed. Two things make it sharp and honest:

- ``commit=300``: ext4 commits nothing by itself within a test. What is on the device was synced by the
  harvest, or written back in a way that the test requested (`_write_back`: a kernel does it any time).
- The copy is of one moment: the run is stopped, all its threads, and the counters of the device say that
  nothing was written while it was copied.

A disk goes through several cuts, each run going on with what the one before left; the last run ends, and
its disk is cut too: what exit 0 promised must be there.

What it cannot show: a sync that has started ends before the cut, as a stopped thread first leaves the kernel;
and a sync of a file or folder takes all folders of an ext4 along, so what only others lose is not lost here.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread

from harvester.sandbox import Sandbox, Settings
from tests.support.death import (
    Recorded,
    assert_no_file_looks_whole_and_is_not,
    assert_nothing_recorded_was_requested_again,
    recorded,
)
from tests.support.fork_server import Process
from tests.support.program import at, harvester, started
from tests.support.truth import assert_complete

DISK_SIZE = 96 << 20
WORLD = Settings(items=160, heavy=4, heavy_size=6_000_000, latency=0.003)
RATES = {"start": "120", "any": "120", "commit": "25", "partial": "120"}
"""
The moments of cuts, and how many requests a second are sent until then.

While the ledger is made, or opened after a cut; anywhere; right after a commit, and with few requests it is
often the last thing that was synced; when a partial file has just been written back.
"""
CUTS_A_DISK = 3
MOST_REQUESTS = 2
"""For each item, of a run before its cut; all its runs together ask less than a harvest has to."""


def hindrance(folder: Path) -> str:
    """Say why no disk can be mounted here; '' where one can."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    if missing := [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]:
        return f"{missing[0]} is not installed"
    try:
        with mounted(make_disk(folder / "trial.img")):
            return ""
    except subprocess.CalledProcessError as error:
        return f"this machine does not let a test mount a disk: {error.stderr.strip()}"
    finally:
        (folder / "trial.img").unlink(missing_ok=True)


def make_disk(image: Path) -> Path:
    image.touch()
    os.truncate(image, DISK_SIZE)
    # Nothing is left for the kernel to initialise later, while the image is copied.
    _as_root("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    return image


@contextmanager
def mounted(image: Path) -> Iterator[Path]:
    """Mount a disk for as long as the block lasts; the loop device goes with the mount."""
    place = image.with_suffix("")
    place.mkdir(exist_ok=True)
    _as_root("mount", "-o", "loop,commit=300", image, place)
    try:
        yield place
    finally:
        try:
            _as_root("umount", place)
        except subprocess.CalledProcessError:  # it is still in use: released later
            _as_root("umount", "--lazy", place)
        place.rmdir()


def _as_root(*words: object) -> None:
    subprocess.run(
        list(map(str, words)), check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@dataclass
class Tally:
    """
    What the cuts met. ``records`` and ``files``: recorded before the last cut of a disk.

    ``ahead``: files that were whole in their place before the ledger had said so. ``partial``: bytes of
    partial files that outlived a cut.
    """

    cuts: int = 0
    records: int = 0
    files: int = 0
    ahead: int = 0
    partial: int = 0

    def __str__(self) -> str:
        return (
            f"power cut × {self.cuts}: {self.records:,} records, {self.files:,} files recorded before a cut, "
            f"none lost, none torn; {self.ahead:,} whole before they were recorded, "
            f"{self.partial:,} bytes of partial files kept"
        )


async def cut_power(times: int, folder: Path, seed: int, world: Settings = WORLD) -> str:
    """
    Cut the power `times` times at moments that `seed` decides; return a line that sums up.

    `folder` is for the images, one at a time; see `hindrance` for whether it can be done at all.

    Raises:
        AssertionError: something recorded was lost, a file is torn, or a harvest did not complete.
        OSError: a table that a finished run had written is not there.
    """
    chance = random.Random(seed)
    counters = Tally()
    while counters.cuts < times:
        async with Sandbox(replace(world, seed=chance.randrange(1000))) as sandbox:
            cuts = min(chance.randint(1, CUTS_A_DISK), times - counters.cuts)
            await _Harvest(sandbox, folder, chance, counters).through(cuts)
    return str(counters)


class _Harvest:
    """One harvest, from an empty disk through its cuts to the end."""

    def __init__(self, sandbox: Sandbox, folder: Path, chance: random.Random, counters: Tally) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._chance = chance
        self._counters = counters
        self._wanted = sandbox.world.search("survey")
        self._most_requests = MOST_REQUESTS * sandbox.settings.items
        self._moments: list[Recorded] = []

    async def through(self, cuts: int) -> None:
        image = make_disk(self._folder / f"{self._counters.cuts}.img")
        for _ in range(cuts):
            self._counters.cuts += 1
            left = self._folder / f"{self._counters.cuts}.img"
            before_cut = await self._run_until_the_cut(image, left)
            image.unlink()
            image = left
            with mounted(image) as disk:
                self._assert_kept(disk / "out", before_cut)
        self._counters.records += len(self._moments[-1].records)
        self._counters.files += len(self._moments[-1].files)
        await self._run_to_the_end(image)

    async def _run_until_the_cut(self, image: Path, left: Path) -> Recorded:
        with mounted(image) as disk:
            kind = self._chance.choices(list(RATES), [1, 3, 4, 2])[0]
            words = ("run", "--search", "survey", "-o", disk / "out", *at(self._sandbox, RATES[kind]))
            async with started(words) as process:
                await self._wait_for(kind, disk / "out")
                await _stop(process)
                before_cut = _recorded(disk / "out", self._sandbox)
                copy_at_one_moment(image, left, device_of=disk)
        return before_cut

    async def _wait_for(self, kind: str, out: Path) -> None:
        ledger = out / "harvest.db"
        if kind == "start":
            before = _stamps(out)
            while _stamps(out) == before:
                await anyio.sleep(0.001)
        elif kind == "any":
            await self._requests(self._chance.randrange(self._most_requests))
        elif kind == "commit":
            await self._requests(1 + self._chance.randrange(self._most_requests // 4))
            await to_thread.run_sync(_write_back, out)
            await to_thread.run_sync(_begin_the_log_anew, ledger)
            await self._requests(self._chance.randrange(self._most_requests // 4))
            await _commit(ledger)
            return
        elif kind == "partial":
            end = len(self._sandbox.requests) + self._most_requests
            while _partial_bytes(out) < 1 << 20 and len(self._sandbox.requests) < end:
                await anyio.sleep(0.001)
            await to_thread.run_sync(_write_back, out)
            return
        await anyio.sleep(self._chance.uniform(0, 0.1))

    async def _requests(self, number: int) -> None:
        seen = len(self._sandbox.requests) + number
        while len(self._sandbox.requests) < seen:
            await anyio.sleep(0.002)

    def _assert_kept(self, out: Path, before_cut: Recorded) -> None:
        kept = self._look_into_the_ledger(out)
        for before in (before_cut, *self._moments):
            lost = (before.records - kept.records, before.stats - kept.stats, before.files - kept.files)
            assert not any(lost), f"lost from the ledger: records, stats, files {lost}"
        self._moments.append(kept)
        assert_no_file_looks_whole_and_is_not(out, self._sandbox)
        there = sum(path.is_file() for path in (out / "files").rglob("*"))
        self._counters.ahead += there - len(kept.files)
        self._counters.partial += _partial_bytes(out)

    def _look_into_the_ledger(self, out: Path) -> Recorded:
        """Read the ledger as the cut left it, in a copy, so that the next run has to recover it itself."""
        scratch = self._folder / "scratch"
        scratch.mkdir()
        for path in out.glob("harvest.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, scratch)
        try:
            with closing(sqlite3.connect(scratch / "harvest.db")) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
                kept = recorded(scratch, self._sandbox)
                if kept.records:
                    done = db.execute("SELECT file_id, path FROM files WHERE status = 'done'")
                    for file_id, path in done:
                        assert (out / path).is_file(), f"{path}: recorded and lost"
                        content = (out / path).read_bytes()
                        assert content == self._sandbox.world.content(file_id), f"{path}: recorded and torn"
        finally:
            shutil.rmtree(scratch)
        return kept

    async def _run_to_the_end(self, image: Path) -> None:
        left = image.with_stem("ended")
        with mounted(image) as disk:
            ended = await harvester("run", "--search", "survey", "-o", disk / "out", *at(self._sandbox))
            copy_at_one_moment(image, left, device_of=disk)
            assert ended.status == 0, ended.err
            assert_complete(disk / "out", self._sandbox, self._wanted)
            assert_nothing_recorded_was_requested_again(self._sandbox, self._moments)
        image.unlink()
        with mounted(left) as disk:
            assert_complete(disk / "out", self._sandbox, self._wanted)
        left.unlink()


async def _stop(process: Process) -> None:
    """Stop a program; when this returns, none of its threads is in the midst of a sync."""
    process.send_signal(signal.SIGSTOP)
    while states := _states(process.pid) - {"T"}:
        assert "Z" not in states, "it ended before its power was cut"
        await anyio.sleep(0.001)


def _states(pid: int) -> set[str]:
    """The letters that ps shows for the threads of a program; see proc_pid_stat(5)."""
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
            found.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return found


def _recorded(out: Path, sandbox: Sandbox) -> Recorded:
    """What anybody could read in the ledger at the moment of the cut."""
    try:
        return recorded(out, sandbox)
    except sqlite3.OperationalError as error:  # it was just made or recovered: nothing was reported
        assert "locked" in str(error) or "unable to open" in str(error)
        return Recorded(len(sandbox.requests), frozenset(), frozenset(), frozenset())


def _stamps(out: Path) -> list[int]:
    """When the ledger and its index, which SQLite empties on opening, were changed; 0: not there."""
    found = [out / "harvest.db", out / "harvest.db-shm"]
    return [path.stat().st_mtime_ns if path.exists() else 0 for path in found]


def _partial_bytes(out: Path) -> int:
    total = 0
    for path in out.glob(".partial/*"):
        with contextlib.suppress(FileNotFoundError):  # it was just published
            total += path.stat().st_size
    return total


def _write_back(out: Path) -> None:
    _as_root("sync", "--file-system", out)


def _begin_the_log_anew(ledger: Path) -> None:
    """
    Do what SQLite does by itself after a thousand pages.

    From here on a commit overwrites the log in place, and its sync takes nothing else to the disk.
    """
    with closing(sqlite3.connect(ledger)) as db:
        db.execute("PRAGMA wal_checkpoint(RESTART)")


async def _commit(ledger: Path) -> None:
    """Wait until another has committed something."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        before = _version(db)
        while _version(db) == before:
            await anyio.sleep(0.001)


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA data_version").fetchone()[0]
    return version


def copy_at_one_moment(image: Path, copy: Path, *, device_of: Path) -> None:
    """Copy the image of a mounted disk while nothing is written to it, as its device says."""
    device = device_of.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    for _ in range(20):
        before = _writes(counters)
        _as_root("cp", "--sparse=always", image, copy)
        if before == _writes(counters) and before[-1] == 0:
            return
    raise AssertionError("something else writes to the disk")


def _writes(counters: Path) -> tuple[int, ...]:
    """Writes completed, sectors written, requests on their way; block/stat.rst of the kernel."""
    numbers = list(map(int, counters.read_text().split()))
    return numbers[4], numbers[6], numbers[8]
