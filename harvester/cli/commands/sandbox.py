"""`harvester sandbox`: a figshare look-alike on localhost, until a signal."""

from __future__ import annotations

import argparse
import contextlib
import functools

from harvester.cli.console import flush, print_raw
from harvester.cli.event_loop import run_until_signal
from harvester.errors import ExitStatus, UsageError
from harvester.sandbox import FAULTS, Settings, serve
from harvester.text.wording import quoted, suggest


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, or list the faults."""
    faults = dict(args.fault)
    if "help" in faults:
        for name, text in FAULTS.items():
            print_raw(f"{name:18} {text}")
        return ExitStatus.COMPLETE
    for name in faults:
        if name not in FAULTS:
            hint = suggest(name, FAULTS)
            raise UsageError(f"--fault: unknown {quoted(name)}{hint}; --fault help lists the names")
    port = args.port
    settings = Settings(
        items=args.items,
        seed=args.seed,
        ports=(port, port + 1, port + 2, port + 3) if port else (0, 0, 0, 0),
        latency=args.latency,
        rate_cap=args.rate_cap,
        faults=faults,
        record=False,
    )
    try:
        with contextlib.suppress(KeyboardInterrupt):  # the usual end of a sandbox
            run_until_signal(args, functools.partial(serve, settings, announce=_announce))
    except OSError as exc:
        raise UsageError(f"port {port}: {exc.strerror}; --port takes another, 0 a free one") from exc
    return ExitStatus.COMPLETE


def _announce(text: str) -> None:
    print_raw(text)
    flush()
