"""
Argument parser: commands, options and their help texts.

The destination of an option is the full name of the config key that it sets (``concurrency.workers``), so no
mapping table is needed. `overrides.py` makes source tables from the options that name sources.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harvester.system.paths import as_text
from harvester.system.version import __version__

DEFAULT_FILE = "harvest.toml"
REFRESHABLE = ("metadata", "stats", "timeline", "breakdown")


class _Help(argparse.HelpFormatter):
    """
    Help as wide as the terminal.

    argparse creates one of these for every option; its own class imports shutil for the width, which takes 2
    ms.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Return the width of the terminal, as `shutil.get_terminal_size` does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):  # missing, closed, or no terminal
        return 80


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands and options."""
    parser = argparse.ArgumentParser(
        prog="harvester",
        formatter_class=_Help,
        description="Harvest records, statistics and verified files from figshare.",
        epilog="exit status: 0 all is there; 1 finished, and failures.csv says what is missing; "
        "2 wrong usage or config; 3 could not continue, state saved; 130 interrupted, state saved",
    )
    parser.add_argument("--version", action="version", version=f"harvester {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", "harvest; run it again to continue where it stopped")
    _add_job(run)
    _add_formats(run)
    _add_this_run(run)
    _add_output_style(run)
    plan = _command(commands, "plan", "dry run: requests, time, and the service that limits it")
    _add_job(plan)
    _add_quick(plan)
    plan.add_argument(
        "--sample", type=int, default=20, metavar="N",
        help="records to request for the estimate of files and bytes (20)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    selection = _command(commands, "list", "print the ids of a selection, one a line; nothing is written")
    _add_config(selection)
    _add_sources(selection)
    _add_services(selection)
    selection.add_argument(
        "--json", action="store_true", help="one JSON object a line: id, title, DOI, dates"
    )
    _add_output_style(selection)
    _add_commands_on_a_folder(commands)
    init = _command(commands, "init", "write a commented config to start from")
    init.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"where to ({DEFAULT_FILE})")
    sandbox = _command(commands, "sandbox", "serve a figshare look-alike on localhost")
    _add_sandbox(sandbox)
    return parser


def _add_commands_on_a_folder(commands: Any) -> None:
    status = _command(commands, "status", "what a folder holds, what is pending and what failed")
    failed = _command(commands, "failed", "what failed, one name a line, as input for `run --items -`")
    verify = _command(commands, "verify", "hash every file again; corrupt ones are fetched by the next run")
    export = _command(commands, "export", "write the tables and records again")
    for command in (status, failed, verify, export):
        _add_config(command)
        _add_output(command)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    failed.add_argument("--json", action="store_true", help="one JSON object a line, with the reason")
    _add_formats(export)
    export.add_argument(
        "--to", type=_folder, metavar="FOLDER",
        help="write them to this folder instead; the harvest may be read-only",
    )  # fmt: skip


def _command(commands: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        formatter_class=_Help,
    )
    parser.set_defaults(command=name)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` and `plan` share."""
    _add_config(parser)
    _add_output(parser)
    _add_sources(parser)
    _add_work(parser)
    _add_services(parser)
    _add_statistics(parser)
    _add_files(parser)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help=f"the config file ({DEFAULT_FILE}, where there is one)",
    )  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", dest="output", metavar="FOLDER", help="the output folder")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources (they replace those of the config file)")

    def add(option: str, metavar: str, type_: Callable[[str], Any], text: str) -> None:
        group.add_argument(option, action="append", type=type_, metavar=metavar, help=f"{text}; repeats")

    add("--search", "QUERY", _text, "public items that match figshare's query language")
    add("--group", "ID", int, "public items of this group")
    group.add_argument("--subgroups", action="store_true", help="those of the groups below each --group too")
    add("--collection", "ID", int, "items of this public collection")
    add("--project", "ID", int, "items of this public project")
    add("--institution", "ID", int, "public items of this institution")
    group.add_argument(
        "--institution-items", action="store_true",
        help="all items of the token's own institution, private ones too: for its administrators",
    )  # fmt: skip
    group.add_argument("--account", action="store_true", help="all items of the token's account, drafts too")
    add("--account-query", "QUERY", _text, "items of the token's account that match a query")
    add("--item", "ID", _text, "one item: its id (123, 123.v2), DOI, handle or address")
    group.add_argument(
        "--items",
        metavar="FILE",
        help="items listed in a file, one a line or in a column of a table; - is standard input",
    )
    _add_filters(parser)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters (for the sources above that are listings)")
    group.add_argument("--type", type=_number_or_name, metavar="TYPE", help="such as dataset, or its number")
    group.add_argument("--published-since", metavar="DAY", help="published on this day or later (2024-01-31)")
    group.add_argument("--published-before", metavar="DAY", help="published before this day")
    group.add_argument("--modified-since", metavar="DAY", help="modified on this day or later")
    group.add_argument(
        "--licence", "--license", type=_text, metavar="NAME", help='as figshare spells it: "CC BY 4.0"'
    )
    group.add_argument(
        "--order", metavar="ORDER",
        help="published_date, created_date, modified_date, views, downloads, shares, cites; "
        '"views desc" begins with the most viewed; the default is the order of the listing',
    )  # fmt: skip


def _add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to do")
    group.add_argument(
        "--tasks", type=_words, metavar="LIST",
        help="metadata, stats, files (these three); timeline, breakdown",
    )  # fmt: skip
    group.add_argument(
        "--versions", type=_versions, metavar="WHICH",
        help="latest (default); all; or numbers such as 1,3: those versions of each item besides",
    )  # fmt: skip
    group.add_argument(
        "--workers", dest="concurrency.workers", type=int, metavar="N", help="items processed at once (16)"
    )
    group.add_argument(
        "--downloads", dest="concurrency.downloads", type=int, metavar="N",
        help="files downloaded at once (8)",
    )  # fmt: skip


def _add_services(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("services")
    group.add_argument(
        "--rate", action="append", type=_rate, metavar="[SERVICE=]N",
        help="requests a second, for all services or one of api, stats, files (1); inf: no limit; "
        "auto: find the highest rate that the service accepts",
    )  # fmt: skip
    group.add_argument(
        "--ceiling", dest="rate.ceiling", type=float, metavar="N",
        help="upper bound for auto (10)",
    )  # fmt: skip
    group.add_argument(
        "--attempts", dest="retry.attempts", type=int, metavar="N", help="attempts for one request (6)"
    )
    group.add_argument("--api", dest="services.api", metavar="URL", help="address of the api")
    group.add_argument("--stats", dest="services.stats", metavar="URL", help="address of the statistics")
    group.add_argument(
        "--impersonate", dest="services.impersonate", type=int, metavar="ID",
        help="act for this account of your institution: for its administrators",
    )  # fmt: skip


def _add_statistics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--counters", dest="stats.counters", type=_words, metavar="LIST",
        help="views, downloads (these two); shares",
    )  # fmt: skip
    group.add_argument(
        "--granularity", dest="stats.granularity", metavar="PERIOD",
        help="of timeline and breakdown: day, month (default), year, total",
    )  # fmt: skip
    group.add_argument(
        "--stats-since", dest="stats.since", metavar="DAY",
        help="where timeline and breakdown begin; they need it",
    )  # fmt: skip
    group.add_argument(
        "--stats-until", dest="stats.until", metavar="DAY", help="the last day that they count (today)"
    )


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files (all of these must allow one)")
    group.add_argument(
        "--include", dest="files.include", action="append", type=_text, metavar="GLOB",
        help="fetch only files whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument(
        "--exclude", dest="files.exclude", action="append", type=_text, metavar="GLOB",
        help="fetch no file whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument("--min-size", dest="files.min_size", metavar="SIZE", help='such as "1 kB"')
    group.add_argument("--max-size", dest="files.max_size", metavar="SIZE", help='such as "500 MB"')
    group.add_argument(
        "--max-total", dest="files.max_total", metavar="SIZE", help='for all files in the folder: "2 TB"'
    )


def _add_this_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("this run")
    _add_quick(group)
    group.add_argument(
        "--rebuild", action="store_true",
        help="rebuild the ledger from the files here and from figshare; the old one is set aside",
    )  # fmt: skip
    group.add_argument(
        "--refresh", action="append", default=[], choices=REFRESHABLE, metavar="TASK",
        help=f"do this task ({', '.join(REFRESHABLE)}) again for every item; repeats",
    )  # fmt: skip
    group.add_argument(
        "--accept-withdrawals", type=_natural, default=0, metavar="N",
        help="accept up to N withdrawals at once; the default is at most 5 %% of the items here, and 20",
    )  # fmt: skip
    group.add_argument(
        "--prune", action="store_true",
        help="afterwards show the files of withdrawn items and those that no record lists any more, "
        "and move them to .trash/<date>/ if you say yes",
    )  # fmt: skip
    group.add_argument("--yes", action="store_true", help="answer the question of --prune with yes")
    group.add_argument(
        "--trash-days", type=_natural, metavar="N",
        help="with --prune: permanently delete what is in .trash/ for more than N days (30); 0: everything",
    )  # fmt: skip


def _add_quick(group: Any) -> None:
    group.add_argument(
        "--quick", action="store_true",
        help="list only items modified since the last run without errors; finds no withdrawals",
    )  # fmt: skip


def _add_formats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formats", dest="export.formats", type=_words, metavar="LIST", help="jsonl, csv (both)"
    )


def _add_output_style(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="log every retry too")
    group.add_argument("--log-json", action="store_true", help="one JSON object a line on standard error")


def _add_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=int, default=300, metavar="N", help="public items (300)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="another seed, other data (1)")
    parser.add_argument(
        "--port", type=int, default=8700, metavar="N",
        help="of the api; stats, files and storage follow (8700); 0 takes free ones",
    )  # fmt: skip
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before every answer (0)"
    )
    parser.add_argument(
        "--rate-cap", type=float, default=float("inf"), metavar="N",
        help="requests a second a service; beyond, 429 (no cap)",
    )  # fmt: skip
    parser.add_argument(
        "--fault", action="append", type=_share, default=[], metavar="NAME=SHARE",
        help="a share (0 to 1) of requests meets this fault; repeats; --fault help lists the names",
    )  # fmt: skip


def _text(text: str) -> str:
    """Return a UTF-8 text; Python represents other bytes as lone surrogates, which cannot be sent."""
    try:
        return as_text(text)
    except UnicodeDecodeError as exc:
        raise argparse.ArgumentTypeError("not UTF-8 text") from exc


def _folder(text: str) -> Path:
    if not text or any(ord(char) < 32 for char in text):
        raise argparse.ArgumentTypeError("expected a path without control characters")
    return Path(text)


def _words(text: str) -> list[str]:
    return [word.strip() for word in _text(text).split(",") if word.strip()]


def _versions(text: str) -> str | list[int | str]:
    """Return a word or a list of numbers; the config reports a fault for anything else."""
    if text in {"latest", "all"}:
        return text
    return [_number_or_name(word) for word in _words(text)]


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else _text(text)


def _natural(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number is expected, 0 or more")
    return int(text)


def _rate(text: str) -> tuple[str, float | str]:
    service, _, number = text.rpartition("=")
    return service, number if number == "auto" else float(number)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number or 0)
