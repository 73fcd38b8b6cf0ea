"""
Screenshot: the screen of a real run against a sandbox, drawn as a picture.

`make screenshot` writes docs/screenshot.svg, which README shows. The numbers in it are those of the run.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import tempfile
from itertools import groupby
from pathlib import Path

import anyio
import pyte
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from harvester.sandbox import Sandbox, Settings
from tests.support.terminal import on_terminal

PICTURE = Path(__file__).parent.parent / "docs" / "screenshot.svg"
COMMAND = "harvester run --search ':category: \"Environmental Humanities\"' -o environment"
COLUMNS = 92
READY = r"^items .* [5-8][0-9] %[\s\S]*\.bin .* [0-9]+ %"
"""The screen is drawn when half of the items are done and a large file is in transfer."""
WORLD = Settings(items=300, private_items=0, heavy_size=200_000_000, connection_rate=2_000_000)
REQUESTS_A_SECOND = "4"


def text_of(screen: pyte.Screen) -> Text:
    """Return the lines of a screen with their colours, without the empty ones at the end."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        chars = (screen.buffer[row][column] for column in range(screen.columns))
        for style, alike in groupby(chars, key=_style):
            line.append("".join(char.data for char in alike), style=style)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return Text("\n").join(lines)


def _style(char: pyte.screens.Char) -> str:
    names = {"default": "", "brown": "yellow"}
    colour = names.get(char.fg, re.sub("^bright", "bright_", char.fg))
    if re.fullmatch("[0-9a-f]{6}", colour):
        colour = f"#{colour}"
    return f"{'bold ' * char.bold}{colour}".strip()


def draw(text: Text) -> str:
    """Return the picture of a terminal with this text; it loads nothing, not even a font."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), COMMAND))
    console.print(text)
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}\n*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="harvester", code_format=without_fonts, unique_id="screenshot")


async def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        async with Sandbox(WORLD) as sandbox:
            settings = {
                "HARVESTER_SERVICES_API": sandbox.api,
                "HARVESTER_SERVICES_STATS": sandbox.stats,
                **{f"HARVESTER_RATE_{name}": REQUESTS_A_SECOND for name in ("API", "STATS", "FILES")},
            }
            words = shlex.split(COMMAND)[1:]
            async with on_terminal(*words, columns=COLUMNS, **settings) as terminal:
                await terminal.shows(READY)
                PICTURE.write_text(draw(text_of(terminal.screen)), encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
