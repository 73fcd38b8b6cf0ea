"""Options of the commands that check or help to set up: `status --check`, `doctor`, `completion`."""

from __future__ import annotations

import argparse

from harvester.cli.arguments.common import add_config, add_folder
from harvester.cli.arguments.values import duration, one_of
from harvester.cli.arguments.work import add_services

SHELLS = ("bash", "zsh", "fish")


def add_doctor(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_folder(parser)
    add_services(parser)
    parser.add_argument("--offline", action="store_true", help="make no request")
    parser.add_argument("--json", action="store_true", help="print the result of each check as JSON")


def add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check", action="store_true",
        help="print one line for monitoring; exit status 0: complete, 1: failures or pending, "
        "2: the last run did not end well, 3: unknown",
    )  # fmt: skip
    parser.add_argument(
        "--max-age", type=duration, metavar="TIME",
        help='with --check: status 2 if the last run is older than this, such as "8 days"',
    )  # fmt: skip


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", type=one_of(SHELLS), metavar="SHELL", help=", ".join(SHELLS))
