"""Options that several commands share: config, folder, formats, what is shown."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harvester.cli.arguments.values import file_name, folder_path, interval, seconds, words

DEFAULT_FILE = "harvest.toml"


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", "--config", type=file_name, metavar="FILE",
        help=f"the config file ({DEFAULT_FILE}, where there is one)",
    )  # fmt: skip


def config_file(args: argparse.Namespace) -> str | None:
    """Return the config file of a command: the one that it names, or the usual one where there is one."""
    if args.config is not None:
        return str(args.config)
    return DEFAULT_FILE if Path(DEFAULT_FILE).is_file() else None


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", dest="output", metavar="FOLDER", help="the output folder (harvest)")


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the output folder, with or without the option's name."""
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="the output folder, as with --output")
    add_output(parser)


def add_wait(parser: Any) -> None:
    parser.add_argument(
        "--wait", nargs="?", type=seconds, default=0.0, const=float("inf"), metavar="SECONDS",
        help="if another run uses the folder, wait for its end, at most for this time",
    )  # fmt: skip


def add_formats(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--formats", dest="export.formats", type=words, metavar="LIST", help="jsonl, csv (both)"
    )


def add_output_style(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is shown")
    group.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors")
    group.add_argument("-v", "--verbose", action="store_true", help="log every retry too")
    group.add_argument(
        "--progress-every", type=interval, metavar="TIME",
        help='time between lines of progress where there is no terminal, such as "5m" (10 s)',
    )  # fmt: skip
    group.add_argument(
        "--log-file", type=folder_path, metavar="FILE",
        help="log to this file too, with dates; a new one begins at 10 MB, and five old ones stay",
    )  # fmt: skip
    add_log_json(group)


def add_log_json(group: Any) -> None:
    group.add_argument("--log-json", action="store_true", help="one JSON object a line on standard error")
