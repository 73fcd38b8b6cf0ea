"""Checks of the process: its resource limits, its terminal and its locale."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from harvester.config import Concurrency
from harvester.errors import ResourceLimit
from harvester.jobs.doctor.finding import Finding, Outcome
from harvester.system.resource_limits import ADVICE, fitted, open_files


def check_open_files(concurrency: Concurrency) -> Finding:
    """Return whether as many files may be open as the workers and downloads need."""
    wanted = concurrency.workers, concurrency.downloads
    try:
        workers, downloads = fitted(*wanted)
    except ResourceLimit as error:
        return Finding("open files", Outcome.FAILED, str(error))
    text = f"{open_files()} allowed"
    if (workers, downloads) != wanted:
        text += (
            f": enough for {workers} workers and {downloads} downloads, not for {wanted[0]} and {wanted[1]}"
        )
        return Finding("open files", Outcome.WARNING, text, ADVICE)
    return Finding("open files", Outcome.OK, text)


def check_terminal(environ: Mapping[str, str], stream: TextIO) -> Finding:
    """Return whether a live display can be shown on `stream`, and how wide it is."""
    kind = environ.get("TERM", "")
    named = ", ".join(
        f"{name}={environ[name]}"
        for name in ("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
        if name in environ
    )
    if not stream.isatty():
        return Finding(
            "terminal", Outcome.OK, f"none: plain lines are printed ({named or 'TERM is not set'})"
        )
    text = f"{_columns(stream)} columns ({named or 'TERM is not set'})"
    if kind in {"", "dumb", "unknown"}:
        return Finding(
            "terminal", Outcome.WARNING, text, "set TERM, for example to xterm-256color, for a live display"
        )
    return Finding("terminal", Outcome.OK, text)


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):
        return 0


def check_locale(environ: Mapping[str, str], stream: TextIO) -> Finding:
    """Return which charset text and paths have."""
    charsets = {
        "output": stream.encoding or "unknown",
        "paths": sys.getfilesystemencoding(),
        "locale": locale.getpreferredencoding(do_setlocale=False),
    }
    named = ", ".join(
        f"{name}={environ[name]}"
        for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONUTF8", "PYTHONIOENCODING")
        if name in environ
    )
    text = ", ".join(f"{what} {charset}" for what, charset in charsets.items())
    text += f" ({named or 'LANG is not set'})"
    others = [what for what in ("output", "paths") if not _is_utf8(charsets[what])]
    if others:
        return Finding(
            "locale", Outcome.WARNING, text, "characters that the charset lacks are escaped: set LANG=C.UTF-8"
        )
    return Finding("locale", Outcome.OK, text)


def _is_utf8(charset: str) -> bool:
    return charset.lower().replace("-", "").replace("_", "") == "utf8"
