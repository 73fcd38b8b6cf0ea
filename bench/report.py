"""Report: renders docs/explanation/performance.md from all saved results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.cases import CASES
from bench.result import Case, Check, Report, Result, Table

NOTES = Path(__file__).parent / "notes"
_HEAD = """\
# Performance

Measured by `make bench` (`make bench ONLY=cpu,files` for parts). Each figure is measured with its
references in the same run, in turns. A figure is the median of the repetitions, with the least and the most
in brackets. A ratio is taken turn by turn. This page is rendered from `bench/results/`.
"""
_NEEDS = """\
The programs that it needs must be on `PATH` (Debian, Ubuntu: `apt install nginx-light wrk aria2 curl
iproute2`). Network namespaces need root. `REPEAT=n` sets the repetitions, and `ITEMS=n` the size of the
largest harvest. `SCALE=0.1` makes everything smaller for a trial, which is printed and not kept.
"""


def render(results: Mapping[str, Result]) -> str:
    """Return the page."""
    reports = {name: CASES[name].report(result) for name, result in results.items()}
    parts = [_HEAD, *([_machines(results), _summary(results, reports)] if results else [])]
    if (NOTES / "summary.md").is_file():
        parts.append((NOTES / "summary.md").read_text(encoding="utf-8"))
    parts += [_section(CASES[name], result, reports[name]) for name, result in results.items()]
    if left := [name for name in CASES if name not in results]:
        parts.append(f"Not measured yet: {', '.join(left)}.\n")
    return "\n".join([*parts, "## To run it\n", _NEEDS])


def _machines(results: Mapping[str, Result]) -> str:
    """Return the machines of the measurements, each once."""
    cases: dict[str, list[str]] = {}
    for name, result in results.items():
        machine = ", ".join(f"{part} {value}" for part, value in result.machine.items())
        cases.setdefault(f"{result.date}: {machine}", []).append(name)
    if len(cases) == 1:
        return f"{next(iter(cases))}.\n"
    return "".join(f"- {', '.join(names)}: {machine}.\n" for machine, names in cases.items())


def _summary(results: Mapping[str, Result], reports: Mapping[str, Report]) -> str:
    rows = [
        (f"[{name}](#{name})", check.what, check.target, check.measured, "yes" if check.holds else "**no**")
        for name in results
        for check in reports[name].checks
    ]
    return table(Table("", ("case", "", "target", "measured", "holds"), rows))


def _section(case: Case, result: Result, reports: Report) -> str:
    parts = [f'<a id="{case.name}"></a>\n', f"## {case.title}\n", f"{case.question}\n"]
    if case.name == "chart":
        parts.append("![Wall time against workers](performance.svg)\n")
    parts += [table(one) for one in reports.tables]
    note = NOTES / f"{case.name}.md"
    if note.is_file():
        parts.append(note.read_text(encoding="utf-8"))
    parts += [f"Not measured: {text}.\n" for text in result.excluded]
    parts.append("```sh\n" + "\n".join(result.commands) + "\n```\n")
    parts.append(f"{result.date}, revision {result.revision}.\n")
    return "\n".join(parts)


def table(one: Table) -> str:
    """Return a table as Markdown."""
    lines = [_line(one.columns), _line(["---"] * len(one.columns)), *map(_line, one.rows)]
    caption = f"{one.caption}:\n\n" if one.caption else ""
    return caption + "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plain(case: Case, reports: Report) -> str:
    """Return a result as text for a terminal."""
    lines = [case.title, ""]
    for one in reports.tables:
        lines += [*([one.caption] if one.caption else []), *_aligned([one.columns, *one.rows]), ""]
    lines += [_check_line(check) for check in reports.checks]
    return "\n".join([*lines, ""])


def _check_line(check: Check) -> str:
    held = "holds" if check.holds else "does not hold"
    return f"{check.what}: {check.measured}, target {check.target}: {held}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
