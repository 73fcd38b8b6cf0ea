"""Options that hold for one run: refresh, withdrawals, prune."""

from __future__ import annotations

import argparse
from typing import Any

from harvester.cli.arguments.common import add_wait
from harvester.cli.arguments.values import natural, one_of

REFRESHABLE = ("metadata", "stats", "timeline", "breakdown")


def add_this_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("this run")
    add_quick(group)
    add_fail_if_empty(group)
    add_wait(group)
    group.add_argument(
        "--rebuild", action="store_true",
        help="rebuild the ledger from the files here and from figshare; the old one is set aside",
    )  # fmt: skip
    group.add_argument(
        "--refresh", action="append", default=[], type=one_of(REFRESHABLE), metavar="TASK",
        help=f"do this task ({', '.join(REFRESHABLE)}) again for every item; repeats",
    )  # fmt: skip
    group.add_argument(
        "--accept-withdrawals", type=natural, default=0, metavar="N",
        help="accept up to N withdrawals at once; the default is at most 5 %% of the items here, and 20",
    )  # fmt: skip
    group.add_argument(
        "--prune", action="store_true",
        help="afterwards show the files of withdrawn items and those that no record lists any more, "
        "and move them to .trash/<date>/ if you say yes",
    )  # fmt: skip
    group.add_argument("--yes", action="store_true", help="answer the question of --prune with yes")
    group.add_argument(
        "--trash-days", type=natural, metavar="N",
        help="with --prune: permanently delete what is in .trash/ for more than N days (30); 0: everything",
    )  # fmt: skip


def add_quick(group: Any) -> None:
    group.add_argument(
        "--quick", action="store_true",
        help="list only items modified since the last run without errors; finds no withdrawals",
    )  # fmt: skip


def add_fail_if_empty(group: Any) -> None:
    group.add_argument(
        "--fail-if-empty", action="store_true",
        help="exit status 1 if a source has no items, or your filters exclude all of them",
    )  # fmt: skip
