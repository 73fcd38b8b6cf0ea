"""The answers that would take most memory, and what the program takes for each of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from harvester.sandbox import Sandbox, Settings
from tests.support.program import at, environment

MOST_MEMORY = 300_000_000
"""Bytes that the program may take for any answer."""
MOST_LAG = 1.0
"""Seconds for which nothing else may go on."""
SEARCH = ("--search", "survey")
PEAK = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
"""Runs a program and tells its exit status and its peak of memory in bytes."""


@dataclass(frozen=True)
class Answer:
    """The sandbox that gives it, the options of `run` that lead to it, and the exit status then."""

    settings: Mapping[str, Any]
    words: Sequence[str] = SEARCH
    status: int = 1


WORST: Mapping[str, Answer] = {
    "a page of 30 million ones": Answer({"bloated": ("listing",)}),
    "a record with 30 million ones for authors": Answer({"hostile": ("many-numbers",)}),
    "a record with 20 million authors": Answer({"hostile": ("many-authors",)}),
    "a record with 6 million files": Answer({"hostile": ("many-files",)}),
    "a record with 10 million keys": Answer({"hostile": ("many-keys",)}),
    "a record with a key of 66 MB": Answer({"hostile": ("long-key",)}),
    "a number of 60 million digits": Answer({"hostile": ("long-number",)}, status=0),
    "a title of 66 MB, four times as wide": Answer({"hostile": ("wide-title",)}, status=0),
    "a description of 66 MB": Answer({"hostile": ("long-text",)}, status=0),
    "4 GB in 4 MB of gzip": Answer({"hostile": ("bomb",)}),
    "100 MB of JSON": Answer({"hostile": ("huge",)}),
    "a file list of 30 million ones": Answer({"bloated": ("files",)}),
    "a file list of 25,000 files": Answer({"hostile": ("thousands",)}, status=0),
    "a file list without an end": Answer({"hostile": ("endless-files",)}),
    "a list of 30 million versions": Answer({"bloated": ("versions",)}, (*SEARCH, "--versions", "all")),
    "30 million ones for each of 40 counters": Answer({"bloated": ("totals",), "items": 20}),
    "a header of 1 MB": Answer({"hostile": ("long-head",)}),
    "a redirect to an address of 1 MB": Answer({"hostile": ("long-location",)}),
}


async def peak(answer: Answer, folder: Path, command: str = "run") -> tuple[int, int]:
    """Let the program meet an answer; return its exit status and the bytes of memory that it took."""
    async with Sandbox(Settings(**{"items": 60, "heavy": 0, **answer.settings})) as sandbox:
        words = (command, *answer.words, "--tasks", "metadata,stats", *at(sandbox))
        return await peak_of(*(words if command == "run" else (command,)), "-o", folder)


async def peak_of(*words: object) -> tuple[int, int]:
    """Run the program in a new process; return its exit status and the bytes of memory that it took."""
    done = await anyio.run_process(
        [sys.executable, "-c", PEAK, sys.executable, "-m", "harvester", *map(str, words)], env=environment()
    )
    status, taken = map(int, done.stdout.split()[-2:])
    return status, taken


LAG = """
import sys, time, anyio
from pathlib import Path
from harvester import harvest, load_config
worst = 0.0
async def look(watched, stop):
    global worst
    while True:
        started = time.monotonic()
        await anyio.sleep(0.01)
        worst = max(worst, time.monotonic() - started - 0.01)
async def main():
    await harvest(load_config(sys.argv[1], environ={}), on_start=look)
anyio.run(main)
print(worst)
"""
"""Harvests as a config says and tells the longest time, in seconds, for which its event loop was not free."""


async def lag(answer: Answer, folder: Path) -> float:
    """Let a harvest meet an answer; return for how many seconds nothing else could go on at the most."""
    folder.mkdir(exist_ok=True)
    async with Sandbox(Settings(**{"items": 20, "heavy": 0, **answer.settings})) as sandbox:
        config_file = folder / "harvest.toml"
        config_file.write_text(
            f'''output = "{folder}/out"\ntasks = ["metadata", "stats"]\n[rate]\napi = inf\nstats = inf\n'''
            f'''[services]\napi = "{sandbox.api}"\nstats = "{sandbox.stats}"\n'''
            """[[sources]]\nkind = "search"\nquery = "survey"\n"""
        )
        done = await anyio.run_process(
            [sys.executable, "-c", LAG, str(config_file)], env=environment(), stderr=None
        )
    return float(done.stdout.split()[-1])
