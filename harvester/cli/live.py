"""Live display on a terminal: redrawn a few times a second below the log lines."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio
from rich.cells import cell_len
from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from harvester.cli.log_format import people_lines, screen_handlers
from harvester.cli.screen import ScreenLine

log = logging.getLogger("harvester")

DRAW_EVERY_SECONDS = 0.2


async def show_live(draw: Callable[[int], Sequence[ScreenLine]]) -> None:
    """
    Show a display on standard error, until cancelled; warnings appear above it.

    It is drawn again when it has changed. `draw`: returns its lines for a number of columns.

    Raises:
        OSError: the terminal has gone.
    """
    console = Console(stderr=True, highlight=False)
    live = Live(
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,  # a closed terminal is replaced while it runs, see `console.leave_terminal`
        redirect_stderr=False,
    )
    with live, _warnings_above(live):
        before: tuple[int, Sequence[ScreenLine]] = (0, ())
        while True:
            columns = console.width
            if (shown := (columns, draw(columns))) != before:
                if columns < before[0] and rewraps(os.environ):
                    console.control(erase(before[1], columns))
                before = shown
                live.update(_group(shown[1], console), refresh=True)
            await anyio.sleep(DRAW_EVERY_SECONDS)


def rewraps(environment: Mapping[str, str]) -> bool:
    """Return whether a terminal that becomes narrower wraps the lines that it shows; some cut them."""
    cuts = "XTERM_VERSION" in environment or "STY" in environment or environment.get("TERM") == "linux"
    return "TMUX" in environment or not cuts


def erase(lines: Sequence[ScreenLine], columns: int) -> Control:
    """
    Return what erases a display that the terminal has wrapped to `columns`, from its last row upwards.

    The cursor is left where the last line would be without the wrapped rows, as `Live` expects it.
    """
    rows = sum(max(1, math.ceil((cell_len(line.text) + line.bar) / columns)) for line in lines)
    up = [(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * (rows - 1)
    down = [(ControlType.CURSOR_DOWN, len(lines) - 1)] if len(lines) > 1 else []
    return Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *up, *down)


@contextlib.contextmanager
def _warnings_above(live: Live) -> Iterator[None]:
    """Print warnings above a display instead of over it."""
    above = _Above(live)
    others = screen_handlers(log)
    for other in others:
        log.removeHandler(other)
    log.addHandler(above)
    try:
        yield
    finally:
        log.removeHandler(above)
        for other in others:
            log.addHandler(other)


class _Above(logging.Handler):
    """Prints warnings, and lines that the user requested, above a live display."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live
        self.setFormatter(people_lines())
        self.addFilter(_is_for_a_terminal)

    def emit(self, record: logging.LogRecord) -> None:
        self._live.console.print(Text(self.format(record)), soft_wrap=True)


def _is_for_a_terminal(record: logging.LogRecord) -> bool:
    """Return whether a line appears above the display: warnings, and what is marked as notable."""
    return record.levelno >= logging.WARNING or hasattr(record, "requested") or hasattr(record, "notable")


def _group(lines: Sequence[ScreenLine], console: Console) -> Group:
    is_plain = not (console.encoding or "").lower().startswith("utf")
    return Group(*(_text(line, is_plain=is_plain) for line in lines))


def _text(line: ScreenLine, *, is_plain: bool) -> Text:
    text = Text(line.text, no_wrap=True, overflow="crop")
    if line.bar:
        filled = round(line.bar * line.share)
        full, empty = ("=", "-") if is_plain else ("━", "─")
        text.append(full * filled, "green" if line.share >= 1 else "cyan")
        text.append(empty * (line.bar - filled), "dim")
    return text
