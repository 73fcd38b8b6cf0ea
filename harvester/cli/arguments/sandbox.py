"""Options of the sandbox."""

from __future__ import annotations

import argparse

from harvester.cli.arguments.values import natural, port, positive, seconds, share


def add_sandbox(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--items", type=natural, default=300, metavar="N", help="public items (300)")
    parser.add_argument("--seed", type=natural, default=1, metavar="N", help="another seed, other data (1)")
    parser.add_argument(
        "--port", type=port, default=8700, metavar="N",
        help="of the api; stats, files and storage follow (8700); 0 takes free ones",
    )  # fmt: skip
    parser.add_argument(
        "--latency", type=seconds, default=0.0, metavar="SECONDS", help="before every answer (0)"
    )
    parser.add_argument(
        "--rate-cap", type=positive, default=float("inf"), metavar="N",
        help="requests a second a service; beyond, 429 (no cap)",
    )  # fmt: skip
    parser.add_argument(
        "--fault", action="append", type=share, default=[], metavar="NAME=SHARE",
        help="a share (0 to 1) of requests meets this fault; repeats; --fault help lists the names",
    )  # fmt: skip
