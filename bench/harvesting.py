"""The harvester as a user starts it, into a fresh folder each time, with a check of its results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bench import installed, measure
from bench.measure import Failed, Numbers

TOKEN = "sandbox-token"


def environment() -> dict[str, str]:
    """Return the environment of a user with a token; without an address the harvester reaches no server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HARVESTER_", "FIGSHARE_"))}
    nowhere = {f"HARVESTER_SERVICES_{name}": "http://127.0.0.1:9" for name in ("API", "STATS")}
    return {**kept, **nowhere, "FIGSHARE_TOKEN": TOKEN}


@dataclass(frozen=True)
class Harvest:
    """
    One command.

    ``api`` and ``stats`` are addresses, ``out`` is the folder; ``within``: words that lead into a
    namespace; ``more``: further options; ``packages``: additional packages to install.
    """

    api: str
    stats: str
    out: Path
    tasks: str = "metadata,stats"
    rate: str = "inf"
    workers: int = 32
    within: Sequence[str] = ()
    more: Sequence[str] = field(default=())
    packages: tuple[str, ...] = ()

    @property
    def program(self) -> list[str]:
        return [*self.within, str(installed.programs(*self.packages) / "harvester")]

    @property
    def words(self) -> list[str]:
        return [
            *(*self.program, "run", "--search", "data"),
            *("--tasks", self.tasks, "--rate", self.rate, "--workers", str(self.workers)),
            *("-o", str(self.out), "--api", self.api, "--stats", self.stats, "--quiet", *self.more),
        ]

    def again(self, *, memory: bool = False) -> Numbers:
        """Run on the existing folder; the program must report that it is complete."""
        return measure.run(self.words, env=environment(), memory=memory).numbers

    def afresh(self, *, items: int, files: int = 0, memory: bool = False) -> Numbers:
        """Run into an empty folder, and check that this number of items and files was harvested."""
        measure.put_aside(self.out)
        numbers = self.again(memory=memory)
        self.must_hold(items, files)
        measure.put_aside(self.out)
        return numbers

    def must_hold(self, items: int, files: int = 0) -> None:
        """
        Compare the summary with the expected numbers.

        Raises:
            Failed: something is missing.
        """
        found = self.summary()["folder"]["outcomes"]
        done = found["items"].get("done", 0), found["files"].get("done", 0)
        if done != (items, files):
            raise Failed(f"{items} items and {files} files expected, but {done[0]} and {done[1]} are done")

    def summary(self) -> dict[str, Any]:
        summary: dict[str, Any] = orjson.loads((self.out / "summary.json").read_bytes())
        return summary

    @property
    def shown(self) -> str:
        """The command as a user types it."""
        names = {
            str(self.out): "out",
            self.api: "http://127.0.0.1:8700/v2",
            self.stats: "http://127.0.0.1:8701",
        }
        words = [names.get(word, word) for word in self.words[len(self.within) + 1 :]]
        return " ".join(["harvester", *(word or "''" for word in words)])
