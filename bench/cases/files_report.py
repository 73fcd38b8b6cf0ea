"""What the case `files` tells of its runs."""

from __future__ import annotations

from collections.abc import Sequence

from bench import fetchers
from bench.measure import Numbers, Runs, ratio, spread
from bench.result import Check, Report, Result, Table

MOST_CPU = 1.2
MOST_GROWTH = 1.1
LEAST_GAIN = 2
"""Where each connection is capped, several of them should gain at least so much; four could gain four."""
LEAST_SHARED = 0.9
"""Where they share one line they gain nothing, and should lose nothing."""
_COMMANDS = {
    "small": {
        "aria2c": fetchers.ARIA2_MANY,
        "curl": fetchers.CURL_MANY,
        "curl, proven": fetchers.CURL_MANY_PROVEN,
        "pyfigshare": f"pyfigshare, {fetchers.AT_ONCE} threads, one item after the other",
    },
    "big": {"curl, proven": fetchers.CURL_ONE_PROVEN, "curl | md5sum": fetchers.CURL_PIPED},
    "slow": {"curl": fetchers.CURL_ONE, "aria2c": fetchers.ARIA2_ONE},
}


def report(result: Result) -> Report:
    """Compare with the targets, and show all that took part."""
    parts, facts = result.parts, result.facts
    small, big = facts["small"], facts["big"]
    checks = [
        *_small_checks(parts["small"]),
        *_big_checks(parts["big"]),
        *_memory_checks(parts["big"]["harvester"], parts["less big"]["harvester"]),
        *(
            check
            for name in ("capped", "shared")
            if name in parts
            for check in _slow_checks(name, parts[name])
        ),
    ]
    tables = [
        _table(
            f"{small['files']:,} files of {small['size']:,} bytes, {fetchers.AT_ONCE} at once",
            parts["small"], small["files"] * small["size"], _COMMANDS["small"], "aria2c", small["files"],
        ),
        _table(
            f"One file of {_mebibytes(big['size'])}",
            parts["big"], big["size"], _COMMANDS["big"], "curl, proven",
        ),
        _table(
            f"One file of {_mebibytes(facts['less big']['size'])}",
            parts["less big"], facts["less big"]["size"], _COMMANDS["big"], "curl, proven",
        ),
    ]  # fmt: skip
    for name, how in facts["ways"].items():
        caption = f"One file of {_mebibytes(facts[name]['size'])}; {how}"
        tables.append(_table(caption, parts[name], facts[name]["size"], _COMMANDS["slow"], "curl"))
    return Report(checks, tables)


def _small_checks(runs: Runs) -> list[Check]:
    if "aria2c" not in runs:
        return []
    name = f"speed ÷ aria2c -j{fetchers.AT_ONCE}"
    return [
        Check.at_least(f"small files, {part}: {name}", ratio(runs["aria2c"], runs[f"harvester, {part}"]), 1)
        for part in ("files alone", "records too")
    ]


def _big_checks(runs: Runs) -> list[Check]:
    if "curl, proven" not in runs:
        return []
    mine, other = runs["harvester"], runs["curl, proven"]
    return [
        Check.at_least("big file: speed ÷ curl, sync, md5sum", ratio(other, mine), 1),
        Check.at_most("big file: CPU ÷ curl, sync, md5sum", ratio(mine, other, "cpu"), MOST_CPU),
    ]


def _memory_checks(big: Sequence[Numbers], less_big: Sequence[Numbers]) -> list[Check]:
    growth = ratio(big, less_big, "memory")
    return [Check.at_most("peak memory, big ÷ less big file", growth, MOST_GROWTH)]


def _slow_checks(name: str, runs: Runs) -> list[Check]:
    if "curl" not in runs:
        return []
    speed = ratio(runs["curl"], runs["harvester"])
    if name == "capped":
        return [Check.at_least("capped connections: speed ÷ one curl", speed, LEAST_GAIN)]
    return [Check.at_least("a shared line: speed ÷ one curl", speed, LEAST_SHARED)]


def _table(
    caption: str, runs: Runs, size: int, commands: dict[str, str], reference: str, files: int = 1
) -> Table:
    rows = []
    for name, mine in runs.items():
        wall = spread(mine)
        speed = f"{files / wall.median:,.0f}" if files > 1 else f"{size / 1e6 / wall.median:,.0f}"
        times = f"{ratio(runs[reference], mine).median:.2f}" if reference in runs else ""
        command = _for_a_cell(commands.get(name, name))
        memory = f"{spread(mine, 'memory').median / 1e6:.0f}" if "memory" in mine[0] else ""
        rows.append((command, wall.text(), speed, times, spread(mine, "cpu").text(), memory))
    unit = "files/s" if files > 1 else "MB/s"
    return Table(
        caption, ("", "wall, s", unit, f"speed ÷ {_for_a_cell(reference)}", "CPU, s", "peak memory, MB"), rows
    )


def _for_a_cell(command: str) -> str:
    return command.replace("|", "\\|")


def _mebibytes(size: int) -> str:
    return f"{size / 2**30:.0f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
