"""Options of the work: tasks, services, statistics and files. `run` and `plan` share them."""

from __future__ import annotations

import argparse

from harvester.cli.arguments.values import (
    ceiling,
    identifier,
    rate,
    utf8_text,
    versions,
    whole_number,
    words,
)


def add_work(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to do")
    group.add_argument(
        "--tasks", type=words, metavar="LIST",
        help="metadata, stats, files (default: these three); timeline, breakdown",
    )  # fmt: skip
    group.add_argument(
        "--versions", type=versions, metavar="WHICH",
        help="latest (default); all; or numbers: 1,3 harvests these versions in addition to the latest",
    )  # fmt: skip
    group.add_argument(
        "--workers",
        dest="concurrency.workers",
        type=whole_number,
        metavar="N",
        help="items processed at once (16)",
    )
    group.add_argument(
        "--downloads", dest="concurrency.downloads", type=whole_number, metavar="N",
        help="files downloaded at once (8)",
    )  # fmt: skip


def add_services(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("services")
    group.add_argument(
        "--rate", action="append", type=rate, metavar="[SERVICE=]N",
        help="requests a second, for all services or one of api, stats, files (1); inf: no limit; "
        "auto: find the highest rate that the service accepts",
    )  # fmt: skip
    group.add_argument(
        "--ceiling", dest="rate.ceiling", type=ceiling, metavar="N",
        help="upper limit for auto (10)",
    )  # fmt: skip
    group.add_argument(
        "--attempts",
        dest="retry.attempts",
        type=whole_number,
        metavar="N",
        help="attempts for one request (6)",
    )
    group.add_argument(
        "--api", dest="services.api", metavar="URL", help="address of the api (https://api.figshare.com/v2)"
    )
    group.add_argument(
        "--stats",
        dest="services.stats",
        metavar="URL",
        help="address of the statistics (https://stats.figshare.com)",
    )
    group.add_argument(
        "--impersonate", dest="services.impersonate", type=identifier, metavar="ID",
        help="act for this account of your institution (none): for its administrators",
    )  # fmt: skip


def add_statistics(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("statistics")
    group.add_argument(
        "--counters", dest="stats.counters", type=words, metavar="LIST",
        help="views, downloads (default: these two); shares",
    )  # fmt: skip
    group.add_argument(
        "--granularity", dest="stats.granularity", metavar="PERIOD",
        help="of timeline and breakdown: day, month (default), year, total",
    )  # fmt: skip
    group.add_argument(
        "--stats-since", dest="stats.since", metavar="DAY",
        help="first day of timeline and breakdown; they require it",
    )  # fmt: skip
    group.add_argument(
        "--stats-until", dest="stats.until", metavar="DAY", help="last day of the period (default: today)"
    )
    group.add_argument(
        "--stats-max-age", dest="stats.max_age", metavar="TIME",
        help='request again what is older than this, such as "30 days" (default: 0, never)',
    )  # fmt: skip


def add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("file filters (a file must pass all)")
    group.add_argument(
        "--include", dest="files.include", action="append", type=utf8_text, metavar="GLOB",
        help="fetch only files whose folder/name matches (*); case counts; repeats",
    )  # fmt: skip
    group.add_argument(
        "--exclude", dest="files.exclude", action="append", type=utf8_text, metavar="GLOB",
        help="fetch no file whose folder/name matches (none); case counts; repeats",
    )  # fmt: skip
    group.add_argument("--min-size", dest="files.min_size", metavar="SIZE", help='such as "1 kB" (no limit)')
    group.add_argument(
        "--max-size", dest="files.max_size", metavar="SIZE", help='such as "500 MB" (no limit)'
    )
    group.add_argument(
        "--max-total",
        dest="files.max_total",
        metavar="SIZE",
        help='for all files in the folder: "2 TB" (no limit)',
    )
