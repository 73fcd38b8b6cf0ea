"""
The words of the command line, and the config keys that they set.

An option's destination is the full name of the config key that it sets (``concurrency.workers``), so options
and file need no table between them.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from harvester import __version__

DEFAULT_FILE = "harvest.toml"


class _Help(argparse.HelpFormatter):
    """
    Help as wide as the terminal.

    argparse makes one of these for every option; its own imports shutil for the width, which takes 2 ms.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Tell how wide the terminal is, as `shutil.get_terminal_size` does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (AttributeError, ValueError, OSError):  # none, closed, no terminal
        return 80


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands and options."""
    parser = argparse.ArgumentParser(
        prog="harvester",
        formatter_class=_Help,
        description="Harvest records, statistics and verified files from figshare.",
        epilog="exit status: 0 all is there; 1 finished, and failures.csv says what is missing; "
        "2 wrong usage or config; 3 could not go on, state saved; 130 interrupted, state saved",
    )
    parser.add_argument("--version", action="version", version=f"harvester {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", "harvest; run it again and it goes on where it stopped")
    _add_config(run)
    _add_sources(run)
    _add_tuning(run)
    _add_files(run)
    _add_formats(run)
    run.add_argument(
        "--refresh", action="append", default=[], choices=["metadata", "stats"], metavar="TASK",
        help="do this task (metadata, stats) again for every item; repeats",
    )  # fmt: skip
    _add_output_style(run)
    plan = _command(commands, "plan", "dry run: requests, hours, and which service decides")
    _add_config(plan)
    _add_sources(plan)
    _add_tuning(plan)
    _add_files(plan)
    plan.add_argument(
        "--sample", type=int, default=20, metavar="N",
        help="ask N records to estimate files and bytes (20)",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the plan as JSON")
    status = _command(commands, "status", "what a folder holds, lacks and could not get")
    _add_config(status)
    status.add_argument("--json", action="store_true", help="print the status as JSON")
    verify = _command(commands, "verify", "hash every file again; damaged ones are owed again")
    _add_config(verify)
    export = _command(commands, "export", "write the tables and records again")
    _add_config(export)
    _add_formats(export)
    init = _command(commands, "init", "write a commented config to start from")
    init.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"where to ({DEFAULT_FILE})")
    sandbox = _command(commands, "sandbox", "serve a figshare look-alike on localhost")
    _add_sandbox(sandbox)
    return parser


def _command(commands: Any, name: str, help_text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        formatter_class=_Help,
    )
    parser.set_defaults(command=name)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", metavar="FILE",
        help=f"the config file ({DEFAULT_FILE}, where there is one)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", dest="output", metavar="FOLDER", help="the output folder")


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources (they replace those of the config file)")
    group.add_argument(
        "--search",
        action="append",
        type=_text,
        metavar="QUERY",
        help="items that match figshare's query language; repeats",
    )
    group.add_argument(
        "--group", action="append", type=int, metavar="ID", help="items of this group; repeats"
    )
    group.add_argument("--account", action="store_true", help="all items of the token's account")
    group.add_argument(
        "--item",
        action="append",
        type=_text,
        metavar="ID",
        help="one item: its id, DOI or address; repeats",
    )
    group.add_argument(
        "--items", metavar="FILE", help="items listed in a file, one a line; - is standard input"
    )


def _add_tuning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what and how")
    group.add_argument("--tasks", type=_words, metavar="LIST", help="metadata, stats, files (all three)")
    group.add_argument(
        "--rate", action="append", type=_rate, metavar="[SERVICE=]N",
        help="requests a second, for all services or one of api, stats, files (1); inf is no limit; "
        "auto finds out what the service bears",
    )  # fmt: skip
    group.add_argument(
        "--ceiling", dest="rate.ceiling", type=float, metavar="N",
        help="the most that auto may come to (10)",
    )  # fmt: skip
    group.add_argument(
        "--workers", dest="concurrency.workers", type=int, metavar="N", help="items in hand at once (16)"
    )
    group.add_argument(
        "--downloads",
        dest="concurrency.downloads",
        type=int,
        metavar="N",
        help="files in transfer at once (8)",
    )
    group.add_argument(
        "--attempts", dest="retry.attempts", type=int, metavar="N", help="tries of one request (6)"
    )
    group.add_argument("--api", dest="services.api", metavar="URL", help="address of the api")
    group.add_argument("--stats", dest="services.stats", metavar="URL", help="address of the statistics")


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "--include", dest="files.include", action="append", metavar="GLOB",
        help="fetch only files whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument(
        "--exclude", dest="files.exclude", action="append", metavar="GLOB",
        help="fetch no file whose folder/name matches; repeats",
    )  # fmt: skip
    group.add_argument("--max-size", dest="files.max_size", metavar="SIZE", help='such as "500 MB"')


def _add_formats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formats", dest="export.formats", type=_words, metavar="LIST", help="jsonl, csv (both)"
    )


def _add_output_style(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="every retry too")
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
    """Take what can be sent and recorded: Python keeps bytes that are no UTF-8 as halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise argparse.ArgumentTypeError("it is not UTF-8 text") from exc
    return text


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _rate(text: str) -> tuple[str, float | str]:
    service, _, number = text.rpartition("=")
    return service, number if number == "auto" else float(number)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number or 0)


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys that options set, by their full names."""
    given = vars(args)
    options = {
        key: value
        for key, value in given.items()
        if value is not None and ("." in key or key in {"output", "tasks"})
    }
    for service, rate in given.get("rate") or ():
        for name in (service,) if service else ("api", "stats", "files"):
            options[f"rate.{name}"] = rate
    if sources := _sources(args):
        options["sources"] = sources
    return options


def _sources(args: argparse.Namespace) -> list[dict[str, Any]]:
    sources: list[dict[str, Any]] = []
    given = vars(args)
    if given.get("account"):
        sources.append({"kind": "account"})
    if given.get("search"):
        sources.append({"kind": "search", "query": args.search})
    sources += [{"kind": "group", "id": number} for number in given.get("group") or ()]
    if given.get("item"):
        sources.append({"kind": "items", "ids": args.item})
    if given.get("items") and args.command != "sandbox":
        sources.append({"kind": "items", "file": args.items})
    return sources
