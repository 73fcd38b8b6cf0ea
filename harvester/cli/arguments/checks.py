"""Options of the commands that look at the installation: `doctor`."""

from __future__ import annotations

import argparse

from harvester.cli.arguments.common import add_config, add_folder
from harvester.cli.arguments.work import add_services


def add_doctor(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    add_folder(parser)
    add_services(parser)
    parser.add_argument("--offline", action="store_true", help="make no request")
    parser.add_argument("--json", action="store_true", help="print the result of each check as JSON")
