"""Files: many small ones, a big one, and a big one where a connection or the line is what limits."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import fetchers, measure, network
from bench.cases.files_report import report
from bench.fetchers import AT_ONCE, Fetchers
from bench.harvesting import Harvest
from bench.installed import ROOT, environment_with
from bench.machine import missing
from bench.measure import Failed, Numbers, Runs, alternate
from bench.network import Line
from bench.result import Case, Measured, Plan
from bench.world import World

SMALL_ITEMS, SMALL_FILES, SMALL_SIZE = 250, 8, 20_000
BIG_SIZE, LESS_BIG_SIZE, SLOW_SIZE = 1 << 30, 64 << 20, 256 << 20
CAP_MEBIBYTES = 10
"""A second, for each connection."""
SHARED_MEGABITS = 400
ROUND_TRIP_SECONDS = 0.04
SPARE = 512 << 20
"""Bytes of memory that are enough for each program, without the system's cache of a big file."""
PYFIGSHARE = "pyfigshare==0.7.1"


@dataclass(frozen=True)
class _Contest:
    """Everybody who takes part, over one world."""

    line: Line
    folder: Path

    @property
    def harvest(self) -> Harvest:
        return self._harvest("metadata,files")

    def _harvest(self, tasks: str) -> Harvest:
        at, more = self.line.served.at, ("--downloads", str(AT_ONCE))
        out = self.folder / "out"
        return Harvest(at.api, at.stats, out, tasks=tasks, within=self.line.within, more=more)

    @property
    def others(self) -> Fetchers:
        return Fetchers(self.line, self.folder)

    def whole(self) -> Numbers:
        """Everything from the search on."""
        world = self.line.served.world
        return self.harvest.afresh(items=world.items, files=len(world.file_ids), memory=True)

    def files_alone(self) -> Numbers:
        """The files; listing and records were had in an earlier run, which does not count."""
        world = self.line.served.world
        measure.put_aside(self.harvest.out)
        self._harvest("metadata").again()
        numbers = self.harvest.again(memory=True)
        self.harvest.must_hold(world.items, len(world.file_ids))
        measure.put_aside(self.harvest.out)
        return numbers

    def seed(self) -> Numbers:
        """What people's scripts take for the files alone; nothing is proven or synced."""
        at, target = self.line.served.at, self.folder / "seed"
        target.mkdir()
        words = [sys.executable, "-m", "bench.seed", "--api", at.api, "--stats", at.stats]
        items = ["--items", str(self.line.served.world.items)]
        ended = measure.run([*words, *items, "--files", str(target)], cwd=ROOT, memory=True)
        measure.put_aside(target)
        return {**ended.numbers, "wall": orjson.loads(ended.out)["files"]}


@contextmanager
def _contest(line: Line) -> Iterator[_Contest]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield _Contest(line, Path(folder))


def _small(plan: Plan, excluded: list[str]) -> Runs:
    world = World(plan.scaled(SMALL_ITEMS), SMALL_FILES, SMALL_SIZE, has_files=True)
    with network.far(world, 0) as line, _contest(line) as contest:
        others = contest.others
        who: dict[str, Callable[[], Numbers]] = {
            "harvester, files alone": contest.files_alone,
            "harvester, records too": contest.whole,
            "the seed's scripts": contest.seed,
        }
        if not missing(("aria2c",)):
            who["aria2c"] = others.shell(fetchers.ARIA2_MANY)
        if not missing(("curl",)):
            who["curl"] = others.shell(fetchers.CURL_MANY)
            who["curl, proven"] = others.shell(fetchers.CURL_MANY_PROVEN)
        try:
            python = str(environment_with(contest.folder / "venv", PYFIGSHARE) / "python")
            script = str(Path(fetchers.__file__).parent / "with_pyfigshare.py")
            ids = [str(item_id) for item_id in world.ids]
            who["pyfigshare"] = others.program([python, script, line.served.at.api, "f", *ids])
        except Failed:
            excluded.append(f"pyfigshare: `pip install {PYFIGSHARE}` failed")
        return alternate(who, plan.repeat, memory=SPARE)


def _big(plan: Plan, size: int) -> Runs:
    world = World(1, 1, plan.scaled(size), has_files=True)
    with network.far(world, 0) as line, _contest(line) as contest:
        who: dict[str, Callable[[], Numbers]] = {"harvester": contest.whole}
        if not missing(("curl", "md5sum")):
            who["curl, proven"] = contest.others.shell(fetchers.CURL_ONE_PROVEN)
            who["curl | md5sum"] = contest.others.shell(fetchers.CURL_PIPED, keeps=False)
        return alternate(who, plan.repeat, memory=world.file_size + SPARE)


def _slow(plan: Plan, line: Line) -> Runs:
    with _contest(line) as contest:
        who: dict[str, Callable[[], Numbers]] = {"harvester": contest.whole}
        if not missing(("curl",)):
            who["curl"] = contest.others.shell(fetchers.CURL_ONE)
        if not missing(("aria2c",)):
            who["aria2c"] = contest.others.shell(fetchers.ARIA2_ONE)
        return alternate(who, plan.repeat, warm_up=False)


def _measure(plan: Plan) -> Measured:
    excluded = missing(("aria2c", "curl", "md5sum"))
    slow = World(1, 1, plan.scaled(SLOW_SIZE), has_files=True)
    ways: dict[str, str] = {}
    parts = {
        "small": _small(plan, excluded),
        "big": _big(plan, BIG_SIZE),
        "less big": _big(plan, LESS_BIG_SIZE),
    }
    with network.capped(slow, CAP_MEBIBYTES, ROUND_TRIP_SECONDS) as line:
        parts["capped"], ways["capped"] = _slow(plan, line), line.how
    try:
        with network.shared(slow, SHARED_MEGABITS) as line:
            parts["shared"], ways["shared"] = _slow(plan, line), line.how
    except Failed as error:
        excluded.append(f"a line that connections share: {error}")
    out = Harvest("http://127.0.0.1:8700/v2", "http://127.0.0.1:8701", Path("out"), tasks="metadata,files")
    return Measured(
        parts=parts,
        facts={
            "small": {"files": plan.scaled(SMALL_ITEMS) * SMALL_FILES, "size": SMALL_SIZE},
            "big": {"size": plan.scaled(BIG_SIZE)},
            "less big": {"size": plan.scaled(LESS_BIG_SIZE)},
            "capped": {"size": slow.file_size},
            "shared": {"size": slow.file_size},
            "ways": ways,
        },
        commands=[
            f"{out.shown} --downloads {AT_ONCE}",
            *(fetchers.ARIA2_MANY, fetchers.CURL_MANY, fetchers.CURL_MANY_PROVEN),
            *(fetchers.CURL_ONE_PROVEN, fetchers.CURL_PIPED, fetchers.CURL_ONE, fetchers.ARIA2_ONE),
        ],
        excluded=excluded,
    )


CASE = Case(
    name="files",
    title="Files",
    question="Are files downloaded, verified and synced as fast as by programs that do nothing else?",
    needs=("nginx",),
    measure=_measure,
    report=report,
)
