"""Options that name sources and filter them; `overrides.py` makes source tables from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from harvester.cli.arguments.values import (
    file_name,
    identifier_of,
    item_name,
    number_or_name,
    utf8_text,
)


def add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources (they replace those of the config file)")

    def add(option: str, metavar: str, type_: Callable[[str], Any], text: str) -> None:
        group.add_argument(option, action="append", type=type_, metavar=metavar, help=f"{text}; repeats")

    add("--search", "QUERY", utf8_text, "public items that match figshare's query language")
    add("--group", "ID", identifier_of("group"), "public items of this group")
    group.add_argument("--subgroups", action="store_true", help="those of the groups below each --group too")
    add("--collection", "ID", identifier_of("collection"), "items of this public collection")
    add("--project", "ID", identifier_of("project"), "items of this public project")
    add("--institution", "ID", identifier_of("institution"), "public items of this institution")
    group.add_argument(
        "--institution-items", action="store_true",
        help="all items of the token's own institution, private ones too: for its administrators",
    )  # fmt: skip
    group.add_argument("--account", action="store_true", help="all items of the token's account, drafts too")
    add("--account-query", "QUERY", utf8_text, "items of the token's account that match a query")
    add("--item", "ID", item_name, "one item: its id (123, 123.v2), DOI, handle or address")
    group.add_argument(
        "--items", action="append", type=file_name, metavar="FILE",
        help="items listed in a file, one a line or in a column named id, item_id or doi; "
        "- is standard input; repeats",
    )  # fmt: skip
    add_filters(parser)


def add_filters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters (for the sources above that are listings)")
    group.add_argument("--type", type=number_or_name, metavar="TYPE", help="such as dataset, or its number")
    group.add_argument("--published-since", metavar="DAY", help="published on this day or later (2024-01-31)")
    group.add_argument("--published-before", metavar="DAY", help="published before this day")
    group.add_argument("--modified-since", metavar="DAY", help="modified on this day or later")
    group.add_argument(
        "--licence", "--license", type=utf8_text, metavar="NAME", help='as figshare spells it: "CC BY 4.0"'
    )
    group.add_argument(
        "--order", metavar="ORDER",
        help="published_date, created_date, modified_date, views, downloads, shares, cites; "
        '"views desc" begins with the most viewed (default: the order of the listing)',
    )  # fmt: skip
