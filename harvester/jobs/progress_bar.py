"""Progress bar of the library: a bar in a notebook, one line on a terminal, and else a line now and then."""

from __future__ import annotations

import os
import shutil
import sys
from html import escape
from importlib import import_module
from typing import Any, TextIO

from harvester.engine.progress import LINE_EVERY_SECONDS
from harvester.jobs.progress import OnProgress, Progress
from harvester.text.units import human_seconds


def progress_bar(
    stream: TextIO | None = None, *, term: str | None = None, columns: int | None = None
) -> OnProgress:
    """
    Return a function that shows the progress where this program runs.

    `stream`: standard error. `term`: the variable TERM. `columns`: the width of the terminal.
    """
    stream = stream or sys.stderr
    if _is_notebook():
        return _NotebookBar()
    is_dumb = (os.environ.get("TERM", "") if term is None else term).lower() in {"dumb", "unknown"}
    return _TerminalLine(stream, columns) if stream.isatty() and not is_dumb else _Lines(stream)


def _is_notebook() -> bool:
    """Return whether a Jupyter kernel runs this program."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return hasattr(get_shell(), "kernel")


class _NotebookBar:
    """Shows a bar below the cell: one output, which is replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        fraction = progress.fraction
        value = "" if fraction is None else f' value="{fraction:.3f}"'
        bar = f'<progress max="1"{value} style="width: 20em"></progress> {escape(str(progress))}'
        output = {"text/html": bar, "text/plain": str(progress)}
        if self._handle is None:
            show = import_module("IPython.display").display
            self._handle = show(output, raw=True, display_id=True)
        else:
            self._handle.update(output, raw=True)


class _TerminalLine:
    """Writes one line again and again; the last one stays."""

    def __init__(self, stream: TextIO, columns: int | None) -> None:
        self._stream = stream
        self._columns = columns

    def __call__(self, progress: Progress) -> None:
        width = (self._columns or shutil.get_terminal_size().columns) - 1  # a wrapped line cannot be replaced
        end = "\n" if progress.has_ended else ""
        self._stream.write(f"\r\x1b[K{str(progress)[:width]}{end}")
        self._stream.flush()


class _Lines:
    """Writes a line every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = -LINE_EVERY_SECONDS

    def __call__(self, progress: Progress) -> None:
        if progress.seconds - self._last >= LINE_EVERY_SECONDS or progress.has_ended:
            self._last = progress.seconds
            self._stream.write(f"{human_seconds(progress.seconds)}: {progress}\n")
            self._stream.flush()
