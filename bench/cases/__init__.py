"""The cases, in the order of execution and of the report."""

from __future__ import annotations

from collections.abc import Mapping

from bench.cases import auto, chart, cpu, files, latency, limit, shared, size, startup, time_left
from bench.result import Case

CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        limit.CASE,
        latency.CASE,
        chart.CASE,
        cpu.CASE,
        shared.CASE,
        files.CASE,
        size.CASE,
        startup.CASE,
        auto.CASE,
        time_left.CASE,
    )
}
