"""What is to be waited for before anything happens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import installed, measure, sandboxes
from bench.harvesting import Harvest, environment
from bench.measure import Numbers, alternate, ratio, spread
from bench.result import Case, Check, Measured, Plan, Report, Result, Table
from harvester.sandbox import Settings

TIMES = 40
MOST = 1.5
REFERENCE = "import argparse, sqlite3, tomllib"


@dataclass(frozen=True)
class _Place:
    """The program as users have it; ``bin`` has it and its Python, ``folder`` is where it is run."""

    bin: Path
    folder: Path

    def harvester(self, *words: str, status: int = 0) -> Callable[[], Numbers]:
        return self._program([str(self.bin / "harvester"), *words], status)

    def python(self, code: str) -> Callable[[], Numbers]:
        return self._program([str(self.bin / "python"), "-c", code], 0)

    def _program(self, words: Sequence[str], status: int) -> Callable[[], Numbers]:
        def once() -> Numbers:
            # Commands without requests need no address, and parsing one takes longer than all the rest.
            env = {key: value for key, value in environment().items() if not key.startswith("HARVESTER_")}
            return measure.run(words, env=env, cwd=self.folder, statuses=frozenset({status})).numbers

        return once


def _measure(plan: Plan) -> Measured:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        place = _Place(installed.programs(), folder)
        with sandboxes.within(Settings(items=100)) as sandbox:
            Harvest(sandbox.api, sandbox.stats, place.folder / "out").again()
        (place.folder / "wrong.toml").write_text('[[sources]]\nkind = "nothing"\n')
        runs = alternate(
            {
                "reference": place.python(REFERENCE),
                "harvester --help": place.harvester("--help"),
                "harvester status": place.harvester("status", "-o", "out"),
                "a config error": place.harvester("run", "-c", "wrong.toml", status=2),
                "nothing": place.python("pass"),
            },
            TIMES if plan.is_whole else plan.scaled(TIMES, 5),
        )
    return Measured(
        parts={"": runs},
        facts={},
        commands=[
            f'python -c "{REFERENCE}"',
            "harvester --help",
            "harvester status -o out",
            "harvester run -c wrong.toml",
        ],
    )


def _report(result: Result) -> Report:
    runs = result.parts[""]
    reference = runs["reference"]
    names = {"reference": f'python -c "{REFERENCE}"', "nothing": "python -c pass"}
    checks, rows = [], []
    for name, mine in runs.items():
        times = ratio(mine, reference)
        if name not in names:
            checks.append(Check.at_most(f"{name} ÷ reference", times, MOST))
        row = (
            spread(mine).text("{:.0f}", 1000),
            spread(mine, "cpu").text("{:.0f}", 1000),
            f"{times.median:.2f}",
        )
        rows.append((names.get(name, name), *row))
    caption = f"{len(reference)} runs each, in turn; installed from a wheel, bytecode compiled"
    return Report(checks, [Table(caption, ("", "wall, ms", "CPU, ms", "÷ reference"), rows)])


CASE = Case(
    name="startup",
    title="Start-up",
    question="How long does it take before anything happens?",
    needs=(),
    measure=_measure,
    report=_report,
)
