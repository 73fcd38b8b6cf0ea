"""
``python -m bench [CASE …]``: measure those cases, all by default; print, keep and render.

``render`` alone measures nothing. From the environment: ``REPEAT``, ``SCALE``, ``ITEMS`` (see `Plan`), and
``RESULTS``, a folder for results and pages in place of bench/results/ and docs/explanation/.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from bench import machine, report
from bench.cases import CASES
from bench.measure import Failed, say
from bench.result import Case, Plan, Result

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
DOCS = ROOT / "docs" / "explanation"


def main(words: list[str]) -> int:
    """Measure and render as arguments and environment say; return 1 if a case could not be measured."""
    names = [name for word in words for name in word.replace(",", " ").split()]
    if unknown := set(names) - CASES.keys() - {"render"}:
        say(f"bench: unknown {', '.join(sorted(unknown))}; there are render, {', '.join(CASES)}")
        return 2
    environ = os.environ
    plan = Plan(
        repeat=int(environ.get("REPEAT", "5")),
        scale=float(environ.get("SCALE", "1")),
        items=int(environ.get("ITEMS", "1000000")),
    )
    results = Path(environ.get("RESULTS", RESULTS))
    keep = plan.is_whole or "RESULTS" in environ
    failed = 0
    for case in (CASES[name] for name in (names or CASES) if name != "render"):
        failed += not _do(case, plan, results if keep else None)
    if keep or names == ["render"]:
        _render(results, DOCS if results == RESULTS else results)
    return int(failed > 0)


def _do(case: Case, plan: Plan, results: Path | None) -> bool:
    """Measure a case, print the result, save it in `results` if given; return whether that succeeded."""
    if lacking := machine.missing(case.needs):
        say(f"{case.name}: skipped: it needs {', '.join(lacking)}")
        return False
    say(f"{case.name}: {case.question}")
    revision = machine.revision()  # of the installed code, as the checkout may change meanwhile
    try:
        measured = case.measure(plan)
    except Failed as error:
        say(f"{case.name}: not measured: {error}")
        return False
    result = Result(
        **msgspec.structs.asdict(measured),
        case=case.name,
        date=machine.today(),
        revision=revision,
        machine=machine.describe(),
    )
    print(report.plain(case, case.report(result)), flush=True)
    for text in result.excluded:
        print(f"not measured: {text}")
    if results is None:
        say("a try with fewer repetitions or items: not kept")
    else:
        results.mkdir(parents=True, exist_ok=True)
        packed = msgspec.json.format(msgspec.json.encode(result), indent=1)
        (results / f"{case.name}.json").write_bytes(packed + b"\n")
    return True


def _render(results: Path, pages: Path) -> None:
    """Write the page and the picture from all saved results."""
    found = {
        name: msgspec.json.decode((results / f"{name}.json").read_bytes(), type=Result)
        for name in CASES
        if (results / f"{name}.json").is_file()
    }
    (pages / "performance.md").write_text(report.render(found), encoding="utf-8")
    if "chart" in found:
        from bench import chart

        chart.draw(found["chart"], pages / "performance.svg")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
