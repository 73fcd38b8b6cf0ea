"""
`make soak`: what takes too long for the test suite, one line each.

Fifty kills, twenty power cuts, each fault and all faults at once on 500 items, 100,000 items whose memory is
compared with that for 10,000, listings of 25,000 and 1,000,000 items past figshare's cap, random histories
of thousands of steps, and the answers that would take most memory. Ends with status 1 when one of them does
not hold.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import orjson

from harvester import harvest
from harvester.ledger.database.connection import NAME
from harvester.sandbox import Sandbox, Settings
from tests.support.death import kill_again_and_again
from tests.support.faults import PASSING, PATIENCE, RANGES, all_at_once
from tests.support.histories import made_up, play
from tests.support.power import cut_power, hindrance
from tests.support.program import config, environment
from tests.support.truth import assert_complete, assert_complete_but
from tests.support.worst import MOST_LAG, WORST, lag, peak
from tests.support.worst import MOST_MEMORY as MOST_MEMORY_OF_AN_ANSWER

ITEMS = 500
KILLS = 50
CUTS = 20
FEW, MANY = 10_000, 100_000
HISTORIES, STEPS = 60, 40
LISTED = (25_000, 1_000_000)
MOST_MEMORY = 150_000_000
MOST_GROWTH = 1.10


async def kills(folder: Path) -> str:
    """Kill a run with files in flight again and again, then let it end."""
    seen = await kill_again_and_again(folder, KILLS, items=4000)
    return (
        f"kill -9 × {KILLS}: {len(seen.records)} records and {len(seen.files)} files were recorded before "
        "the last one; the truth at the end, nothing recorded was requested again"
    )


async def power_cuts(folder: Path) -> str:
    """Cut the power of the disk again and again."""
    if reason := hindrance(folder):
        return f"power cut: not tried here: {reason}"
    return await cut_power(CUTS, folder, seed=11)


async def each_fault(folder: Path) -> str:
    """Harvest with each fault that passes at 5 % of the requests."""
    counts = []
    for fault in PASSING:
        faults = {"reset-body": 0.05, fault: 0.05}
        settings = Settings(items=ITEMS, heavy_size=100_000, faults=faults, stall_seconds=5)
        async with Sandbox(settings) as sandbox:
            out = folder / fault
            summary = await harvest(config(sandbox, out, **PATIENCE.get(fault, {}), **{"retry.attempts": 8}))
            met = sum(seen.fault == fault for seen in sandbox.requests)
            assert met or fault in RANGES, fault
            assert summary.exit_status == 0, (fault, summary)
            assert_complete(out, sandbox, sandbox.world.search("survey"))
            counts.append(met)
    return (
        f"each of {len(PASSING)} faults at 5 % of the requests, {ITEMS} items: complete and correct each "
        f"time; {sum(counts):,} requests met one, {min(counts)} to {max(counts)} a fault"
    )


async def all_faults(folder: Path) -> str:
    """Harvest with all faults at once, those that never pass too."""
    settings = Settings(items=ITEMS, heavy_size=100_000, faults=all_at_once(), stall_seconds=5)
    async with Sandbox(settings) as sandbox:
        await harvest(config(sandbox, folder))
        met = [seen.fault for seen in sandbox.requests if seen.fault]
        lost = (
            sandbox.permanently_failing_items(),
            sandbox.permanently_failing_files(),
            sandbox.permanently_failing_stats(),
        )
        assert_complete_but(folder, sandbox, items=lost[0], files=lost[1], stats=lost[2])
        return (
            f"all faults at once, {ITEMS} items: {len(met):,} of {len(sandbox.requests):,} requests met one "
            f"of {len(set(met))}; {len(lost[0])} records, {len(lost[1])} files and {len(lost[2])} counters "
            "that can never be had are in failures.csv, all else is complete and correct"
        )


@dataclass(frozen=True)
class Peak:
    """What a run took at the most: bytes of memory, open files and sockets; and its seconds."""

    memory: int
    handles: int
    seconds: float


async def size(folder: Path) -> str:
    """Compare the memory of a long run with that of a short one."""
    few = await _run(folder / "few", FEW)
    many = await _run(folder / "many", MANY)
    growth = many.memory / few.memory
    assert growth <= MOST_GROWTH, (few, many)
    assert many.memory < MOST_MEMORY, many
    assert many.handles <= few.handles + 4, (few, many)
    return (
        f"{MANY:,} items (records, statistics): peak memory {many.memory / 1e6:.1f} MB in "
        f"{many.seconds:.0f} s, {growth:.3f} × that of {FEW:,} items ({few.memory / 1e6:.1f} MB); "
        f"at most {many.handles} files and sockets open ({few.handles})"
    )


async def caps(folder: Path) -> str:
    """List past the cap, with cursors and by date, killed three times; every item is there, and once."""
    results = []
    for cursors in (True, False):
        peaks = [await _list(folder / f"{items} {cursors}", items, cursors=cursors) for items in LISTED]
        growth = peaks[1].memory / peaks[0].memory
        assert growth <= MOST_GROWTH, peaks
        seconds = " and ".join(f"{peak.seconds:.0f} s" for peak in peaks)
        results.append(
            f"{'by cursor' if cursors else 'by date'} {seconds}, peak memory {peaks[1].memory / 1e6:.1f} MB, "
            f"{growth:.3f} × that of the first"
        )
    sizes = " and ".join(f"{items:,}" for items in LISTED)
    return f"{sizes} items listed past the cap, killed three times each, none missing: {'; '.join(results)}"


async def histories(folder: Path) -> str:
    """Play random histories: nothing is lost, all agrees, and each ends with the truth."""
    runs = ever = 0
    for seed in range(HISTORIES):
        with tempfile.TemporaryDirectory(dir=folder) as here:
            played = await play(Path(here) / "out", made_up(seed, STEPS))
        runs, ever = runs + played.runs, ever + len(played.ever)
    return (
        f"{HISTORIES} histories, {HISTORIES * STEPS:,} steps, {runs:,} runs with changes, faults, doubts, "
        f"kills, prunes: all {ever:,} files that figshare had at a clean run are in the folder or "
        "its trash, ledger, tables and disk agree, and each ended with the truth"
    )


async def _list(out: Path, items: int, *, cursors: bool) -> Peak:
    chance = random.Random(items)
    started = time.monotonic()
    memory = handles = 0
    async with Sandbox(Settings(items=items, cursors=cursors, record=False)) as sandbox:
        for pages in [*sorted(chance.sample(range(2, items // 1000), 3)), None]:
            words = [sys.executable, "-m", "tests.support.listing", sandbox.api, str(out)]
            process = await anyio.open_process(words, stdout=None, stderr=None)
            while process.returncode is None and (pages is None or _listed(out) < 1000 * pages):
                seen = _peak(process.pid)
                memory, handles = max(memory, seen[0]), max(handles, seen[1])
                await anyio.sleep(0.05)
            if pages is not None:
                process.kill()
            await process.wait()
        with closing(sqlite3.connect(out / NAME)) as db:
            found = [item_id for (item_id,) in db.execute("SELECT item_key FROM items ORDER BY item_key")]
        assert found == list(sandbox.world.public_ids)
    return Peak(memory, handles, time.monotonic() - started)


def _listed(out: Path) -> int:
    """Count the entries that were recorded so far."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"file:{out / NAME}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT ifnull(sum(entries), 0) FROM listings").fetchone()[0])
    return 0


async def _run(out: Path, items: int) -> Peak:
    with _sandbox(items) as addresses:
        words = ["run", "--search", "data", "--tasks", "metadata,stats", "--rate", "inf", "--quiet"]
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "harvester", *words, "-o", str(out)], env=environment(**addresses)
        )
        memory = handles = 0
        while process.poll() is None:
            seen = _peak(process.pid)
            memory, handles = max(memory, seen[0]), max(handles, seen[1])
            await anyio.sleep(0.25)
        seconds = time.monotonic() - started
        assert process.returncode == 0
    found = orjson.loads((out / "summary.json").read_bytes())["folder"]
    assert found["outcomes"]["items"] == {"done": found["items"]}
    assert found["items"] > 0.9 * items
    return Peak(memory, handles, seconds)


def _peak(pid: int) -> tuple[int, int]:
    """Return the peak memory so far, in bytes, and the open handles of a process; zeros after its end."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024, len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are enough
    except (OSError, StopIteration):
        return 0, 0


@contextmanager
def _sandbox(items: int) -> Iterator[dict[str, str]]:
    """Serve a world in a process of its own; yield the environment that points the program at it."""
    words = [sys.executable, "-m", "harvester", "sandbox", "--items", str(items), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        env: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                env[name] = value
            if line.startswith("# ready"):
                break
        yield env
    finally:
        process.terminate()
        process.wait()


async def memory(folder: Path) -> str:
    """Meet each of the answers that would take most memory, then export and show what came of it."""
    most = 0
    for place, (name, answer) in enumerate(WORST.items()):
        out = folder / str(place)
        status, taken = await peak(answer, out)
        others = [(await peak(answer, out, command))[1] for command in ("export", "status")]
        slow = await lag(answer, folder / f"{place}-lag")
        print(f"| {name} | {taken / 1e6:.0f} MB | {others[0] / 1e6:.0f} MB | {slow:.2f} s |", flush=True)
        most = max(most, taken, *others)
        assert status == answer.status, (name, status)
        assert slow < MOST_LAG, (name, slow)
        assert most < MOST_MEMORY_OF_AN_ANSWER, (name, taken, others)
    return f"{len(WORST)} answers: {most / 1e6:.0f} MB at the most"


LONG: dict[str, Callable[[Path], Awaitable[str]]] = {
    "kills": kills,
    "power": power_cuts,
    "faults": each_fault,
    "all": all_faults,
    "size": size,
    "caps": caps,
    "histories": histories,
    "memory": memory,
}


async def main(names: list[str]) -> int:
    """Do those named, all by default; print a line each."""
    logging.getLogger("harvester").setLevel(logging.ERROR)
    failed = 0
    for name in names or LONG:
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(await LONG[name](Path(folder)), flush=True)
            except Exception as error:  # noqa: BLE001 - whatever ended one, the others are still to be tried
                failed += 1
                print(f"{name}: does not hold: {error!r}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1:]))
