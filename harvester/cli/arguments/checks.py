"""Options of the commands that are about the installation: `doctor`, `completion`."""

from __future__ import annotations

import argparse

from harvester.cli.arguments.common import add_config, add_folder
from harvester.cli.arguments.values import one_of
from harvester.cli.arguments.work import add_services

SHELLS = ("bash", "zsh", "fish")


def add_doctor(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_folder(parser)
    add_services(parser)
    parser.add_argument("--offline", action="store_true", help="make no request")
    parser.add_argument("--json", action="store_true", help="print the result of each check as JSON")


def add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", type=one_of(SHELLS), metavar="SHELL", help=", ".join(SHELLS))
