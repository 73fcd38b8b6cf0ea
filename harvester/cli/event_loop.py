"""Event loop of a command: runs a coroutine to its end, or until a signal cancels it."""

from __future__ import annotations

import argparse
import functools
import gc
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio

from harvester.cli import activity
from harvester.cli.log_format import log_to_file, set_up_as
from harvester.cli.signals import SIGNALS
from harvester.engine.activity import Activity
from harvester.errors import HarvestError
from harvester.system.concurrency import background_tasks

T = TypeVar("T")
Work = Callable[[], Coroutine[Any, Any, T]]


def run_until_signal(args: argparse.Namespace, work: Work[T], shown: Activity | None = None) -> T:
    """
    Return what `work` returns; `shown`: what it is doing, which is displayed.

    Raises:
        KeyboardInterrupt: a signal came first; open resources are closed.
    """

    async def cancel_on_signal(scope: anyio.CancelScope) -> None:
        await SIGNALS.first()
        scope.cancel()

    async def interruptible() -> T:
        with anyio.CancelScope() as scope:
            tasks = [functools.partial(cancel_on_signal, scope)]
            if shown is not None:
                tasks.append(functools.partial(_show, shown, args))
            async with background_tasks(*tasks):
                return await work()
        raise KeyboardInterrupt

    return run(args, interruptible)


async def _show(shown: Activity, args: argparse.Namespace) -> None:
    with SIGNALS.reporting(functools.partial(activity.report, shown)):
        await activity.show(shown, args)


def run(args: argparse.Namespace, work: Work[T]) -> T:
    """Return what `work` returns; it handles signals itself."""
    set_up_as(args)
    # Objects live as long as a request and are freed by reference counting; the garbage collector would only
    # scan them repeatedly.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    SIGNALS.ignore_one()  # the work waits for it; an exception inside the loop would leave resources open
    # uvloop, the extra "fast", if it is installed.
    try:
        return anyio.run(work, backend_options={"use_uvloop": find_spec("uvloop") is not None})
    except HarvestError as error:
        log_to_file(f"{error}")  # it is printed where the command ends
        raise
