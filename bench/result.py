"""Data model of the benchmark: a case, its measurements, and its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bench.measure import Runs, Spread


class Measured(msgspec.Struct, kw_only=True):
    """
    The raw outcome of a case.

    ``parts``: the comparisons that it is made of, by name. ``facts``: how many requests of what, and other
    figures that
    `report` needs besides the runs. ``commands``: as a user types them. ``left_out``: what could not
    be measured here, and why.
    """

    parts: dict[str, Runs]
    facts: dict[str, Any]
    commands: list[str]
    excluded: list[str] = []


class Result(Measured, kw_only=True):
    """What a case measured, with when and where; this is what is saved."""

    case: str
    date: str
    revision: str
    machine: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """
    How much to measure.

    ``repeat``: repetitions; ``scale``: share of the items of a whole run, for a try; ``items``: of the
    largest harvest in `size`.
    """

    repeat: int = 5
    scale: float = 1.0
    items: int = 1_000_000

    def scaled(self, number: int, least: int = 1) -> int:
        return max(least, round(number * self.scale))

    @property
    def is_whole(self) -> bool:
        return self.repeat >= 5 and self.scale >= 1


@dataclass(frozen=True)
class Check:
    """One target: ``measured`` is the figure with its unit."""

    what: str
    target: str
    measured: str
    holds: bool

    @classmethod
    def at_most(cls, what: str, found: Spread, most: float, pattern: str = "{:.2f}") -> Check:
        return cls(what, f"≤ {_plain(most, pattern)}", found.text(pattern), found.median <= most)

    @classmethod
    def at_least(cls, what: str, found: Spread, least: float, pattern: str = "{:.2f}") -> Check:
        return cls(what, f"≥ {_plain(least, pattern)}", found.text(pattern), found.median >= least)


def _plain(limit: float, pattern: str) -> str:
    return f"{limit:.0%}" if "%" in pattern else f"{limit:g}"


@dataclass(frozen=True)
class Table:
    """Rows below a caption, all of them texts."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Report:
    """The report of a result: checks against targets, and tables."""

    checks: list[Check] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """
    A question, how it is measured, and how the answer is reported.

    ``needs``: the required programs; without them the case is skipped.
    """

    name: str
    title: str
    question: str
    needs: tuple[str, ...]
    measure: Callable[[Plan], Measured]
    report: Callable[[Result], Report]
