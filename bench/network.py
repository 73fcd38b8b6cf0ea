"""
Slow networks: simulated by the kernel in a network namespace if possible, else by nginx.

Server and client both live in the namespace and meet on its own loopback, so the harvester's rule of plain
http to this machine only holds there too.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import nginx
from bench.machine import missing
from bench.measure import Failed
from bench.nginx import Served
from bench.world import World

_NAME = f"bench-{os.getpid()}"
_MANY_PACKETS = "100000"
"""More than are ever on the way, so that none is dropped."""


@functools.cache
def hindrance(*discipline: str) -> str:
    """Return why a network namespace with this queueing discipline is not possible, "" if it is."""
    if lacking := missing(("ip", "tc")):
        return f"it needs {', '.join(lacking)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with namespace(*discipline):
            return ""
    except Failed as error:
        return str(error)


@contextmanager
def namespace(*discipline: str) -> Iterator[list[str]]:
    """
    Make a network namespace with a slow loopback, and give the words that lead into it.

    `discipline`: what `tc` puts in the way, such as ``netem delay 25ms``.
    """
    _must("ip", "netns", "add", _NAME)
    within = ["ip", "netns", "exec", _NAME]
    try:
        _must(*within, "ip", "link", "set", "lo", "up")
        if discipline:
            _must(*within, "tc", "qdisc", "add", "dev", "lo", "root", *discipline)
        yield within
    finally:
        subprocess.run(["ip", "netns", "delete", _NAME], check=False)


def _must(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join(word for word in words if word != _NAME)
        raise Failed(f"`{shown}`: {done.stderr.strip().splitlines()[0] if done.stderr else 'failed'}")


@dataclass(frozen=True)
class Line:
    """
    A served world at the end of a line.

    ``within``: words that lead to where it is reached. ``outside_seconds``: the part of a round trip that the
    server's own log does not see. ``how``: what makes it slow, for the reader.
    """

    served: Served
    within: Sequence[str]
    outside_seconds: float
    how: str


@contextmanager
def far(world: World, seconds: float) -> Iterator[Line]:
    """Serve a world with a latency of `seconds`; requests are logged."""
    half = f"{500 * seconds:g}ms"
    delay = ("netem", "delay", half, "limit", _MANY_PACKETS)
    if not seconds:
        with nginx.serve(world, logged=True) as served:
            yield Line(served, (), 0.0, "")
    elif not hindrance(*delay):
        with namespace(*delay) as within, nginx.serve(world, within=within, logged=True) as served:
            yield Line(served, within, seconds, "netem, half of it each way")
    else:
        with nginx.serve(world, late_seconds=seconds, logged=True) as served:
            yield Line(served, (), 0.0, "nginx waits before every answer (no netem here)")


@contextmanager
def capped(world: World, mebibytes_a_second: int, seconds: float) -> Iterator[Line]:
    """Serve a world whose files have this rate on each connection, with latency if possible."""
    half = f"{500 * seconds:g}ms"
    delay = ("netem", "delay", half, "limit", _MANY_PACKETS)
    limit = f"limit_rate {mebibytes_a_second}m;"
    how = f"{mebibytes_a_second} MiB/s for each connection"
    if hindrance(*delay):
        with nginx.serve(world, limit=limit) as served:
            yield Line(served, (), 0.0, f"{how}, no delay (no netem here)")
    else:
        with namespace(*delay) as within, nginx.serve(world, within=within, limit=limit) as served:
            yield Line(served, within, seconds, f"{how}, netem, {half} each way")


@contextmanager
def shared(world: World, megabits: int) -> Iterator[Line]:
    """
    Serve a world behind a bandwidth limit that all connections share.

    Raises:
        Failed: the limit is not possible here.
    """
    limit = ("tbf", "rate", f"{megabits}mbit", "burst", "256kb", "latency", "50ms")
    if reason := hindrance(*limit):
        raise Failed(reason)
    with namespace(*limit) as within, nginx.serve(world, within=within) as served:
        yield Line(served, within, 0.0, f"tc tbf, {megabits} Mbit/s for all connections together")
