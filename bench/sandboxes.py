"""The harvester's sandbox: in this process, to read its requests, or in its own process."""

from __future__ import annotations

import gc
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from anyio.from_thread import start_blocking_portal

from bench.harvesting import environment
from harvester.sandbox import Sandbox, Settings


@contextmanager
def within(settings: Settings) -> Iterator[Sandbox]:
    """
    Serve from a thread of this process; its `requests` are there to be read afterwards.

    Python's garbage collector is off: with this many requests in memory it would stop the server for a third
    of a second, and requests that arrive meanwhile would seem simultaneous.
    """
    gc.collect()
    gc.disable()
    try:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Sandbox(settings)) as sandbox,
        ):
            yield sandbox
    finally:
        gc.enable()


@contextmanager
def apart(items: int) -> Iterator[tuple[str, str]]:
    """Serve from a process of its own, and give the addresses of the api and the statistics."""
    words = [sys.executable, "-m", "harvester", "sandbox", "--items", str(items), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        assert process.stdout is not None
        addresses: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").strip().partition("=")
                addresses[name] = value
            if line.startswith("# ready"):
                break
        yield addresses["HARVESTER_SERVICES_API"], addresses["HARVESTER_SERVICES_STATS"]
    finally:
        process.terminate()
        process.wait()


def busiest_second(times: Sequence[float]) -> int:
    """Return the most requests that any second, the one after some request, holds."""
    return max(bisect_left(times, begin + 1) - place for place, begin in enumerate(times))
